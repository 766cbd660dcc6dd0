// Loops that do nothing but read, or multiply and add, as fast as the processor lets them.
#include "engine/peaks.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include <immintrin.h>

#include "engine/cpu/thread_pool.h"

// g++ 12 takes the deliberately undefined operand inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace fathom::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kBufferBytes = std::int64_t{512} << 20;  // many times any cache
constexpr std::int64_t kPieceBytes = std::int64_t{1} << 20;
constexpr int kRounds = 5;
constexpr int kSums = 12;          // independent chains: latency 4 to 6, two a cycle
constexpr int kSteps = 4'000'000;  // about 20 ms

// Sums that the compiler must take for different ones, so that it keeps them all.
template <class T>
void part(T (&sums)[kSums]) noexcept {
  for (T& sum : sums) asm volatile("" : "+m"(sum));
}

std::uint64_t sum_of(const std::uint64_t* words, std::int64_t count) noexcept {
  std::uint64_t sums[8] = {};
  for (std::int64_t i = 0; i < count; i += 8) {
    for (int k = 0; k < 8; ++k) sums[k] += words[i + k];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

// What one thread does, and how many operations that is.
struct Loop {
  double operations = 0;
  void (*run)() noexcept = nullptr;
};

[[gnu::target("avx2,fma")]] void multiply_f32_avx2() noexcept {
  __m256 sums[kSums] = {};
  part(sums);
  __m256 x = _mm256_set1_ps(1.0F);
  asm volatile("" : "+x"(x));
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 16
    for (int k = 0; k < kSums; ++k) sums[k] = _mm256_fmadd_ps(x, x, sums[k]);
  }
  part(sums);
}

[[gnu::target("avx512f")]] void multiply_f32_avx512() noexcept {
  __m512 sums[kSums] = {};
  part(sums);
  __m512 x = _mm512_set1_ps(1.0F);
  asm volatile("" : "+x"(x));
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 16
    for (int k = 0; k < kSums; ++k) sums[k] = _mm512_fmadd_ps(x, x, sums[k]);
  }
  part(sums);
}

// Without VNNI an 8-bit product sum takes three instructions.
[[gnu::target("avx2")]] void multiply_int8_avx2() noexcept {
  __m256i sums[kSums] = {};
  part(sums);
  __m256i x = _mm256_set1_epi8(1);
  asm volatile("" : "+x"(x));
  const __m256i ones = _mm256_set1_epi16(1);
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 16
    for (int k = 0; k < kSums; ++k) {
      __m256i pairs = _mm256_maddubs_epi16(x, x);
      asm volatile("" : "+x"(pairs));
      sums[k] = _mm256_add_epi32(sums[k], _mm256_madd_epi16(pairs, ones));
    }
  }
  part(sums);
}

[[gnu::target("avx512f,avx512vnni")]] void multiply_int8_avx512() noexcept {
  __m512i sums[kSums] = {};
  part(sums);
  __m512i x = _mm512_set1_epi8(1);
  asm volatile("" : "+x"(x));
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 16
    for (int k = 0; k < kSums; ++k) sums[k] = _mm512_dpbusd_epi32(sums[k], x, x);
  }
  part(sums);
}

[[gnu::target("avx512f,avx512bf16")]] void multiply_bf16_avx512() noexcept {
  __m512 sums[kSums] = {};
  part(sums);
  __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0F), _mm512_set1_ps(1.0F));
  asm volatile("" : "+v"(x));
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 16
    for (int k = 0; k < kSums; ++k) sums[k] = _mm512_dpbf16_ps(sums[k], x, x);
  }
  part(sums);
}

void multiply_plain() noexcept {
  float sums[kSums] = {};
  part(sums);
  float x = 1;
  asm volatile("" : "+x"(x));
  for (int step = 0; step < kSteps; ++step) {
    for (float& sum : sums) sum += x * x;
  }
  part(sums);
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// 10⁹ units a second of the best of several rounds, each `units` of work.
template <class Round>
double best_rate(double units, Round round) {
  double best = 0;
  for (int i = 0; i < kRounds; ++i) {
    const auto start = Clock::now();
    round();
    best = std::max(best, units / seconds_since(start) / 1e9);
  }
  return best;
}

double loop_rate(cpu::ThreadPool& pool, Loop loop) {
  return best_rate(loop.operations * pool.threads(),
                   [&] { pool.run(pool.threads(), [&](int, int) noexcept { loop.run(); }); });
}

constexpr double operations(int lanes, int per_lane) {
  return 2.0 * lanes * per_lane * kSums * kSteps;
}

double read_rate(cpu::ThreadPool& pool) {
  const std::vector<std::uint64_t> buffer(kBufferBytes / sizeof(std::uint64_t), 1);
  const std::int64_t piece = kPieceBytes / static_cast<std::int64_t>(sizeof(std::uint64_t));
  return best_rate(static_cast<double>(kBufferBytes), [&] {
    pool.run(static_cast<int>(kBufferBytes / kPieceBytes), [&](int task, int) noexcept {
      std::uint64_t sum = sum_of(buffer.data() + task * piece, piece);
      asm volatile("" : "+r"(sum));
    });
  });
}

}  // namespace

Peaks measure_peaks(int threads) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  cpu::ThreadPool pool(threads == 0 ? cores : threads);
  Peaks peaks{.threads = pool.threads(), .read_gb_s = read_rate(pool), .instructions = "plain"};
  Loop f32{operations(1, 1), multiply_plain};
  Loop int8 = f32;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    f32 = {operations(8, 1), multiply_f32_avx2};
    int8 = {operations(8, 4), multiply_int8_avx2};
    peaks.instructions = "AVX2";
  }
  if (__builtin_cpu_supports("avx512f")) {
    f32 = {operations(16, 1), multiply_f32_avx512};
    peaks.instructions = "AVX-512";
  }
  if (__builtin_cpu_supports("avx512vnni")) {
    int8 = {operations(16, 4), multiply_int8_avx512};
    peaks.instructions = "AVX-512 VNNI";
  }
  peaks.f32_gflop_s = loop_rate(pool, f32);
  peaks.int8_gop_s = loop_rate(pool, int8);
  if (__builtin_cpu_supports("avx512bf16")) {
    peaks.bf16_gflop_s = loop_rate(pool, {operations(16, 2), multiply_bf16_avx512});
  }
  return peaks;
}

}  // namespace fathom::engine
