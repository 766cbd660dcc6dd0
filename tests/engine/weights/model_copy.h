// A golden model copied to a folder of its own, to be damaged at will.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace fathom::engine {

std::filesystem::path golden(const std::string& name);  // below shared/golden

class ModelCopy {
 public:
  explicit ModelCopy(const std::string& name);  // "ga/hf", "ga/ga.f32.gguf"
  ~ModelCopy();
  ModelCopy(const ModelCopy&) = delete;
  ModelCopy& operator=(const ModelCopy&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }

  // Rewrites a JSON file of the folder.
  void edit_json(const std::string& file, const std::function<void(nlohmann::json&)>& change);

  // Rewrites the header of a safetensors file; the data stay.
  void edit_header(const std::string& file, const std::function<void(nlohmann::json&)>& change);

 private:
  std::filesystem::path folder_;
  std::filesystem::path path_;
};

std::vector<char> read_bytes(const std::filesystem::path& file);
void write_bytes(const std::filesystem::path& file, const std::vector<char>& bytes);

// Replaces bytes in place from `offset` on.
void patch(const std::filesystem::path& file, std::int64_t offset, const std::string& bytes);

// Loads weights; the text of the Error, or nothing if it succeeds.
std::string load_error(const std::filesystem::path& model, const std::filesystem::path& mtp = {});

}  // namespace fathom::engine
