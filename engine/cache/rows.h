// How a session stores one remembered vector (a kv row or an indexer key), and where rows lie.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/engine.h"

namespace fathom::engine {

//   f32         as computed
//   f16         IEEE half
//   packed_row  FP8 in groups of 64, rotary part BF16, one scale a group (formats.h)
//   packed_key  FP4 in groups of 32 (formats.h)
enum class RowForm { f32, f16, packed_row, packed_key };

struct RowFormat {
  RowForm form = RowForm::f32;
  int width = 0;  // entries
  int rope = 0;   // of those, at the end, rotary
  std::int64_t bytes = 0;
};

// Throws Error if `rounding` is official and the widths do not fit its groups.
RowFormat kv_row_format(const ModelConfig& config, Rounding rounding);
RowFormat index_key_format(const ModelConfig& config, Rounding rounding);

// row [width] f32, stored [bytes]. load(store(x)) is what every later reader sees; both are the
// definition that kernels are tested against.
void store(const RowFormat& format, const float* row, std::byte* stored) noexcept;
void load(const RowFormat& format, const std::byte* stored, float* row) noexcept;

// Compressed rows (or keys) of one layer: `rows_per_page` of them lie in each page.
struct RowTable {
  std::byte* const* pages = nullptr;
  std::int64_t offset = 0;  // of the layer's rows inside a page
  int rows_per_page = 1;
  RowFormat format;

  std::byte* row(std::int64_t j) const noexcept {
    return pages[j / rows_per_page] + offset + j % rows_per_page * format.bytes;
  }
};

// Raw rows of one layer: positions before `first_fresh` lie in a ring of `window` rows, later ones
// in a list. A chunk writes the list and moves it into the ring when its queries are done, because
// its first queries still need rows that its last ones push out.
struct WindowRows {
  std::byte* ring = nullptr;
  std::byte* fresh = nullptr;
  int first_fresh = 0;
  int window = 0;
  RowFormat format;

  std::byte* row(int position) const noexcept {
    return position < first_fresh ? ring + position % window * format.bytes
                                  : fresh + (position - first_fresh) * format.bytes;
  }
};

// What an unfinished window of the compressor needs: the projections of its last `slots` tokens,
// keyed by position so that going back only needs the slots of earlier positions.
struct Slots {
  float* values = nullptr;  // [slots, width]
  float* gates = nullptr;   // [slots, width], without the position's `ape`
  int slots = 0;            // 8 for ratio 4 (two windows), 128 for ratio 128
  int width = 0;            // 2 · row width for ratio 4
};

}  // namespace fathom::engine
