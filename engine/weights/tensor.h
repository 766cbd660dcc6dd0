// A matrix of weights as a model file stores it: a view, not a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fathom::engine {

// How entries are stored (spec architecture 8 and 9.3).
//   fp8    E4M3 codes; one UE8M0 scale per 128 x 128 block, beside the matrix
//   fp4    two E2M1 codes a byte, even column in the low nibble; one UE8M0 scale per 32 columns of
//          a row, beside the matrix
//   others from q8_0 on: small integers with their scales inside the row (quantised_block.h)
// The order is part of fingerprints: new formats go to the end.
enum class Format {
  f32,
  f16,
  bf16,
  q8_0,
  mxfp4,
  fp8,
  fp4,
  i32,
  i64,
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
inline constexpr int kFormats = 23;

inline constexpr int kBlock = 32;            // columns that share a scale in most formats
inline constexpr int kSuperBlock = 256;      // columns of a K- or I-block, which shares its halves
inline constexpr int kFp8Block = 128;        // rows and columns that share a scale in fp8
inline constexpr int kQ8BlockBytes = 34;     // f16 scale + 32 int8
inline constexpr int kMxfp4BlockBytes = 17;  // UE8M0 scale + 32 nibbles

// The smallest piece of a row that stands for itself.
struct FormatLayout {
  std::string_view name;
  int entries;
  int bytes;
};

const FormatLayout& layout_of(Format format) noexcept;

// rows x columns, multiplied as y = x · Wᵀ. Bytes belong to ModelWeights and live as long as it
// does. `data` is aligned to what one entry (or a block's scale) needs; rows are `row_bytes` apart,
// which is more than a row takes when the view is a part of a wider matrix.
struct Tensor {
  Format format = Format::f32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t row_bytes = 0;
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;  // fp8: [ceil(rows / 128)][ceil(columns / 128)] UE8M0;
                                      // fp4: [rows][columns / 32] UE8M0; else null
  std::int64_t scale_row_bytes = 0;   // from one row of scales to the next
};

std::string_view format_name(Format format) noexcept;

// Bytes that `columns` entries of a row take. Blocks must be whole.
std::int64_t bytes_of(Format format, std::int64_t columns) noexcept;

// Writes row `row` as f32: out [columns]. The definition of what stored weights mean; kernels are
// tested against it. i32 and i64 are not weights and must not be passed.
void dequantize_row(const Tensor& tensor, std::int64_t row, float* out) noexcept;

}  // namespace fathom::engine
