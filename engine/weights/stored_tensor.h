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
  std::vector<std::int64_t> shape{};  // outermost first, also for GGUF; all positive
  const std::byte* bytes = nullptr;
  std::int64_t size = 0;  // of `bytes`
  const MappedFile* file = nullptr;
};

std::string_view type_name(StoredType type) noexcept;

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
