// Reads with the program's own reader, writes byte by byte.
#include "tests/engine/weights/gguf_file.h"

#include <cstring>
#include <fstream>
#include <numeric>

#include <fmt/format.h>

#include "engine/weights/gguf.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

constexpr std::size_t kAlignment = 32;
constexpr std::uint32_t kUint32 = 4;

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& bytes, const std::string& text) {
  put(bytes, std::uint64_t{text.size()});
  bytes += text;
}

void align(std::string& bytes) {
  bytes.resize((bytes.size() + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

std::int64_t FileTensor::rows() const {
  return std::accumulate(shape.begin(), shape.end() - 1, std::int64_t{1}, std::multiplies<>());
}

void GgufFile::add_count(const std::string& key, std::uint32_t value) {
  put_text(metadata, key);
  put(metadata, kUint32);
  put(metadata, value);
  ++keys;
}

GgufFile read_gguf(const std::filesystem::path& path) {
  const Gguf gguf(path);
  const auto* begin = reinterpret_cast<const char*>(gguf.file()->bytes().data());
  GgufFile file;
  // After magic number, version and two counts; before the length of the first tensor's name.
  const char* first = gguf.tensors().front().name.data() - sizeof(std::uint64_t);
  file.metadata.assign(begin + 24, first);
  std::memcpy(&file.keys, begin + 16, sizeof file.keys);
  for (const StoredTensor& tensor : gguf.tensors()) {
    file.tensors.push_back({std::string(tensor.name), tensor.type, tensor.shape,
                            std::string(reinterpret_cast<const char*>(tensor.bytes),
                                        static_cast<std::size_t>(tensor.size))});
  }
  return file;
}

void write_gguf(const std::filesystem::path& path, const GgufFile& file) {
  std::string bytes = "GGUF";
  put(bytes, std::uint32_t{3});
  put(bytes, std::uint64_t{file.tensors.size()});
  put(bytes, file.keys);
  bytes += file.metadata;
  std::string data;
  for (const FileTensor& tensor : file.tensors) {
    put_text(bytes, tensor.name);
    put(bytes, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) {
      put(bytes, static_cast<std::uint64_t>(*extent));
    }
    put(bytes, gguf_number(tensor.type).value());
    put(bytes, std::uint64_t{data.size()});
    data += tensor.bytes;
    align(data);
  }
  align(bytes);
  std::ofstream(path, std::ios::binary) << bytes << data;
}

std::vector<std::filesystem::path> write_parts(const std::filesystem::path& folder,
                                               const GgufFile& file, int count) {
  std::vector<std::filesystem::path> paths;
  const std::size_t per_part =
      (file.tensors.size() + static_cast<std::size_t>(count) - 1) / static_cast<std::size_t>(count);
  for (int number = 0; number < count; ++number) {
    GgufFile part;
    if (number == 0) part = {file.metadata, file.keys, {}};
    part.add_count("split.no", static_cast<std::uint32_t>(number));
    part.add_count("split.count", static_cast<std::uint32_t>(count));
    part.add_count("split.tensors.count", static_cast<std::uint32_t>(file.tensors.size()));
    for (std::size_t i = static_cast<std::size_t>(number) * per_part;
         i < std::min(file.tensors.size(), static_cast<std::size_t>(number + 1) * per_part); ++i) {
      part.tensors.push_back(file.tensors[i]);
    }
    paths.push_back(folder / fmt::format("model-{:05}-of-{:05}.gguf", number + 1, count));
    write_gguf(paths.back(), part);
  }
  return paths;
}

}  // namespace fathom::engine
