// One test per format: is the number at this place finite?
#include "engine/weights/check_tensor.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "engine/weights/mapped_file.h"
#include "engine/weights/quantised_block.h"

namespace fathom::engine {
namespace {

template <typename T>
T load(const std::byte* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// Whether the exponent is not all ones, which would mean infinity or NaN.
bool finite_f32(const std::byte* at) noexcept {
  return (load<std::uint32_t>(at) & 0x7F800000U) != 0x7F800000U;
}
bool finite_bf16(const std::byte* at) noexcept {
  return (load<std::uint16_t>(at) & 0x7F80U) != 0x7F80U;
}
bool finite_f16(const std::byte* at) noexcept {
  return (load<std::uint16_t>(at) & 0x7C00U) != 0x7C00U;
}
bool finite_e4m3(const std::byte* at) noexcept {
  return (load<std::uint8_t>(at) & 0x7FU) != 0x7FU;
}
bool finite_e8m0(const std::byte* at) noexcept {
  return load<std::uint8_t>(at) != 0xFFU;
}

// The index of the first number that `finite` refuses; -1 if there is none.
template <bool (*finite)(const std::byte*) noexcept>
std::int64_t first_bad(const StoredTensor& tensor, std::int64_t stride,
                       std::int64_t offset = 0) noexcept {
  // Whole spans first without a branch per number, which compilers turn into vector code.
  constexpr std::int64_t kSpan = 4096;
  const std::int64_t count = tensor.size / stride;
  for (std::int64_t begin = 0; begin < count; begin += kSpan) {
    const std::int64_t end = std::min(begin + kSpan, count);
    bool good = true;
    for (std::int64_t i = begin; i < end; ++i) good &= finite(tensor.bytes + offset + i * stride);
    if (good) continue;
    for (std::int64_t i = begin; i < end; ++i) {
      if (!finite(tensor.bytes + offset + i * stride)) return i;
    }
  }
  return -1;
}

std::optional<std::string> sentence(const StoredTensor& tensor, std::int64_t index,
                                    std::string_view what) {
  if (index < 0) return std::nullopt;
  return fmt::format("{}: tensor {}: {} {} is NaN or infinite, expected a finite number",
                     tensor.file->path().string(), tensor.name, what, index);
}

// The scales of quantised blocks; the integers are all numbers.
std::optional<std::string> check_blocks(const StoredTensor& tensor, Format format) {
  constexpr std::string_view kScale = "the scale of block";
  const int stride = layout_of(format).bytes;
  if (format == Format::mxfp4) {
    return sentence(tensor, first_bad<finite_e8m0>(tensor, stride), kScale);
  }
  const HalfPlaces places = half_places(format);
  const std::int64_t bad = first_bad<finite_f16>(tensor, stride, places.scale);
  if (bad >= 0 || places.minimum < 0) return sentence(tensor, bad, kScale);
  return sentence(tensor, first_bad<finite_f16>(tensor, stride, places.minimum),
                  "the minimum of block");
}

}  // namespace

std::optional<std::string> check_tensor(const StoredTensor& tensor) {
  switch (tensor.type) {
    case StoredType::f32:
      return sentence(tensor, first_bad<finite_f32>(tensor, 4), "entry");
    case StoredType::bf16:
      return sentence(tensor, first_bad<finite_bf16>(tensor, 2), "entry");
    case StoredType::f16:
      return sentence(tensor, first_bad<finite_f16>(tensor, 2), "entry");
    case StoredType::e4m3:
      return sentence(tensor, first_bad<finite_e4m3>(tensor, 1), "entry");
    case StoredType::e8m0:
      return sentence(tensor, first_bad<finite_e8m0>(tensor, 1), "scale");
    case StoredType::i8:  // FP4: every code is a number
    case StoredType::i32:
    case StoredType::i64:
      return std::nullopt;  // hash tables: their range is checked when they are bound
    default:
      return check_blocks(tensor, *format_of(tensor.type));
  }
}

}  // namespace fathom::engine
