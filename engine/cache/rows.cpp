// Stores and loads one row in the form its rounding asks for.
#include "engine/cache/rows.h"

#include <cstring>
#include <span>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/weights/formats.h"

namespace fathom::engine {
namespace {

std::span<std::byte> stored_span(const RowFormat& format, std::byte* stored) noexcept {
  return {stored, static_cast<std::size_t>(format.bytes)};
}

std::span<const std::byte> stored_span(const RowFormat& format, const std::byte* stored) noexcept {
  return {stored, static_cast<std::size_t>(format.bytes)};
}

std::size_t width_of(const RowFormat& format) noexcept {
  return static_cast<std::size_t>(format.width);
}

RowFormat plain_format(Rounding rounding, int width, int rope) {
  const bool half = rounding == Rounding::f16;
  return {.form = half ? RowForm::f16 : RowForm::f32,
          .width = width,
          .rope = rope,
          .bytes = width * static_cast<std::int64_t>(half ? 2 : 4)};
}

}  // namespace

RowFormat kv_row_format(const ModelConfig& config, Rounding rounding) {
  const int width = config.head_dim;
  const int rope = config.qk_rope_head_dim;
  if (rounding != Rounding::official) return plain_format(rounding, width, rope);
  if (!has_packed_row(width, rope)) {
    throw Error(fmt::format(
        "cache rounding 'official' needs head_dim - qk_rope_head_dim in groups of {}, found {} - "
        "{}; use 'f16' or 'exact'",
        kKvGroup, width, rope));
  }
  return {.form = RowForm::packed_row,
          .width = width,
          .rope = rope,
          .bytes = packed_row_bytes(width, rope)};
}

RowFormat index_key_format(const ModelConfig& config, Rounding rounding) {
  const int width = config.index_head_dim;
  if (rounding != Rounding::official) return plain_format(rounding, width, 0);
  if (width % kKeyGroup != 0) {
    throw Error(fmt::format(
        "cache rounding 'official' needs index_head_dim in groups of {}, found {}; use 'f16' or "
        "'exact'",
        kKeyGroup, width));
  }
  return {.form = RowForm::packed_key, .width = width, .rope = 0, .bytes = packed_key_bytes(width)};
}

void store(const RowFormat& format, const float* row, std::byte* stored) noexcept {
  const std::span<const float> values(row, width_of(format));
  switch (format.form) {
    case RowForm::f32:
      std::memcpy(stored, row, static_cast<std::size_t>(format.bytes));
      return;
    case RowForm::f16:
      for (int i = 0; i < format.width; ++i) {
        const std::uint16_t half = f32_to_f16(row[i]);
        std::memcpy(stored + 2 * i, &half, 2);
      }
      return;
    case RowForm::packed_row:
      pack_row(values, format.rope, stored_span(format, stored));
      return;
    case RowForm::packed_key:
      pack_key(values, stored_span(format, stored));
      return;
  }
}

void load(const RowFormat& format, const std::byte* stored, float* row) noexcept {
  const std::span<float> values(row, width_of(format));
  switch (format.form) {
    case RowForm::f32:
      std::memcpy(row, stored, static_cast<std::size_t>(format.bytes));
      return;
    case RowForm::f16:
      for (int i = 0; i < format.width; ++i) {
        std::uint16_t half = 0;
        std::memcpy(&half, stored + 2 * i, 2);
        row[i] = f16_to_f32(half);
      }
      return;
    case RowForm::packed_row:
      unpack_row(stored_span(format, stored), format.rope, values);
      return;
    case RowForm::packed_key:
      unpack_key(stored_span(format, stored), values);
      return;
  }
}

}  // namespace fathom::engine
