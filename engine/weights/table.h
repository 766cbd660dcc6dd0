// Entries of a table of integers, such as the one that sends token ids to experts.
#pragma once

#include <cstdint>
#include <cstring>

#include "engine/weights/tensor.h"

namespace fathom::engine {

// `table` holds i32 or i64.
inline std::int64_t table_entry(const Tensor& table, std::int64_t row, int column) noexcept {
  const std::byte* entries = table.data + row * table.row_bytes;
  if (table.format == Format::i32) {
    std::int32_t entry = 0;
    std::memcpy(&entry, entries + 4 * column, sizeof entry);
    return entry;
  }
  std::int64_t entry = 0;
  std::memcpy(&entry, entries + 8 * column, sizeof entry);
  return entry;
}

}  // namespace fathom::engine
