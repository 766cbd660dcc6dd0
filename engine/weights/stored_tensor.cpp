// Sizes and names of what headers describe.
#include "engine/weights/stored_tensor.h"

#include <algorithm>
#include <functional>
#include <iterator>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/error.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

struct TypeRow {
  StoredType type;
  std::string_view name;
  std::optional<Format> format;
  std::optional<std::uint32_t> gguf;  // its number in GGUF files
};

// In the order of StoredType.
constexpr TypeRow kTypes[] = {
    {StoredType::f32, "F32", Format::f32, 0},
    {StoredType::f16, "F16", Format::f16, 1},
    {StoredType::bf16, "BF16", Format::bf16, 30},
    {StoredType::e4m3, "F8_E4M3", Format::fp8, std::nullopt},
    {StoredType::e8m0, "F8_E8M0", std::nullopt, std::nullopt},
    {StoredType::i8, "I8", Format::fp4, std::nullopt},
    {StoredType::i32, "I32", Format::i32, 26},
    {StoredType::i64, "I64", Format::i64, 27},
    {StoredType::q8_0, "Q8_0", Format::q8_0, 8},
    {StoredType::mxfp4, "MXFP4", Format::mxfp4, 39},
    {StoredType::q4_0, "Q4_0", Format::q4_0, 2},
    {StoredType::q4_1, "Q4_1", Format::q4_1, 3},
    {StoredType::q5_0, "Q5_0", Format::q5_0, 6},
    {StoredType::q5_1, "Q5_1", Format::q5_1, 7},
    {StoredType::q2_k, "Q2_K", Format::q2_k, 10},
    {StoredType::q3_k, "Q3_K", Format::q3_k, 11},
    {StoredType::q4_k, "Q4_K", Format::q4_k, 12},
    {StoredType::q5_k, "Q5_K", Format::q5_k, 13},
    {StoredType::q6_k, "Q6_K", Format::q6_k, 14},
    {StoredType::iq2_xxs, "IQ2_XXS", Format::iq2_xxs, 16},
    {StoredType::iq2_xs, "IQ2_XS", Format::iq2_xs, 17},
    {StoredType::iq3_xxs, "IQ3_XXS", Format::iq3_xxs, 18},
    {StoredType::iq4_nl, "IQ4_NL", Format::iq4_nl, 20},
    {StoredType::iq4_xs, "IQ4_XS", Format::iq4_xs, 23},
};

constexpr const TypeRow& row_of(StoredType type) noexcept {
  return kTypes[static_cast<std::size_t>(type)];
}

constexpr bool is_in_order() noexcept {
  return std::ranges::all_of(kTypes, [](const TypeRow& row) { return &row == &row_of(row.type); });
}
static_assert(is_in_order());

struct Layout {
  std::int64_t entries;  // per block
  std::int64_t bytes;
};

// FP4 is counted in the bytes that its header's shape counts.
Layout layout(StoredType type) noexcept {
  if (type == StoredType::i8 || type == StoredType::e8m0) return {1, 1};
  const FormatLayout& format = layout_of(*row_of(type).format);
  return {format.entries, format.bytes};
}

}  // namespace

std::string_view type_name(StoredType type) noexcept {
  return row_of(type).name;
}

std::optional<Format> format_of(StoredType type) noexcept {
  return row_of(type).format;
}

std::optional<StoredType> stored_type_of(Format format) noexcept {
  const auto* found = std::ranges::find(kTypes, std::optional(format), &TypeRow::format);
  if (found == std::end(kTypes) || !found->gguf) return std::nullopt;
  return found->type;
}

std::optional<StoredType> type_of_gguf(std::uint32_t number) noexcept {
  const auto* found = std::ranges::find(kTypes, number, &TypeRow::gguf);
  if (found == std::end(kTypes)) return std::nullopt;
  return found->type;
}

std::optional<std::uint32_t> gguf_number(StoredType type) noexcept {
  return row_of(type).gguf;
}

std::string gguf_type_names() {
  std::vector<std::string_view> names;
  for (const TypeRow& row : kTypes) {
    if (row.gguf) names.push_back(row.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
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
