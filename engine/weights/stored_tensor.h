// A tensor as its file's header describes it: inside the file, but not yet matched with a model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::engine {

class MappedFile;

// Types that headers name. e8m0 holds scales; i8 holds two FP4 codes.
enum class StoredType { f32, f16, bf16, e4m3, e8m0, i8, i32, i64, q8_0, mxfp4 };

struct StoredTensor {
  std::string_view name;  // lives as long as its file's reader
  StoredType type = StoredType::f32;
  std::vector<std::int64_t> shape;  // outermost first, also for GGUF; all positive
  const std::byte* bytes = nullptr;
  std::int64_t size = 0;  // of `bytes`
  const MappedFile* file = nullptr;
};

std::string_view type_name(StoredType type) noexcept;

// Bytes of a whole tensor; -1 if the count of entries overflows or a row is no whole number of
// blocks.
std::int64_t stored_bytes(StoredType type, const std::vector<std::int64_t>& shape) noexcept;

// "[64, 96]", for messages.
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace fathom::engine
