// A tensor as its file's header describes it: inside the file, but not yet matched with a model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/weights/tensor.h"

namespace fathom::engine {

class MappedFile;

// Types that headers name. e8m0 holds scales; i8 holds two FP4 codes. From q8_0 on: GGUF's blocks.
enum class StoredType {
  f32,
  f16,
  bf16,
  e4m3,
  e8m0,
  i8,
  i32,
  i64,
  q8_0,
  mxfp4,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq2_xxs,
  iq2_xs,
  iq3_xxs,
  iq4_nl,
  iq4_xs
};

struct StoredTensor {
  std::string_view name;  // lives as long as its file's reader
  StoredType type = StoredType::f32;
  std::vector<std::int64_t> shape{};  // outermost first, also for GGUF; all positive
  const std::byte* bytes = nullptr;
  std::int64_t size = 0;  // of `bytes`
  const MappedFile* file = nullptr;
};

std::string_view type_name(StoredType type) noexcept;

// The format of weights that are stored so; scales are none.
std::optional<Format> format_of(StoredType type) noexcept;

// The type that a GGUF file stores a format as; nothing if it has none.
std::optional<StoredType> stored_type_of(Format format) noexcept;

// The type that a GGUF file calls by this number, and the number of a type; nothing if GGUF has no
// such type, or this program does not know it.
std::optional<StoredType> type_of_gguf(std::uint32_t number) noexcept;
std::optional<std::uint32_t> gguf_number(StoredType type) noexcept;

// "F32, F16, …": what a GGUF file's tensors may be stored as, for messages.
std::string gguf_type_names();

// Bytes that a tensor of this type and shape takes. Throws Error if an extent is not positive, the
// count of entries overflows or a row is no whole number of blocks.
std::int64_t checked_bytes(const StoredTensor& tensor);

// Sets `bytes` to `offset` after the file's byte `data`. Throws Error if the tensor, whose `size`
// is set, would not lie inside the file.
void place(StoredTensor& tensor, std::int64_t data, std::uint64_t offset);

// Throws Error if two tensors of one file share bytes.
void refuse_overlaps(const std::vector<StoredTensor>& tensors);

// "[64, 96]", for messages.
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace fathom::engine
