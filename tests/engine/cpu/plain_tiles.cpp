// Tile instructions as the processor's manual defines them, with the kernels that amx.cpp compiles.
#include "tests/engine/cpu/plain_tiles.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <vector>

#include <immintrin.h>

#include "engine/cpu/products.h"
#include "engine/cpu/tiles.h"
#include "engine/weights/formats.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_TARGET [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

#include "engine/cpu/avx512_bytes.h"
#include "engine/cpu/avx512_fp8.h"
#include "engine/cpu/avx512_signed_bytes.h"
#include "engine/cpu/integer_layout.h"

struct Tiles {
  struct Shape {
    int rows[8] = {};
    int row_bytes[8] = {};

    void set(int tile, int row_count, int bytes) noexcept {
      assert(row_count <= 16 && bytes <= 64 && bytes % 4 == 0);
      rows[tile] = row_count;
      row_bytes[tile] = bytes;
    }
  };
  struct Register {
    std::byte rows[16][64];
  };

  static thread_local Shape shape;
  static thread_local Register registers[8];

  static void configure(const Shape& wanted) noexcept {
    shape = wanted;
    for (Register& one : registers) one = {};
  }
  static void release() noexcept { shape = {}; }

  template <class T>
  static T& at(int tile, int row, int column) noexcept {
    assert(row < shape.rows[tile] && column * static_cast<int>(sizeof(T)) < shape.row_bytes[tile]);
    return reinterpret_cast<T*>(registers[tile].rows[row])[column];
  }
  template <int tile>
  static void zero() noexcept {
    registers[tile] = {};
  }
  template <int tile>
  static void load(const void* rows, std::int64_t stride) noexcept {
    zero<tile>();
    for (int r = 0; r < shape.rows[tile]; ++r) {
      std::memcpy(registers[tile].rows[r], static_cast<const std::byte*>(rows) + r * stride,
                  static_cast<std::size_t>(shape.row_bytes[tile]));
    }
  }
  template <int tile>
  static void store(void* rows, std::int64_t stride) noexcept {
    for (int r = 0; r < shape.rows[tile]; ++r) {
      std::memcpy(static_cast<std::byte*>(rows) + r * stride, registers[tile].rows[r],
                  static_cast<std::size_t>(shape.row_bytes[tile]));
    }
  }

  template <int sums, int a, int b>
  static void check_shapes() noexcept {
    assert(shape.rows[sums] == shape.rows[a] && shape.row_bytes[sums] == shape.row_bytes[b] &&
           shape.row_bytes[a] == 4 * shape.rows[b]);
  }
  template <int sums, int a, int b>
  static void multiply_int8() noexcept {
    check_shapes<sums, a, b>();
    for (int m = 0; m < shape.rows[sums]; ++m) {
      for (int n = 0; n < shape.row_bytes[sums] / 4; ++n) {
        for (int k = 0; k < shape.row_bytes[a]; ++k) {
          at<std::int32_t>(sums, m, n) +=
              at<std::int8_t>(a, m, k) * at<std::int8_t>(b, k / 4, 4 * n + k % 4);
        }
      }
    }
  }
  // Even and odd pairs have a sum each, which meet at the end.
  template <int sums, int a, int b>
  static void multiply_bf16() noexcept {
    check_shapes<sums, a, b>();
    for (int m = 0; m < shape.rows[sums]; ++m) {
      for (int n = 0; n < shape.row_bytes[sums] / 4; ++n) {
        float parts[2] = {};
        for (int k = 0; k < shape.row_bytes[a] / 2; ++k) {
          parts[k % 2] += bf16_to_f32(at<std::uint16_t>(a, m, k)) *
                          bf16_to_f32(at<std::uint16_t>(b, k / 2, 2 * n + k % 2));
        }
        at<float>(sums, m, n) += parts[0] + parts[1];
      }
    }
  }
};
thread_local Tiles::Shape Tiles::shape;
thread_local Tiles::Register Tiles::registers[8];

#include "engine/cpu/amx_products.h"

VECTOR_TARGET void multiply(const MultiplyTask& task) noexcept {
  if (task.weights->format > Format::i64) return kAvx512Bf16.multiply(task);  // they have no tiles
  switch (kAvx512Bf16.form(task.weights->format)) {
    case ActivationForm::int8:
      return multiply_int8_tiles(task);
    case ActivationForm::bf16:
      return multiply_bf16_tiles(task);
    case ActivationForm::f32:
      return kAvx512Bf16.multiply(task);
  }
}

}  // namespace

const Kernels kPlainTiles = [] {
  Kernels set = kAvx512Bf16;
  set.multiply = multiply;
  return set;
}();

}  // namespace fathom::engine::cpu
