// Products in AMX, and whether this machine grants and computes them.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/cpu/products.h"
#include "engine/cpu/tiles.h"
#include "engine/weights/formats.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define VECTOR_TARGET                                                           \
  [[gnu::target(                                                                \
      "amx-tile,amx-int8,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma," \
      "f16c")]]
#define VECTOR_FUNCTION VECTOR_TARGET inline

namespace fathom::engine::cpu {
namespace {

#include "engine/cpu/avx512_bytes.h"
#include "engine/cpu/avx512_fp8.h"
#include "engine/cpu/avx512_signed_bytes.h"
#include "engine/cpu/integer_layout.h"

// Tile registers by number. The instructions are written out: the intrinsics of g++ 12 are macros
// that take literals only.
struct Tiles {
  // The 64 bytes that LDTILECFG reads.
  struct alignas(64) Shape {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};

    void set(int tile, int row_count, int bytes) noexcept {
      rows[tile] = static_cast<std::uint8_t>(row_count);
      row_bytes[tile] = static_cast<std::uint16_t>(bytes);
    }
  };
  static_assert(sizeof(Shape) == 64);

  static void configure(const Shape& shape) noexcept { asm volatile("ldtilecfg %0" ::"m"(shape)); }
  static void release() noexcept { asm volatile("tilerelease"); }

  template <int tile>
  static void zero() noexcept {
    asm volatile("tilezero %%tmm%c0" ::"i"(tile));
  }
  template <int tile>
  static void load(const void* rows, std::int64_t stride) noexcept {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(stride), "i"(tile) : "memory");
  }
  template <int tile>
  static void store(void* rows, std::int64_t stride) noexcept {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(rows), "r"(stride), "i"(tile) : "memory");
  }
  // sums[m][n] += Σ_k a[m][k] · b[k / 4][n][k % 4], signed bytes
  template <int sums, int a, int b>
  static void multiply_int8() noexcept {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(a), "i"(b));
  }
  // sums[m][n] += Σ_k a[m][k] · b[k / 2][n][k % 2], bf16 to f32
  template <int sums, int a, int b>
  static void multiply_bf16() noexcept {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(a), "i"(b));
  }
};

#include "engine/cpu/amx_products.h"

// The kernel keeps the tiles' 8 KiB of every thread only for processes that ask.
bool tiles_granted() noexcept {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // the state component
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

VECTOR_TARGET void multiply_int8_amx(const MultiplyTask& task) noexcept {
  // Reading few tokens' weights takes longer than multiplying them, and the bits are the same.
  // Formats of quantised_products.h have no tiles.
  constexpr int kTokensMin = 5;
  if (task.tokens < kTokensMin || task.weights->format > Format::i64)
    return multiply_int8_avx512_vnni(task);
  multiply_int8_tiles(task);
}

VECTOR_TARGET void multiply_bf16_amx(const MultiplyTask& task) noexcept {
  multiply_bf16_tiles(task);
}

bool amx_granted() noexcept {
  static const bool granted = tiles_granted();
  return granted;
}

}  // namespace fathom::engine::cpu
