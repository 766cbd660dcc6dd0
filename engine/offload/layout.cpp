// From addresses in mapped files to offsets, and from offsets to places in memory.
#include "engine/offload/layout.h"

#include <algorithm>
#include <functional>

#include "engine/offload/weight_file.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

// Bytes between two arrays that are read with them: less than a further request costs.
constexpr std::int64_t kGapMax = 64 << 10;

struct Array {
  const std::byte* begin = nullptr;
  std::int64_t bytes = 0;
};

Array data_of(const Tensor& matrix) noexcept {
  return {matrix.data,
          (matrix.rows - 1) * matrix.row_bytes + bytes_of(matrix.format, matrix.columns)};
}

// Of no bytes if the format keeps its scales beside the codes.
Array scales_of(const Tensor& matrix) noexcept {
  if (matrix.scales == nullptr) return {};
  const bool blocks = matrix.format == Format::fp8;
  const std::int64_t rows = blocks ? (matrix.rows + kFp8Block - 1) / kFp8Block : matrix.rows;
  const std::int64_t columns =
      blocks ? (matrix.columns + kFp8Block - 1) / kFp8Block : matrix.columns / kBlock;
  return {matrix.scales, (rows - 1) * matrix.scale_row_bytes + columns};
}

// Where an array lies, not aligned.
std::optional<Extent> find(const Array& array, WeightFiles files) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto bytes = files[i]->bytes();
    const auto* const begin = bytes.data();
    if (std::less<>{}(array.begin, begin) || !std::less<>{}(array.begin, begin + bytes.size())) {
      continue;
    }
    return Extent{.file = static_cast<int>(i), .offset = array.begin - begin, .bytes = array.bytes};
  }
  return std::nullopt;
}

Extent aligned(Extent extent) noexcept {
  const std::int64_t end = extent.offset + extent.bytes;
  extent.offset -= extent.offset % kReadAlignment;
  extent.bytes = (end - extent.offset + kReadAlignment - 1) / kReadAlignment * kReadAlignment;
  return extent;
}

// Aligned, joined where they touch, and given their places.
void lay_out_extents(std::vector<Extent> arrays, Layout& layout) {
  std::ranges::transform(arrays, arrays.begin(), aligned);
  std::ranges::sort(arrays, [](const Extent& a, const Extent& b) {
    return a.file != b.file ? a.file < b.file : a.offset < b.offset;
  });
  for (const Extent& next : arrays) {
    Extent* const last = layout.extents.empty() ? nullptr : &layout.extents.back();
    if (last != nullptr && last->file == next.file &&
        next.offset <= last->offset + last->bytes + kGapMax) {
      last->bytes = std::max(last->bytes, next.offset + next.bytes - last->offset);
    } else {
      layout.extents.push_back(next);
    }
  }
  for (Extent& extent : layout.extents) {
    extent.place = layout.bytes;
    layout.bytes += extent.bytes;
  }
}

std::int64_t place_of(const Extent& array, const Layout& layout) {
  const auto after = std::ranges::find_if(layout.extents, [&](const Extent& extent) {
    return extent.file == array.file && array.offset >= extent.offset &&
           array.offset < extent.offset + extent.bytes;
  });
  return after->place + array.offset - after->offset;
}

}  // namespace

std::optional<Layout> lay_out(std::span<const Tensor* const> matrices, WeightFiles files) {
  std::vector<Extent> arrays;
  for (const Tensor* matrix : matrices) {
    for (const Array& array : {data_of(*matrix), scales_of(*matrix)}) {
      if (array.bytes == 0) continue;
      const auto found = find(array, files);
      if (!found) return std::nullopt;
      arrays.push_back(*found);
    }
  }
  Layout layout;
  lay_out_extents(arrays, layout);
  auto array = arrays.begin();
  for (const Tensor* matrix : matrices) {
    Layout::Place place{.data = place_of(*array++, layout)};
    if (matrix->scales != nullptr) place.scales = place_of(*array++, layout);
    layout.places.push_back(place);
  }
  return layout;
}

Tensor placed(Tensor matrix, const Layout::Place& place, const std::byte* memory) noexcept {
  matrix.data = memory + place.data;
  if (matrix.scales != nullptr) matrix.scales = memory + place.scales;
  return matrix;
}

std::vector<BlockWeights*> blocks_of(ModelWeights& weights) {
  std::vector<BlockWeights*> blocks;
  for (BlockWeights& block : weights.layers) blocks.push_back(&block);
  for (MtpWeights& mtp : weights.mtp) blocks.push_back(&mtp.block);
  return blocks;
}

std::vector<Tensor*> dense_matrices(ModelWeights& weights) {
  std::vector<Tensor*> all = {&weights.embed, &weights.head};
  const auto add = [&all](std::initializer_list<Tensor*> more) { all.insert(all.end(), more); };
  for (BlockWeights* block : blocks_of(weights)) {
    add({&block->wq_a, &block->wq_b, &block->wkv, &block->wo_a, &block->wo_b, &block->gate,
         &block->shared.w1, &block->shared.w2, &block->shared.w3});
    if (block->compressor) add({&block->compressor->wkv, &block->compressor->wgate});
    if (block->indexer) {
      add({&block->indexer->wq_b, &block->indexer->weights_proj, &block->indexer->compressor.wkv,
           &block->indexer->compressor.wgate});
    }
    if (block->tid2eid) add({&*block->tid2eid});
  }
  for (MtpWeights& mtp : weights.mtp) add({&mtp.e_proj, &mtp.h_proj});
  return all;
}

}  // namespace fathom::engine
