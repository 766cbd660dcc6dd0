// One test per format: is the number at this place finite?
#include "engine/weights/check_tensor.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "engine/weights/mapped_file.h"
#include "engine/weights/tensor.h"

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
std::int64_t first_bad(const StoredTensor& tensor, std::int64_t stride) noexcept {
  // Whole spans first without a branch per number, which compilers turn into vector code.
  constexpr std::int64_t kSpan = 4096;
  const std::int64_t count = tensor.size / stride;
  for (std::int64_t begin = 0; begin < count; begin += kSpan) {
    const std::int64_t end = std::min(begin + kSpan, count);
    bool good = true;
    for (std::int64_t i = begin; i < end; ++i) good &= finite(tensor.bytes + i * stride);
    if (good) continue;
    for (std::int64_t i = begin; i < end; ++i) {
      if (!finite(tensor.bytes + i * stride)) return i;
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
    case StoredType::q8_0:
      return sentence(tensor, first_bad<finite_f16>(tensor, kQ8BlockBytes), "the scale of block");
    case StoredType::mxfp4:
      return sentence(tensor, first_bad<finite_e8m0>(tensor, kMxfp4BlockBytes),
                      "the scale of block");
    case StoredType::i8:  // FP4: every code is a number
    case StoredType::i32:
    case StoredType::i64:
      break;  // hash tables: their range is checked when they are bound
  }
  return std::nullopt;
}

}  // namespace fathom::engine
