// Appends metadata and tensor headers as GGUF v3 stores them.
#include "engine/weights/gguf_writer.h"

#include <cassert>
#include <ranges>
#include <utility>

#include "engine/weights/gguf_types.h"

namespace fathom::engine {
namespace {

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& bytes, std::string_view text) {
  put(bytes, std::uint64_t{text.size()});
  bytes += text;
}

std::int64_t aligned(std::int64_t bytes) noexcept {
  return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment;
}

}  // namespace

void GgufWriter::key(std::string_view key, std::uint32_t type) {
  put_text(metadata_, key);
  put(metadata_, type);
  ++keys_;
}

void GgufWriter::text(std::string_view name, std::string_view value) {
  key(name, kGgufString);
  put_text(metadata_, value);
}

void GgufWriter::count(std::string_view name, std::int64_t value) {
  assert(std::in_range<std::uint32_t>(value));
  key(name, kGgufUint32);
  put(metadata_, static_cast<std::uint32_t>(value));
}

void GgufWriter::number(std::string_view name, double value) {
  key(name, kGgufFloat32);
  put(metadata_, static_cast<float>(value));
}

void GgufWriter::boolean(std::string_view name, bool value) {
  key(name, kGgufBool);
  put(metadata_, static_cast<std::uint8_t>(value));
}

void GgufWriter::texts(std::string_view name, std::span<const std::string> values) {
  key(name, kGgufArray);
  put(metadata_, std::uint32_t{kGgufString});
  put(metadata_, std::uint64_t{values.size()});
  for (const std::string& value : values) put_text(metadata_, value);
}

void GgufWriter::integers(std::string_view name, std::span<const int> values) {
  key(name, kGgufArray);
  put(metadata_, std::uint32_t{kGgufInt32});
  put(metadata_, std::uint64_t{values.size()});
  for (const int value : values) put(metadata_, std::int32_t{value});
}

void GgufWriter::numbers(std::string_view name, std::span<const double> values) {
  key(name, kGgufArray);
  put(metadata_, std::uint32_t{kGgufFloat32});
  put(metadata_, std::uint64_t{values.size()});
  for (const double value : values) put(metadata_, static_cast<float>(value));
}

void GgufWriter::tensor(std::string_view name, StoredType type,
                        std::span<const std::int64_t> shape) {
  put_text(tensors_, name);
  put(tensors_, static_cast<std::uint32_t>(shape.size()));
  std::int64_t rows = 1;
  for (std::size_t d = shape.size(); d > 0; --d) {
    put(tensors_, static_cast<std::uint64_t>(shape[d - 1]));
    if (d < shape.size()) rows *= shape[d - 1];
  }
  put(tensors_, gguf_number(type).value());
  put(tensors_, static_cast<std::uint64_t>(end_));
  offsets_.push_back(end_);
  end_ = aligned(end_ + rows * bytes_of(format_of(type).value(), shape.back()));
}

std::string GgufWriter::header() const {
  std::string bytes = "GGUF";
  put(bytes, kGgufVersion);
  put(bytes, std::uint64_t{offsets_.size()});
  put(bytes, keys_);
  bytes += metadata_;
  bytes += tensors_;
  bytes.resize(static_cast<std::size_t>(aligned(std::ssize(bytes))));
  return bytes;
}

}  // namespace fathom::engine
