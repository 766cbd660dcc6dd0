// Matches stored tensors with what the model expects of them.
#include "engine/weights/binder.h"

#include <cmath>
#include <cstring>
#include <functional>

#include <fmt/format.h>

#include "engine/error.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/quantised_block.h"

namespace fathom::engine {
namespace {

std::string where(const StoredTensor& tensor) {
  return fmt::format("{}: tensor {}", tensor.file->path().string(), tensor.name);
}

// The format of a matrix; integers and scales are none.
std::optional<Format> matrix_format(StoredType type) noexcept {
  const bool integers = type == StoredType::i32 || type == StoredType::i64;
  return integers ? std::nullopt : format_of(type);
}

// What kernels may assume of a matrix's address: that an entry is aligned, where an entry is a
// number of its own.
std::int64_t alignment_of(Format format) noexcept {
  return is_quantised(format) ? 1 : layout_of(format).bytes;
}

bool is_aligned(const std::byte* bytes, std::int64_t alignment) noexcept {
  return reinterpret_cast<std::uintptr_t>(bytes) % static_cast<std::uintptr_t>(alignment) == 0;
}

}  // namespace

StoredPart Binder::take(const std::string& name, const std::vector<std::int64_t>& shape) {
  auto part = checkpoint_.get().find(name);
  if (!part) {
    throw Error(fmt::format("{}: tensor {} is missing, expected shape {}",
                            checkpoint_.get().path().string(), checkpoint_.get().stored_name(name),
                            shape_text(shape)));
  }
  std::vector<std::int64_t> expected = shape;
  if (part->tensor.type == StoredType::i8) expected.back() /= 2;  // two codes a byte
  if (part->tensor.shape != expected) {
    throw Error(fmt::format("{}: has shape {}, expected {}", where(part->tensor),
                            shape_text(part->tensor.shape), shape_text(expected)));
  }
  bytes_ += part->tensor.size;
  return std::move(*part);
}

Tensor Binder::matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
  const StoredPart part = take(name, {rows, columns});
  const auto format = matrix_format(part.tensor.type);
  if (!format || (*format == Format::fp4 && columns % kBlock != 0)) {
    throw Error(fmt::format(
        "{}: is stored as {} with {} columns, expected weights, and FP4 in blocks of {} "
        "columns",
        where(part.tensor), type_name(part.tensor.type), columns, kBlock));
  }
  Tensor tensor{.format = *format,
                .rows = rows,
                .columns = columns,
                .row_bytes = part.row_bytes,
                .data = aligned(part, alignment_of(*format))};
  if (*format == Format::fp8 || *format == Format::fp4) attach_scales(name, tensor);
  count(name, rows * columns);
  return tensor;
}

void Binder::attach_scales(const std::string& name, Tensor& tensor) {
  const bool blocks = tensor.format == Format::fp8;
  const std::int64_t height = blocks ? kFp8Block : 1;
  const std::int64_t width = blocks ? kFp8Block : kBlock;
  const std::string stem = name.substr(0, name.rfind('.'));
  const StoredPart scales = take(
      stem + ".scale", {(tensor.rows + height - 1) / height, (tensor.columns + width - 1) / width});
  if (scales.tensor.type != StoredType::e8m0) {
    throw Error(fmt::format("{}: is stored as {}, expected F8_E8M0", where(scales.tensor),
                            type_name(scales.tensor.type)));
  }
  tensor.scales = scales.tensor.bytes;
  tensor.scale_row_bytes = scales.row_bytes;
}

// Safetensors aligns nothing. Checkpoints as published happen to be aligned, so copies are rare.
const std::byte* Binder::aligned(const StoredPart& part, std::int64_t alignment) {
  const StoredTensor& tensor = part.tensor;
  if (is_aligned(tensor.bytes, alignment) && part.row_bytes % alignment == 0) return tensor.bytes;
  const auto size = static_cast<std::size_t>(tensor.size);
  // A new array of bytes is aligned for every type of its size.
  std::shared_ptr<std::byte[]> copy(new std::byte[size]);
  std::memcpy(copy.get(), tensor.bytes, size);
  weights_.copies.push_back(copy);
  return copy.get();
}

Tensor Binder::hash_table(const std::string& name, std::int64_t rows, std::int64_t columns,
                          int experts) {
  const StoredPart part = take(name, {rows, columns});
  const bool wide = part.tensor.type == StoredType::i64;
  if (!wide && part.tensor.type != StoredType::i32) {
    throw Error(fmt::format("{}: is stored as {}, expected I32 or I64", where(part.tensor),
                            type_name(part.tensor.type)));
  }
  const std::int64_t bytes = wide ? 8 : 4;
  Tensor tensor{.format = wide ? Format::i64 : Format::i32,
                .rows = rows,
                .columns = columns,
                .row_bytes = part.row_bytes,
                .data = aligned(part, bytes)};
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    std::int64_t id = 0;
    std::int32_t narrow = 0;
    if (wide) {
      std::memcpy(&id, tensor.data + i * bytes, sizeof id);
    } else {
      std::memcpy(&narrow, tensor.data + i * bytes, sizeof narrow);
      id = narrow;
    }
    if (id >= 0 && id < experts) continue;
    throw Error(fmt::format("{}: sends token {} to expert {}, expected 0 to {}", where(part.tensor),
                            i / columns, id, experts - 1));
  }
  return tensor;
}

std::vector<float> Binder::floats(const std::string& name, const std::vector<std::int64_t>& shape) {
  const StoredPart part = take(name, shape);
  const auto format = matrix_format(part.tensor.type);
  if (!format || *format == Format::fp8 || *format == Format::fp4) {
    throw Error(fmt::format("{}: is stored as {}, expected a type without scales beside it",
                            where(part.tensor), type_name(part.tensor.type)));
  }
  const std::int64_t columns = shape.back();
  const Tensor rows{.format = *format,
                    .rows = part.tensor.size / bytes_of(*format, columns),
                    .columns = columns,
                    .row_bytes = bytes_of(*format, columns),
                    .data = part.tensor.bytes};
  const std::int64_t entries = rows.rows * columns;
  std::vector<float> values(static_cast<std::size_t>(entries));
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    dequantize_row(rows, row, values.data() + row * columns);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw Error(fmt::format("{}: entry {} is {}, expected a finite number", where(part.tensor), i,
                            values[i]));
  }
  count(name, entries);
  return values;
}

void Binder::count(const std::string& name, std::int64_t entries) {
  if (name.starts_with("mtp.")) {
    parameters_.mtp += entries;
    return;
  }
  parameters_.main += entries;
  const ModelConfig& config = checkpoint_.get().config();
  const bool routed = name.find(".experts.") != std::string::npos;
  parameters_.active +=
      static_cast<double>(entries) *
      (routed ? static_cast<double>(config.num_experts_per_tok) / config.n_routed_experts : 1.0);
}

}  // namespace fathom::engine
