// Reads a GGUF v3 file: its metadata and where its tensors lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/weights/stored_tensor.h"

namespace fathom::engine {

class MappedFile;

// Immutable after opening; views and tensors live as long as the object (and its mapping).
//
// The lookups return nothing when the key is missing and throw Error when it holds another type.
class Gguf {
 public:
  // Maps the file and checks every length in its header against the file's size.
  // Throws Error if it is no GGUF v3 file, is truncated, or names unknown types.
  explicit Gguf(const std::filesystem::path& path);

  std::optional<std::string_view> text(std::string_view key) const;
  std::optional<std::int64_t> integer(std::string_view key) const;  // of any width
  std::optional<double> number(std::string_view key) const;         // of any integer or float type
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::vector<std::string_view>> texts(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> integers(std::string_view key) const;
  std::optional<std::vector<double>> numbers(std::string_view key) const;
  bool is_array(std::string_view key) const noexcept;

  std::span<const StoredTensor> tensors() const noexcept { return tensors_; }
  const std::shared_ptr<const MappedFile>& file() const noexcept { return file_; }

 private:
  struct Value {             // as stored; decoded when asked for
    std::uint32_t type = 0;  // of the element, in an array
    bool array = false;
    std::int64_t count = 1;
    const std::byte* bytes = nullptr;
  };
  class Reader;

  void read_metadata(Reader& reader, std::int64_t count);
  void read_tensors(Reader& reader, std::int64_t count);
  const Value* find(std::string_view key, bool array) const;
  std::int64_t integer_at(std::string_view key, const Value& value, std::int64_t index) const;
  double number_at(std::string_view key, const Value& value, std::int64_t index) const;

  std::shared_ptr<const MappedFile> file_;
  std::unordered_map<std::string_view, Value> values_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace fathom::engine
