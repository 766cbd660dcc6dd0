// One row: copied, packed anew, or de-quantised and rounded.
#include "engine/convert/tensor_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/weights/quantise.h"

namespace fathom::engine {
namespace {

constexpr std::byte kNanScale{255};

void write_ids(const Tensor& table, std::int64_t row, std::byte* out) noexcept {
  const std::byte* from = table.data + row * table.row_bytes;
  for (std::int64_t i = 0; i < table.columns; ++i) {
    std::int64_t id = 0;
    if (table.format == Format::i64) {
      std::memcpy(&id, from + 8 * i, sizeof id);
    } else {
      std::int32_t narrow = 0;
      std::memcpy(&narrow, from + 4 * i, sizeof narrow);
      id = narrow;
    }
    const auto narrow = static_cast<std::int32_t>(id);  // an expert: loading has checked its range
    std::memcpy(out + 4 * i, &narrow, sizeof narrow);
  }
}

// FP4 pairs columns 2j and 2j + 1 in a byte, MXFP4 columns j and j + 16; codes and scales are the
// same.
bool pack_mxfp4(const Tensor& tensor, std::int64_t row, std::byte* out) noexcept {
  const std::byte* codes = tensor.data + row * tensor.row_bytes;
  const std::byte* scales = tensor.scales + row * tensor.scale_row_bytes;
  const auto code = [&](std::int64_t column) {
    const std::byte pair = codes[column / 2];
    return column % 2 == 0 ? pair & std::byte{15} : pair >> 4;
  };
  for (std::int64_t first = 0; first < tensor.columns; first += kBlock, out += kMxfp4BlockBytes) {
    out[0] = scales[first / kBlock];
    if (out[0] == kNanScale) return false;
    for (std::int64_t i = 0; i < kBlock / 2; ++i) {
      out[1 + i] = code(first + i) | code(first + i + kBlock / 2) << 4;
    }
  }
  return true;
}

// A part of a row in place of which nothing needs rounding.
bool write_same(const Tensor& tensor, std::int64_t row, StoredType type, std::byte* out) noexcept {
  if (type == StoredType::mxfp4) return pack_mxfp4(tensor, row, out);
  const auto bytes = static_cast<std::size_t>(bytes_of(tensor.format, tensor.columns));
  std::memcpy(out, tensor.data + row * tensor.row_bytes, bytes);
  return true;
}

bool is_same(const Tensor& tensor, StoredType type) noexcept {
  return tensor.format == *format_of(type) ||
         (tensor.format == Format::fp4 && type == StoredType::mxfp4);
}

}  // namespace

std::int64_t row_scratch(const PlannedTensor& tensor) noexcept {
  return tensor.columns();
}

bool write_row(const PlannedTensor& planned, std::int64_t row, std::span<float> scratch,
               std::byte* out) noexcept {
  const std::int64_t rows = planned.matrices.front().rows;
  const Tensor& left = planned.matrices[static_cast<std::size_t>(row / rows)];
  const std::int64_t local = row % rows;
  if (planned.type == StoredType::i32) {
    write_ids(left, local, out);
    return true;
  }
  if (is_same(left, planned.type) && (!planned.right || is_same(*planned.right, planned.type))) {
    if (!write_same(left, local, planned.type, out)) return false;
    out += bytes_of(*format_of(planned.type), left.columns);
    return !planned.right || write_same(*planned.right, local, planned.type, out);
  }
  dequantize_row(left, local, scratch.data());
  if (planned.right) dequantize_row(*planned.right, local, scratch.data() + left.columns);
  const auto values = scratch.first(static_cast<std::size_t>(planned.columns()));
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) return false;
  quantise_row(*format_of(planned.type), values, out);
  return true;
}

}  // namespace fathom::engine
