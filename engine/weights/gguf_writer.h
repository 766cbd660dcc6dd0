// Lays out a GGUF v3 file: its header, and where each tensor's bytes belong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/stored_tensor.h"

namespace fathom::engine {

// Collects metadata, then tensors, in the order in which they are written.
class GgufWriter {
 public:
  void text(std::string_view key, std::string_view value);
  void count(std::string_view key, std::int64_t value);  // as u32; asserts that it fits
  void number(std::string_view key, double value);       // as f32
  void boolean(std::string_view key, bool value);
  void texts(std::string_view key, std::span<const std::string> values);
  void integers(std::string_view key, std::span<const int> values);  // as i32
  void numbers(std::string_view key, std::span<const double> values);

  // `shape` outermost first. The type must have a number in GGUF, rows must be whole blocks.
  void tensor(std::string_view name, StoredType type, std::span<const std::int64_t> shape);

  // Everything up to the first tensor's first byte.
  std::string header() const;

  // From the end of the header to the tensor's first byte, and the bytes of all.
  std::int64_t offset(std::size_t tensor) const { return offsets_[tensor]; }
  std::int64_t data_bytes() const noexcept { return end_; }

 private:
  void key(std::string_view key, std::uint32_t type);

  std::string metadata_;
  std::string tensors_;
  std::uint64_t keys_ = 0;
  std::vector<std::int64_t> offsets_;
  std::int64_t end_ = 0;
};

}  // namespace fathom::engine
