// Checks a safetensors header against its file, and the index against its shards.
#include "engine/weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/weights/json_file.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

using nlohmann::json;

constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kHeaderBytesMax = 100'000'000;  // the format's own limit
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kSingleName = "model.safetensors";

std::optional<StoredType> stored_type(const std::string& name) {
  if (name == "F32") return StoredType::f32;
  if (name == "F16") return StoredType::f16;
  if (name == "BF16") return StoredType::bf16;
  if (name == "F8_E4M3") return StoredType::e4m3;
  if (name == "F8_E8M0") return StoredType::e8m0;
  if (name == "I8") return StoredType::i8;
  if (name == "I32") return StoredType::i32;
  if (name == "I64") return StoredType::i64;
  return std::nullopt;
}

std::int64_t header_bytes(const MappedFile& file) {
  if (file.size() < kLengthBytes) {
    throw Error(fmt::format("{}: {} bytes, expected a safetensors file with a header of its own",
                            file.path().string(), file.size()));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.bytes().data(), sizeof length);
  const std::int64_t limit = std::min(file.size() - kLengthBytes, kHeaderBytesMax);
  if (length > static_cast<std::uint64_t>(limit)) {
    throw Error(fmt::format("{}: announces a header of {} bytes, expected at most {}",
                            file.path().string(), length, limit));
  }
  return static_cast<std::int64_t>(length);
}

// The tensor's extents or its two offsets: JSON integers that are not negative.
std::vector<std::int64_t> integers(const json& entry, const char* key, const std::string& where) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array()) {
    throw Error(fmt::format("{}: has no array {}", where, key));
  }
  std::vector<std::int64_t> values;
  for (const json& value : *found) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX) {
      throw Error(fmt::format("{}: {} holds {}, expected integers from 0 to 2^63 - 1", where, key,
                              value.dump(-1, ' ', false, json::error_handler_t::replace)));
    }
    values.push_back(value.get<std::int64_t>());
  }
  return values;
}

StoredTensor read_tensor(const MappedFile& file, std::int64_t data, std::string_view name,
                         const json& entry) {
  const std::string where = fmt::format("{}: tensor {}", file.path().string(), name);
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string()) {
    throw Error(fmt::format("{}: has no dtype", where));
  }
  const auto dtype = entry["dtype"].get<std::string>();
  const auto type = stored_type(dtype);
  if (!type) {
    throw Error(
        fmt::format("{}: is stored as {}, expected F32, F16, BF16, F8_E4M3, F8_E8M0, I8, "
                    "I32 or I64",
                    where, dtype));
  }
  StoredTensor tensor{.name = name, .type = *type, .file = &file};
  tensor.shape = integers(entry, "shape", where);
  tensor.size = checked_bytes(tensor);
  const auto offsets = integers(entry, "data_offsets", where);
  if (offsets.size() != 2 || offsets[1] - offsets[0] != tensor.size) {
    throw Error(fmt::format("{}: data_offsets {} span other than the {} bytes of {} {}", where,
                            shape_text(offsets), tensor.size, dtype, shape_text(tensor.shape)));
  }
  place(tensor, data, static_cast<std::uint64_t>(offsets[0]));
  return tensor;
}

// Which shard holds which tensor, as the index says.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
  const json index = read_object(path);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object()) {
    throw Error(fmt::format("{}: has no object weight_map", path.string()));
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : map->items()) {
    const auto name = shard.is_string() ? shard.get<std::string>() : std::string();
    // A name with a folder in it could reach any file of the machine.
    if (name.empty() || std::filesystem::path(name).filename() != name || name == "..") {
      throw Error(
          fmt::format("{}: tensor {} is in shard \"{}\", expected the name of a file in "
                      "the same folder",
                      path.string(), tensor, name));
    }
    shard_of.emplace(tensor, name);
  }
  return shard_of;
}

void compare(const std::filesystem::path& index, const std::map<std::string, std::string>& shard_of,
             const std::vector<Shard>& shards) {
  std::map<std::string_view, std::string> found;
  for (const Shard& shard : shards) {
    const std::string file = shard.file->path().filename().string();
    for (const StoredTensor& tensor : shard.tensors) {
      const auto [before, added] = found.emplace(tensor.name, file);
      if (added) continue;
      throw Error(fmt::format("{}: tensor {} is also in {}", shard.file->path().string(),
                              tensor.name, before->second));
    }
  }
  for (const auto& [tensor, file] : shard_of) {
    const auto entry = found.find(tensor);
    if (entry != found.end() && entry->second == file) continue;
    throw Error(fmt::format("{}: places tensor {} in {}, which does not hold it", index.string(),
                            tensor, file));
  }
}

}  // namespace

Shard read_shard(const std::filesystem::path& path) {
  Shard shard{.file = std::make_shared<MappedFile>(path)};
  const MappedFile& file = *shard.file;
  const std::int64_t length = header_bytes(file);
  const auto text = file.bytes().subspan(kLengthBytes, static_cast<std::size_t>(length));
  const json header = parse_object(text, fmt::format("{}: header", path.string()));
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    shard.names.push_back(std::make_unique<const std::string>(name));
    shard.tensors.push_back(read_tensor(file, kLengthBytes + length, *shard.names.back(), entry));
  }
  std::ranges::sort(shard.tensors, std::less<>{}, &StoredTensor::bytes);
  refuse_overlaps(shard.tensors);
  return shard;
}

std::vector<Shard> read_shards(const std::filesystem::path& folder) {
  const auto index = folder / kIndexName;
  std::vector<Shard> shards;
  if (!std::filesystem::exists(index)) {
    shards.push_back(read_shard(folder / kSingleName));
    return shards;
  }
  const auto shard_of = read_index(index);
  std::vector<std::string> names;
  for (const auto& [tensor, shard] : shard_of) names.push_back(shard);
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    if (!std::filesystem::exists(folder / name)) {
      throw Error(
          fmt::format("{}: names shard {}, which is not in the folder", index.string(), name));
    }
    shards.push_back(read_shard(folder / name));
  }
  compare(index, shard_of, shards);
  return shards;
}

}  // namespace fathom::engine
