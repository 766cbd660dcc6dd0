// Walks a GGUF header once, checking every length against the file before using it.
#include "engine/weights/gguf.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <string>
#include <unordered_set>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/weights/gguf_types.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

constexpr std::int64_t kAlignmentMax = 1 << 20;
constexpr std::uint32_t kDimensionsMax = 4;  // as in ggml

// Bytes of one value; 0 for those that have none of their own (strings, arrays, unknown types).
std::int64_t width(std::uint32_t type) noexcept {
  switch (type) {
    case kGgufUint8:
    case kGgufInt8:
    case kGgufBool:
      return 1;
    case kGgufUint16:
    case kGgufInt16:
      return 2;
    case kGgufUint32:
    case kGgufInt32:
    case kGgufFloat32:
      return 4;
    case kGgufUint64:
    case kGgufInt64:
    case kGgufFloat64:
      return 8;
    default:
      return 0;
  }
}

template <typename T>
T load(const std::byte* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// The number someone wrote: 1e-6 is stored as the nearest float, whose exact value is none that a
// config.json would hold. The shortest decimal number that means the float gives it back, so that a
// model computes the same bits from either container.
double as_written(float stored) {
  const std::string text = fmt::format("{}", stored);
  double value = static_cast<double>(stored);
  std::from_chars(text.data(), text.data() + text.size(), value);  // as it was for inf and nan
  return value;
}

std::string_view string_at(const std::byte* bytes) noexcept {
  const auto length = load<std::uint64_t>(bytes);
  return {reinterpret_cast<const char*>(bytes + sizeof length), static_cast<std::size_t>(length)};
}

}  // namespace

// A position in the mapped bytes that never runs past their end.
class Gguf::Reader {
 public:
  explicit Reader(const MappedFile& file) noexcept : file_(file) {}

  const std::byte* take(std::int64_t bytes, std::string_view what) {
    if (bytes < 0 || bytes > file_.size() - position_) {
      throw Error(fmt::format("{}: the file ends at byte {} inside {}, which starts at byte {}",
                              file_.path().string(), file_.size(), what, position_));
    }
    const std::byte* begin = file_.bytes().data() + position_;
    position_ += bytes;
    return begin;
  }

  template <typename T>
  T number(std::string_view what) {
    return load<T>(take(sizeof(T), what));
  }

  // A count or length: refuses what no file could hold.
  std::int64_t count(std::string_view what) {
    const auto value = number<std::uint64_t>(what);
    if (value > static_cast<std::uint64_t>(file_.size())) {
      throw Error(fmt::format("{}: {} announces {} entries in a file of {} bytes",
                              file_.path().string(), what, value, file_.size()));
    }
    return static_cast<std::int64_t>(value);
  }

  std::string_view string(std::string_view what) {
    const std::int64_t length = count(what);
    return {reinterpret_cast<const char*>(take(length, what)), static_cast<std::size_t>(length)};
  }

  std::int64_t position() const noexcept { return position_; }

 private:
  const MappedFile& file_;
  std::int64_t position_ = 0;
};

Gguf::Gguf(const std::filesystem::path& path) : file_(std::make_shared<MappedFile>(path)) {
  Reader reader(*file_);
  if (std::memcmp(reader.take(4, "the magic number"), "GGUF", 4) != 0) {
    throw Error(fmt::format(
        "{}: is no GGUF file: it does not begin with GGUF (of a Hugging Face checkpoint, name "
        "the folder)",
        path.string()));
  }
  const auto version = reader.number<std::uint32_t>("the version");
  if (version != kGgufVersion) {
    throw Error(
        fmt::format("{}: GGUF version {}, expected {}", path.string(), version, kGgufVersion));
  }
  const std::int64_t tensors = reader.count("the number of tensors");
  const std::int64_t values = reader.count("the number of metadata keys");
  read_metadata(reader, values);
  read_tensors(reader, tensors);
}

void Gguf::read_metadata(Reader& reader, std::int64_t count) {
  const std::string path = file_->path().string();
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string_view key = reader.string("a metadata key");
    const std::string what = fmt::format("metadata key {}", key);
    Value value{.type = reader.number<std::uint32_t>(what)};
    if (value.type == kGgufArray) {
      value.array = true;
      value.type = reader.number<std::uint32_t>(what);
      value.count = reader.count(what);
    }
    if (value.type == kGgufString) {
      value.bytes = reader.take(0, what);
      for (std::int64_t k = 0; k < value.count; ++k) reader.string(what);
    } else if (width(value.type) != 0) {
      // The count is at most the file's size, so this product cannot overflow.
      value.bytes = reader.take(value.count * width(value.type), what);
    } else {
      throw Error(
          fmt::format("{}: {} has type {}, expected a number, bool or string, or an array "
                      "of one of them",
                      path, what, value.type));
    }
    if (!values_.emplace(key, value).second) {
      throw Error(fmt::format("{}: {} occurs twice", path, what));
    }
  }
}

void Gguf::read_tensors(Reader& reader, std::int64_t count) {
  const std::string path = file_->path().string();
  std::vector<std::uint64_t> offsets;
  std::unordered_set<std::string_view> names;
  for (std::int64_t i = 0; i < count; ++i) {
    StoredTensor tensor{.name = reader.string("the name of a tensor"), .file = file_.get()};
    const std::string what = fmt::format("the header of tensor {}", tensor.name);
    if (!names.insert(tensor.name).second) {
      throw Error(fmt::format("{}: tensor {} occurs twice", path, tensor.name));
    }
    const auto dimensions = reader.number<std::uint32_t>(what);
    if (dimensions < 1 || dimensions > kDimensionsMax) {
      throw Error(fmt::format("{}: tensor {} has {} dimensions, expected 1 to {}", path,
                              tensor.name, dimensions, kDimensionsMax));
    }
    for (std::uint32_t d = 0; d < dimensions; ++d) {
      const auto size = reader.number<std::uint64_t>(what);
      tensor.shape.push_back(
          size > std::numeric_limits<std::int64_t>::max() ? -1 : static_cast<std::int64_t>(size));
    }
    std::ranges::reverse(tensor.shape);
    const auto type = reader.number<std::uint32_t>(what);
    const auto known = type_of_gguf(type);
    if (!known) {
      throw Error(fmt::format("{}: tensor {} is stored as GGML type {}, expected one of {}", path,
                              tensor.name, type, gguf_type_names()));
    }
    tensor.type = *known;
    tensor.size = checked_bytes(tensor);
    offsets.push_back(reader.number<std::uint64_t>(what));
    tensors_.push_back(std::move(tensor));
  }

  const std::int64_t alignment = integer("general.alignment").value_or(kGgufAlignment);
  if (alignment < 1 || alignment > kAlignmentMax || (alignment & (alignment - 1)) != 0) {
    throw Error(fmt::format("{}: general.alignment is {}, expected a power of two up to {}", path,
                            alignment, kAlignmentMax));
  }
  const std::int64_t data = (reader.position() + alignment - 1) / alignment * alignment;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (offsets[i] % static_cast<std::uint64_t>(alignment) != 0) {
      throw Error(fmt::format("{}: tensor {} lies at offset {}, expected a multiple of {}", path,
                              tensors_[i].name, offsets[i], alignment));
    }
    place(tensors_[i], data, offsets[i]);
  }
  refuse_overlaps(tensors_);
}

const Gguf::Value* Gguf::find(std::string_view key, bool array) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  if (found->second.array != array) {
    throw Error(fmt::format("{}: metadata key {} holds {}, expected {}", file_->path().string(),
                            key, found->second.array ? "an array" : "a single value",
                            array ? "an array" : "a single value"));
  }
  return &found->second;
}

std::int64_t Gguf::integer_at(std::string_view key, const Value& value, std::int64_t index) const {
  const std::byte* at = value.bytes + index * width(value.type);
  switch (value.type) {
    case kGgufUint8:
      return load<std::uint8_t>(at);
    case kGgufInt8:
      return load<std::int8_t>(at);
    case kGgufUint16:
      return load<std::uint16_t>(at);
    case kGgufInt16:
      return load<std::int16_t>(at);
    case kGgufUint32:
      return load<std::uint32_t>(at);
    case kGgufInt32:
      return load<std::int32_t>(at);
    case kGgufInt64:
      return load<std::int64_t>(at);
    case kGgufUint64:
      if (const auto wide = load<std::uint64_t>(at);
          wide <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return static_cast<std::int64_t>(wide);
      }
      break;
    default:
      break;
  }
  throw Error(fmt::format("{}: metadata key {} holds type {}, expected an integer below 2^63",
                          file_->path().string(), key, value.type));
}

double Gguf::number_at(std::string_view key, const Value& value, std::int64_t index) const {
  const std::byte* at = value.bytes + index * width(value.type);
  if (value.type == kGgufFloat32) return as_written(load<float>(at));
  if (value.type == kGgufFloat64) return load<double>(at);
  return static_cast<double>(integer_at(key, value, index));
}

std::optional<std::string_view> Gguf::text(std::string_view key) const {
  const Value* value = find(key, /*array=*/false);
  if (value == nullptr) return std::nullopt;
  if (value->type == kGgufString) return string_at(value->bytes);
  throw Error(fmt::format("{}: metadata key {} holds type {}, expected a string",
                          file_->path().string(), key, value->type));
}

std::optional<std::int64_t> Gguf::integer(std::string_view key) const {
  const Value* value = find(key, /*array=*/false);
  if (value == nullptr) return std::nullopt;
  return integer_at(key, *value, 0);
}

std::optional<double> Gguf::number(std::string_view key) const {
  const Value* value = find(key, /*array=*/false);
  if (value == nullptr) return std::nullopt;
  return number_at(key, *value, 0);
}

std::optional<bool> Gguf::boolean(std::string_view key) const {
  const Value* value = find(key, /*array=*/false);
  if (value == nullptr) return std::nullopt;
  if (value->type == kGgufBool) return value->bytes[0] != std::byte{0};
  throw Error(fmt::format("{}: metadata key {} holds type {}, expected a bool",
                          file_->path().string(), key, value->type));
}

std::optional<std::vector<std::string_view>> Gguf::texts(std::string_view key) const {
  const Value* value = find(key, /*array=*/true);
  if (value == nullptr) return std::nullopt;
  if (value->type != kGgufString) {
    throw Error(fmt::format("{}: metadata key {} holds an array of type {}, expected strings",
                            file_->path().string(), key, value->type));
  }
  std::vector<std::string_view> texts;
  texts.reserve(static_cast<std::size_t>(value->count));
  const std::byte* at = value->bytes;
  for (std::int64_t i = 0; i < value->count; ++i) {
    texts.push_back(string_at(at));
    at += sizeof(std::uint64_t) + texts.back().size();
  }
  return texts;
}

std::optional<std::vector<std::int64_t>> Gguf::integers(std::string_view key) const {
  const Value* value = find(key, /*array=*/true);
  if (value == nullptr) return std::nullopt;
  std::vector<std::int64_t> integers;
  for (std::int64_t i = 0; i < value->count; ++i) integers.push_back(integer_at(key, *value, i));
  return integers;
}

std::optional<std::vector<double>> Gguf::numbers(std::string_view key) const {
  const Value* value = find(key, /*array=*/true);
  if (value == nullptr) return std::nullopt;
  std::vector<double> numbers;
  for (std::int64_t i = 0; i < value->count; ++i) numbers.push_back(number_at(key, *value, i));
  return numbers;
}

bool Gguf::is_array(std::string_view key) const noexcept {
  const auto found = values_.find(key);
  return found != values_.end() && found->second.array;
}

}  // namespace fathom::engine
