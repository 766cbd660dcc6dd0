// What stored weights mean, entry by entry.
#include "engine/weights/tensor.h"

#include <array>
#include <cassert>
#include <cstring>

#include "engine/weights/formats.h"
#include "engine/weights/quantised_block.h"

namespace fathom::engine {
namespace {

// In the order of Format.
constexpr std::array<FormatLayout, kFormats> kLayouts = {{
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"Q8_0", kBlock, kQ8BlockBytes},
    {"MXFP4", kBlock, kMxfp4BlockBytes},
    {"FP8", 1, 1},
    {"FP4", 2, 1},
    {"I32", 1, 4},
    {"I64", 1, 8},
    {"Q4_0", kBlock, 18},
    {"Q4_1", kBlock, 20},
    {"Q5_0", kBlock, 22},
    {"Q5_1", kBlock, 24},
    {"Q2_K", kSuperBlock, 84},
    {"Q3_K", kSuperBlock, 110},
    {"Q4_K", kSuperBlock, 144},
    {"Q5_K", kSuperBlock, 176},
    {"Q6_K", kSuperBlock, 210},
    {"IQ2_XXS", kSuperBlock, 66},
    {"IQ2_XS", kSuperBlock, 74},
    {"IQ3_XXS", kSuperBlock, 98},
    {"IQ4_NL", kBlock, 18},
    {"IQ4_XS", kSuperBlock, 136},
}};

template <typename T>
T read(const std::byte* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::uint8_t byte_at(const std::byte* bytes, std::int64_t index) noexcept {
  return static_cast<std::uint8_t>(bytes[index]);
}

void dequantize_fp8(const std::byte* row, const std::byte* scales, std::int64_t columns,
                    float* out) noexcept {
  for (std::int64_t i = 0; i < columns; ++i) {
    out[i] = e4m3_to_f32(byte_at(row, i)) * ue8m0_to_f32(byte_at(scales, i / kFp8Block));
  }
}

void dequantize_fp4(const std::byte* row, const std::byte* scales, std::int64_t columns,
                    float* out) noexcept {
  for (std::int64_t i = 0; i < columns; i += 2) {
    const std::uint8_t pair = byte_at(row, i / 2);
    const float scale = ue8m0_to_f32(byte_at(scales, i / kBlock));
    out[i] = e2m1_to_f32(pair & 15U) * scale;
    out[i + 1] = e2m1_to_f32(static_cast<std::uint8_t>(pair >> 4)) * scale;
  }
}

}  // namespace

const FormatLayout& layout_of(Format format) noexcept {
  return kLayouts[static_cast<std::size_t>(format)];
}

std::string_view format_name(Format format) noexcept {
  return layout_of(format).name;
}

std::int64_t bytes_of(Format format, std::int64_t columns) noexcept {
  const FormatLayout& layout = layout_of(format);
  return columns / layout.entries * layout.bytes;
}

void dequantize_row(const Tensor& tensor, std::int64_t row, float* out) noexcept {
  assert(row >= 0 && row < tensor.rows);
  const std::byte* bytes = tensor.data + row * tensor.row_bytes;
  const std::int64_t columns = tensor.columns;
  switch (tensor.format) {
    case Format::f32:
      std::memcpy(out, bytes, static_cast<std::size_t>(columns) * sizeof(float));
      return;
    case Format::f16:
      for (std::int64_t i = 0; i < columns; ++i) {
        out[i] = f16_to_f32(read<std::uint16_t>(bytes + 2 * i));
      }
      return;
    case Format::bf16:
      for (std::int64_t i = 0; i < columns; ++i) {
        out[i] = bf16_to_f32(read<std::uint16_t>(bytes + 2 * i));
      }
      return;
    case Format::fp8:
      return dequantize_fp8(bytes, tensor.scales + row / kFp8Block * tensor.scale_row_bytes,
                            columns, out);
    case Format::fp4:
      return dequantize_fp4(bytes, tensor.scales + row * tensor.scale_row_bytes, columns, out);
    default:
      break;
  }
  assert(is_quantised(tensor.format) && "integers are not weights");
  for (std::int64_t block = 0; block < columns / kBlock; ++block) {
    dequantize_block(unpack_block(tensor.format, bytes, block), out + block * kBlock);
  }
}

}  // namespace fathom::engine
