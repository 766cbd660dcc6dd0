// Sizes and names of what headers describe.
#include "engine/weights/stored_tensor.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/error.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/tensor.h"

namespace fathom::engine {
namespace {

struct Layout {
  std::int64_t entries;  // per block
  std::int64_t bytes;
};

Layout layout(StoredType type) noexcept {
  switch (type) {
    case StoredType::f32:
    case StoredType::i32:
      return {1, 4};
    case StoredType::f16:
    case StoredType::bf16:
      return {1, 2};
    case StoredType::e4m3:
    case StoredType::e8m0:
    case StoredType::i8:
      return {1, 1};
    case StoredType::i64:
      return {1, 8};
    case StoredType::q8_0:
      return {kBlock, kQ8BlockBytes};
    case StoredType::mxfp4:
      return {kBlock, kMxfp4BlockBytes};
  }
  return {1, 1};
}

}  // namespace

std::string_view type_name(StoredType type) noexcept {
  switch (type) {
    case StoredType::f32:
      return "F32";
    case StoredType::f16:
      return "F16";
    case StoredType::bf16:
      return "BF16";
    case StoredType::e4m3:
      return "F8_E4M3";
    case StoredType::e8m0:
      return "F8_E8M0";
    case StoredType::i8:
      return "I8";
    case StoredType::i32:
      return "I32";
    case StoredType::i64:
      return "I64";
    case StoredType::q8_0:
      return "Q8_0";
    case StoredType::mxfp4:
      return "MXFP4";
  }
  return "?";
}

std::int64_t checked_bytes(const StoredTensor& tensor) {
  const Layout block = layout(tensor.type);
  const std::int64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
  std::int64_t bytes = columns / block.entries;
  bool fits = std::ranges::all_of(tensor.shape, [](std::int64_t extent) { return extent > 0; }) &&
              columns % block.entries == 0 && !__builtin_mul_overflow(bytes, block.bytes, &bytes);
  for (std::size_t i = 0; fits && i + 1 < tensor.shape.size(); ++i) {
    fits = !__builtin_mul_overflow(bytes, tensor.shape[i], &bytes);
  }
  if (fits) return bytes;
  throw Error(fmt::format(
      "{}: tensor {} has shape {} in {}, expected positive extents, rows of "
      "whole blocks and less than 2^63 bytes",
      tensor.file->path().string(), tensor.name, shape_text(tensor.shape), type_name(tensor.type)));
}

void place(StoredTensor& tensor, std::int64_t data, std::uint64_t offset) {
  const MappedFile& file = *tensor.file;
  const std::int64_t room = file.size() - data;
  if (room < 0 || offset > static_cast<std::uint64_t>(room) ||
      tensor.size > room - static_cast<std::int64_t>(offset)) {
    throw Error(fmt::format(
        "{}: tensor {} takes {} bytes at offset {} of the data, expected them "
        "inside the file, whose data has {} bytes",
        file.path().string(), tensor.name, tensor.size, offset, std::max<std::int64_t>(room, 0)));
  }
  tensor.bytes = file.bytes().data() + data + static_cast<std::int64_t>(offset);
}

void refuse_overlaps(const std::vector<StoredTensor>& tensors) {
  std::vector<const StoredTensor*> order;
  for (const StoredTensor& tensor : tensors) order.push_back(&tensor);
  std::ranges::sort(order, std::less<>{}, [](const StoredTensor* tensor) { return tensor->bytes; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const StoredTensor& before = *order[i - 1];
    if (before.bytes + before.size <= order[i]->bytes) continue;
    throw Error(fmt::format("{}: tensors {} and {} share bytes, expected each to have its own",
                            before.file->path().string(), before.name, order[i]->name));
  }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace fathom::engine
