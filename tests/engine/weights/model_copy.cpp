// Copies and patches files of golden models.
#include "tests/engine/weights/model_copy.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "engine/error.h"
#include "engine/weights/model_weights.h"
#include "test_paths.h"

namespace fathom::engine {

namespace fs = std::filesystem;

fs::path golden(const std::string& name) {
  return fs::path(FATHOM_SHARED) / "golden" / name;
}

ModelCopy::ModelCopy(const std::string& name) {
  std::string folder = (fs::temp_directory_path() / "fathom-weights-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder");
  folder_ = folder;
  path_ = folder_ / fs::path(name).filename();
  fs::copy(golden(name), path_, fs::copy_options::recursive);
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    fs::permissions(entry.path(), fs::perms::owner_all);
  }
}

ModelCopy::~ModelCopy() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void ModelCopy::edit_json(const std::string& file,
                          const std::function<void(nlohmann::json&)>& change) {
  const auto bytes = read_bytes(path_ / file);
  auto object = nlohmann::json::parse(bytes);
  change(object);
  const std::string text = object.dump();
  write_bytes(path_ / file, {text.begin(), text.end()});
}

void ModelCopy::edit_header(const std::string& file,
                            const std::function<void(nlohmann::json&)>& change) {
  const auto bytes = read_bytes(path_ / file);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto data = bytes.begin() + 8 + static_cast<std::ptrdiff_t>(length);
  auto header = nlohmann::json::parse(bytes.begin() + 8, data);
  change(header);
  const std::string text = header.dump();
  length = text.size();
  std::vector<char> edited(sizeof length);
  std::memcpy(edited.data(), &length, sizeof length);
  edited.insert(edited.end(), text.begin(), text.end());
  edited.insert(edited.end(), data, bytes.end());
  write_bytes(path_ / file, edited);
}

std::vector<char> read_bytes(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_bytes(const fs::path& file, const std::vector<char>& bytes) {
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  stream.write(bytes.data(), std::ssize(bytes));
}

void patch(const fs::path& file, std::int64_t offset, const std::string& bytes) {
  std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(offset);
  stream.write(bytes.data(), std::ssize(bytes));
}

std::string load_error(const fs::path& model, const fs::path& mtp) {
  try {
    load_weights(model, mtp, {});
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

}  // namespace fathom::engine
