// Random rows, fast: a few thousand are stored as real ones are, and copies differ by their signs.
#include "engine/cache/random_fill.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace fathom::engine {
namespace {

constexpr int kRowsStored = 1021;  // a prime: copies do not repeat in step with pages

// splitmix64: a counter, well stirred.
class Random {
 public:
  std::uint64_t bits() noexcept {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }

  // Of variance 1 and nearly normal: the sum of four uniform numbers of 16 bits.
  float normal() noexcept {
    const std::uint64_t four = bits();
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(four >> (16 * i) & 0xFFFFU);
    return static_cast<float>((sum / 65536 - 2) * std::sqrt(3.0));
  }

 private:
  std::uint64_t state_ = 0;
};

// Rows of one format.
class RandomRows {
 public:
  RandomRows(const RowFormat& format, Random& random)
      : format_(format),
        stored_(static_cast<std::size_t>(kRowsStored * format.bytes)),
        signs_(static_cast<std::size_t>(format.bytes)) {
    std::vector<float> row(static_cast<std::size_t>(format.width));
    for (int i = 0; i < kRowsStored; ++i) {
      for (float& value : row) value = random.normal();
      store(format, row.data(), stored(i));
    }
    // The bits in which a row differs from its negative are those of the signs.
    for (float& value : row) value = 1;
    std::vector<std::byte> negative(signs_.size());
    store(format, row.data(), signs_.data());
    for (float& value : row) value = -1;
    store(format, row.data(), negative.data());
    for (std::size_t i = 0; i < signs_.size(); ++i) signs_[i] ^= negative[i];
  }

  void write(Random& random, std::byte* to) noexcept {
    const std::byte* from = stored(next_++ % kRowsStored);
    for (std::int64_t i = 0; i < format_.bytes; i += 8) {
      const auto count = static_cast<std::size_t>(std::min<std::int64_t>(8, format_.bytes - i));
      std::uint64_t word = 0;
      std::uint64_t signs = 0;
      std::memcpy(&word, from + i, count);
      std::memcpy(&signs, signs_.data() + i, count);
      word ^= signs & random.bits();
      std::memcpy(to + i, &word, count);
    }
  }

 private:
  std::byte* stored(int i) noexcept { return stored_.data() + i * format_.bytes; }

  RowFormat format_;
  std::vector<std::byte> stored_;
  std::vector<std::byte> signs_;
  int next_ = 0;
};

void fill_slots(const Slots& slots, Random& random) noexcept {
  const std::int64_t count = static_cast<std::int64_t>(slots.slots) * slots.width;
  std::generate_n(slots.values, count, [&] { return random.normal(); });
  std::generate_n(slots.gates, count, [&] { return random.normal(); });
}

}  // namespace

void fill_random(KvCache& cache, int tokens) {
  const CacheShape& shape = cache.shape();
  cache.clear();
  cache.reserve(tokens);
  cache.set_length(tokens);
  Random random;
  RandomRows rows(shape.row, random);
  for (int layer = 0; layer < static_cast<int>(shape.layers.size()); ++layer) {
    const int ratio = shape.layers[static_cast<std::size_t>(layer)].ratio;
    const WindowRows window = cache.window(layer, nullptr);
    for (int p = std::max(0, tokens - window.window); p < tokens; ++p) {
      rows.write(random, window.row(p));
    }
    if (ratio == 0) continue;
    fill_slots(cache.slots(layer), random);
    const RowTable table = cache.rows(layer);
    for (int j = 0; j < tokens / ratio; ++j) rows.write(random, table.row(j));
    if (ratio != 4) continue;
    fill_slots(cache.index_slots(layer), random);
    RandomRows keys(shape.key, random);
    const RowTable key_table = cache.keys(layer);
    for (int j = 0; j < tokens / ratio; ++j) keys.write(random, key_table.row(j));
  }
}

}  // namespace fathom::engine
