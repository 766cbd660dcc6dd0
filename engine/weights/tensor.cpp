// What stored weights mean, entry by entry.
#include "engine/weights/tensor.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "engine/weights/formats.h"

namespace fathom::engine {
namespace {

template <typename T>
T read(const std::byte* bytes) noexcept {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

std::uint8_t byte_at(const std::byte* bytes, std::int64_t index) noexcept {
  return static_cast<std::uint8_t>(bytes[index]);
}

void dequantize_q8_0(const std::byte* row, std::int64_t columns, float* out) noexcept {
  for (std::int64_t begin = 0; begin < columns; begin += kBlock, row += kQ8BlockBytes) {
    const float scale = f16_to_f32(read<std::uint16_t>(row));
    for (int i = 0; i < kBlock; ++i) {
      out[begin + i] = static_cast<float>(static_cast<std::int8_t>(byte_at(row, 2 + i))) * scale;
    }
  }
}

void dequantize_mxfp4(const std::byte* row, std::int64_t columns, float* out) noexcept {
  for (std::int64_t begin = 0; begin < columns; begin += kBlock, row += kMxfp4BlockBytes) {
    const float scale = ue8m0_to_f32(byte_at(row, 0));
    for (int i = 0; i < kBlock / 2; ++i) {
      const std::uint8_t pair = byte_at(row, 1 + i);
      out[begin + i] = e2m1_to_f32(pair & 15U) * scale;
      out[begin + i + kBlock / 2] = e2m1_to_f32(static_cast<std::uint8_t>(pair >> 4)) * scale;
    }
  }
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

std::string_view format_name(Format format) noexcept {
  switch (format) {
    case Format::f32:
      return "F32";
    case Format::f16:
      return "F16";
    case Format::bf16:
      return "BF16";
    case Format::q8_0:
      return "Q8_0";
    case Format::mxfp4:
      return "MXFP4";
    case Format::fp8:
      return "FP8";
    case Format::fp4:
      return "FP4";
    case Format::i32:
      return "I32";
    case Format::i64:
      return "I64";
  }
  return "?";
}

std::int64_t bytes_of(Format format, std::int64_t columns) noexcept {
  switch (format) {
    case Format::f32:
    case Format::i32:
      return columns * 4;
    case Format::f16:
    case Format::bf16:
      return columns * 2;
    case Format::i64:
      return columns * 8;
    case Format::fp8:
      return columns;
    case Format::fp4:
      return columns / 2;
    case Format::q8_0:
      return columns / kBlock * kQ8BlockBytes;
    case Format::mxfp4:
      return columns / kBlock * kMxfp4BlockBytes;
  }
  return 0;
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
    case Format::q8_0:
      return dequantize_q8_0(bytes, columns, out);
    case Format::mxfp4:
      return dequantize_mxfp4(bytes, columns, out);
    case Format::fp8:
      return dequantize_fp8(bytes, tensor.scales + row / kFp8Block * tensor.scale_row_bytes,
                            columns, out);
    case Format::fp4:
      return dequantize_fp4(bytes, tensor.scales + row * tensor.scale_row_bytes, columns, out);
    case Format::i32:
    case Format::i64:
      break;
  }
  assert(false && "integers are not weights");
}

}  // namespace fathom::engine
