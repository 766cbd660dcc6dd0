// Attention and indexer kernels of every set against the plain twin, over sizes around their tiles.
#include "engine/cpu/attention_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "engine/cpu/cpu_backend.h"
#include "engine/weights/formats.h"
#include "tests/engine/cpu/numbers.h"

namespace fathom::engine::cpu {
namespace {

class AttentionKernelsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  void SetUp() override {
    if (!machine_has(GetParam()->name)) GTEST_SKIP() << "this machine lacks " << GetParam()->name;
  }
  const Kernels& kernels() const { return *GetParam(); }
};

RowFormat format_of(RowForm form, int width, int rope) {
  const std::int64_t bytes = form == RowForm::f32          ? 4 * width
                             : form == RowForm::packed_row ? packed_row_bytes(width, rope)
                                                           : packed_key_bytes(width);
  return {.form = form, .width = width, .rope = rope, .bytes = bytes};
}

// Random rows in their stored form, one after another.
struct StoredRows {
  StoredRows(const RowFormat& of, int count, unsigned seed) : format(of) {
    const std::vector<float> values = random_values(std::int64_t{count} * of.width, seed);
    bytes.resize(static_cast<std::size_t>(count * of.bytes));
    for (int j = 0; j < count; ++j) {
      store(of, values.data() + j * of.width, bytes.data() + j * of.bytes);
      addresses.push_back(bytes.data() + j * of.bytes);
    }
    page = bytes.data();
    table = {.pages = &page, .offset = 0, .rows_per_page = count, .format = of};
  }
  StoredRows(const StoredRows&) = delete;
  StoredRows& operator=(const StoredRows&) = delete;

  RowFormat format;
  std::vector<std::byte> bytes;
  std::vector<const std::byte*> addresses;
  std::byte* page = nullptr;
  RowTable table;
};

// Heads [first, first + heads) of `q` over the first `count` rows.
std::vector<float> attend(const Kernels& set, const StoredRows& rows, int count,
                          const std::vector<float>& q, int first, int heads) {
  const int width = rows.format.width;
  const std::vector<float> sinks = random_values(first + heads, 9);
  std::vector<float> scratch(static_cast<std::size_t>(set.attend_scratch(heads, width, count)));
  std::vector<float> out(static_cast<std::size_t>(heads * width));
  set.attend({.q = q.data() + first * width,
              .heads = heads,
              .rows = rows.addresses.data(),
              .count = count,
              .format = &rows.format,
              .sinks = sinks.data() + first,
              .scale = static_cast<float>(1 / std::sqrt(width)),
              .out = out.data(),
              .scratch = scratch.data()});
  return out;
}

void expect_same_attention(const Kernels& kernels, const RowFormat& format, int heads, int count) {
  const std::vector<float> q = random_values(heads * format.width, 6, 2);
  const StoredRows rows(format, count, 8);
  const std::vector<float> found = attend(kernels, rows, count, q, 0, heads);
  const std::vector<float> expected = attend(kReference, rows, count, q, 0, heads);
  // In f32: scores of about 10 carry an error of width · 2⁻²⁴ · 10 into the exponent, values are
  // about 1. Rounded to bf16, 2⁻⁹ on each query entry (of about 2, with random signs) and on each
  // weight.
  float allowed = tolerance(10, format.width) + tolerance(4, count);
  if (kernels.attend == attend_bf16_avx512 && format.form == RowForm::packed_row) {
    allowed = 4 * 2 * 0x1.0p-9F + 4 * 0x1.0p-9F;
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], allowed) << heads << " heads, " << count << " rows";
  }
}

TEST_P(AttentionKernelsTest, AttendOverAnyNumberOfRows) {
  for (const int count : {1, 3, 31, 32, 33, 65, 100}) {
    expect_same_attention(kernels(), format_of(RowForm::f32, 96, 0), 3, count);
    expect_same_attention(kernels(), format_of(RowForm::f32, 64, 0), 8, count);
  }
  for (const int count : {1, 2, 11, 12, 13, 95, 96, 97, 193}) {
    expect_same_attention(kernels(), format_of(RowForm::packed_row, 96, 32), 4, count);
    expect_same_attention(kernels(), format_of(RowForm::packed_row, 512, 64), 16, count);
  }
  for (const int count : {768, 769, 1152, 3001}) {
    expect_same_attention(kernels(), format_of(RowForm::packed_row, 96, 32), 4, count);
  }
}

TEST_P(AttentionKernelsTest, AttendWithAnyNumberOfHeads) {
  for (const int heads : {1, 2, 4, 5, 12, 13}) {
    expect_same_attention(kernels(), format_of(RowForm::f32, 40, 0), heads, 37);
  }
  for (const int heads : {1, 15, 16, 17, 32, 33, 63, 64, 65, 112}) {
    expect_same_attention(kernels(), format_of(RowForm::packed_row, 160, 32), heads, 37);
  }
}

// The promise of backend.h: how heads are split over threads does not show.
TEST_P(AttentionKernelsTest, GiveAHeadTheSameBitsInEveryGroup) {
  const StoredRows rows(format_of(RowForm::packed_row, 128, 64), 150, 8);
  const std::vector<float> q = random_values(70 * 128, 6);
  const std::vector<float> together = attend(kernels(), rows, 150, q, 0, 70);
  for (const auto& [first, heads] : {std::pair{0, 35}, {35, 35}, {3, 1}, {64, 6}, {16, 17}}) {
    const std::vector<float> some = attend(kernels(), rows, 150, q, first, heads);
    EXPECT_TRUE(std::equal(some.begin(), some.end(), together.begin() + first * 128)) << first;
  }
}

// What threads do that share a query: a piece of the rows each, or some heads of it.
std::vector<float> attend_by_pieces(const Kernels& set, const StoredRows& rows, int count,
                                    const std::vector<float>& q, int heads, int per_group) {
  const int width = rows.format.width;
  const int of_piece = set.piece_rows(rows.format, count);
  const int pieces = (count + of_piece - 1) / of_piece;
  EXPECT_LE(pieces, kPiecesMax);
  const std::vector<float> sinks = random_values(heads, 9);
  std::vector<float> scratch(static_cast<std::size_t>(set.attend_scratch(heads, width, of_piece)));
  std::vector<float> sums(static_cast<std::size_t>(pieces * heads * (width + 2)));
  const auto part_of = [&](int piece, int head) {
    float* part = sums.data() + piece * heads * (width + 2);
    return AttendPart{part + head * width, part + heads * width + head,
                      part + heads * (width + 1) + head};
  };
  for (int piece = pieces - 1; piece >= 0; --piece) {
    for (int first = 0; first < heads; first += per_group) {
      set.attend_piece({.q = q.data() + first * width,
                        .heads = std::min(per_group, heads - first),
                        .rows = rows.addresses.data() + piece * of_piece,
                        .count = std::min(of_piece, count - piece * of_piece),
                        .format = &rows.format,
                        .sinks = sinks.data() + first,
                        .scale = static_cast<float>(1 / std::sqrt(width)),
                        .scratch = scratch.data()},
                       piece == 0, part_of(piece, first));
    }
  }
  std::vector<float> out(static_cast<std::size_t>(heads * width));
  for (int head = 0; head < heads; ++head) {
    std::vector<AttendPart> parts;
    for (int piece = 0; piece < pieces; ++piece) parts.push_back(part_of(piece, head));
    set.join_pieces(parts.data(), pieces, width, out.data() + head * width);
  }
  return out;
}

TEST(AttentionByPieces, HasTheBitsOfTheWhole) {
  if (!machine_has("avx512-bf16")) GTEST_SKIP() << "this machine lacks avx512-bf16";
  const StoredRows rows(format_of(RowForm::packed_row, 128, 64), 3001, 8);
  const std::vector<float> q = random_values(20 * 128, 6);
  EXPECT_LT(kAvx512Bf16.piece_rows(rows.format, 3001), 3001);
  for (const int count : {1, 768, 769, 1152, 1153, 3001}) {
    const std::vector<float> whole = attend(kAvx512Bf16, rows, count, q, 0, 20);
    EXPECT_EQ(attend_by_pieces(kAvx512Bf16, rows, count, q, 20, 20), whole) << count;
    EXPECT_EQ(attend_by_pieces(kAvx512Bf16, rows, count, q, 20, 7), whole) << count;
  }
}

// Queries at the end of long timelines; those of one follow one another.
struct LongTimelines {
  static constexpr int kQueries = 5;
  static constexpr int kHeads = 6;

  LongTimelines() : rows(format_of(RowForm::packed_row, 96, 32), 1100, 8) {
    config.num_attention_heads = kHeads;
    config.head_dim = 96;
    config.qk_rope_head_dim = 32;
    config.hidden_size = 32;
    config.sliding_window = 16;
    config.hc_mult = 1;
    config.o_groups = 1;
  }

  // All queries of all tasks, task by task. `firsts`: where each task's queries begin.
  std::vector<float> attend(const Kernels& set, int threads, const std::vector<int>& firsts,
                            int queries) const {
    CpuBackend backend(config, set, threads);
    backend.reserve(kQueries, 1 << 18);
    const int width = kHeads * 96;
    const auto tasks = static_cast<int>(firsts.size());
    std::vector<float> out(static_cast<std::size_t>(tasks * queries * width));
    std::vector<Attention> attentions;
    for (int i = 0; i < tasks; ++i) {
      attentions.push_back({.q = {q.data(), queries, width, width},
                            .out = {out.data() + i * queries * width, queries, width, width},
                            .sinks = sinks,
                            .rotation = {angles.data(), 32},
                            .first_position = firsts[static_cast<std::size_t>(i)],
                            .window = {.ring = rows.page,
                                       .first_fresh = 1 << 20,
                                       .window = 16,
                                       .format = rows.format},
                            .ratio = 128,
                            .rows = rows.table,
                            .selection = {}});
    }
    backend.attend(attentions);
    return out;
  }

  ModelConfig config;
  StoredRows rows;
  std::vector<float> q = random_values(kQueries * kHeads * 96, 6);
  std::vector<float> sinks = random_values(kHeads, 9);
  std::vector<double> angles = std::vector<double>(kQueries * 32, 0.5);
};

TEST(AttentionByPieces, DoesNotDependOnThreadsOrOnWhoElseIsThere) {
  if (!machine_has("avx512-bf16")) GTEST_SKIP() << "this machine lacks avx512-bf16";
  const LongTimelines timelines;
  const int last = 1000 * 128 - 3;  // in the middle of the queries another row is complete
  const std::vector<float> alone =
      timelines.attend(kAvx512Bf16, 1, {last}, LongTimelines::kQueries);
  for (const int threads : {1, 2, 3, 20}) {
    for (const int queries : {1, 2, 3, LongTimelines::kQueries}) {
      const std::vector<float> found = timelines.attend(kAvx512Bf16, threads, {last}, queries);
      EXPECT_TRUE(std::ranges::equal(found, std::span(alone).first(found.size())))
          << threads << " threads, " << queries << " queries";
    }
    const std::vector<float> beside = timelines.attend(kAvx512Bf16, threads, {40, last}, 1);
    EXPECT_TRUE(std::equal(beside.begin() + static_cast<std::ptrdiff_t>(beside.size() / 2),
                           beside.end(), alone.begin()));
    EXPECT_EQ(beside, timelines.attend(kAvx512Bf16, 1, {40, last}, 1));
  }
}

// Of one row, next to a sink that weighs nothing, attention returns the row.
TEST_P(AttentionKernelsTest, ReadEveryCodeTimesEveryPowerOfTwo) {
  const RowFormat format = format_of(RowForm::packed_row, 320, 64);
  StoredRows rows(format, 1, 8);
  const std::vector<float> q(320);
  const std::vector<float> sinks{-1e30F};
  const auto read = [&](const Kernels& set) {
    std::vector<float> scratch(static_cast<std::size_t>(set.attend_scratch(1, format.width, 1)));
    std::vector<float> out(static_cast<std::size_t>(format.width));
    set.attend({.q = q.data(),
                .heads = 1,
                .rows = rows.addresses.data(),
                .count = 1,
                .format = &format,
                .sinks = sinks.data(),
                .scale = 1,
                .out = out.data(),
                .scratch = scratch.data()});
    return out;
  };
  // Among normal codes alone the others are not looked for.
  for (const bool normal_alone : {false, true}) {
    for (int code = 0; code < 256; ++code) {
      const bool is_nan = code % 128 == 127;
      const bool is_left_out = is_nan || (normal_alone && code % 128 < 8);
      rows.bytes[static_cast<std::size_t>(code)] = static_cast<std::byte>(is_left_out ? 8 : code);
    }
    // Beyond these a value leaves the range of f32 or its normal numbers.
    for (int power = 10; power < 246; ++power) {
      std::fill(rows.bytes.begin() + 256 + 2 * 64, rows.bytes.end(), static_cast<std::byte>(power));
      EXPECT_EQ(read(kernels()), read(kReference)) << "scale " << power;
    }
  }
}

TEST_P(AttentionKernelsTest, KeepNaN) {
  StoredRows rows(format_of(RowForm::packed_row, 128, 64), 5, 8);
  rows.bytes[static_cast<std::size_t>(2 * rows.format.bytes + 7)] = std::byte{0x7F};
  const std::vector<float> q = random_values(2 * 128, 6);
  for (const float value : attend(kernels(), rows, 5, q, 0, 2)) EXPECT_TRUE(std::isnan(value));
}

// scores [queries, count] of keys [first, first + count)
std::vector<float> index_scores(const Kernels& set, const RowTable& keys, int heads, int queries,
                                const std::vector<float>& q, int first, int count) {
  const int width = keys.format.width;
  const std::vector<float> weights = random_values(queries * heads, 12);
  std::vector<float> scratch(static_cast<std::size_t>(set.index_scratch(heads, width)));
  std::vector<float> scores(static_cast<std::size_t>(queries * count));
  set.index_scores({.q = q.data(),
                    .q_stride = heads * width,
                    .weights = weights.data(),
                    .weights_stride = heads,
                    .queries = queries,
                    .heads = heads,
                    .keys = &keys,
                    .first = first,
                    .count = count,
                    .scores = scores.data(),
                    .scores_stride = count,
                    .scratch = scratch.data()});
  return scores;
}

TEST_P(AttentionKernelsTest, ScoreKeys) {
  for (const RowFormat& format :
       {format_of(RowForm::f32, 64, 0), format_of(RowForm::packed_key, 128, 0)}) {
    const StoredRows keys(format, 140, 10);
    for (const int count : {1, 15, 16, 17, 63, 64, 65, 130}) {
      for (const int heads : {1, 5, 6, 10, 13}) {
        const std::vector<float> q = random_values(3 * heads * format.width, 11);
        const std::vector<float> found = index_scores(kernels(), keys.table, heads, 3, q, 7, count);
        const std::vector<float> expected =
            index_scores(kReference, keys.table, heads, 3, q, 7, count);
        for (std::size_t i = 0; i < found.size(); ++i) {
          ASSERT_NEAR(found[i], expected[i],
                      tolerance(heads * 3 * std::sqrt(format.width), format.width));
        }
      }
    }
  }
}

// Queries as the backend makes them: rounded to FP4.
std::vector<float> rounded_queries(int count, int width, unsigned seed) {
  std::vector<float> q = random_values(count * width, seed);
  for (int i = 0; i < count; ++i) {
    round_key({q.data() + i * width, static_cast<std::size_t>(width)});
  }
  return q;
}

TEST_P(AttentionKernelsTest, FinishIndexQueriesWithTheSameBits) {
  for (const int width : {32, 64, 128, 256}) {
    std::vector<std::vector<float>> heads;
    for (unsigned seed = 0; seed < 40; ++seed) {
      // From subnormal scales to ones that leave the range of f32.
      const float spread = std::ldexp(1.0F, static_cast<int>(seed) * 7 - 140);
      heads.push_back(random_values(width, seed, spread));
    }
    heads.emplace_back(static_cast<std::size_t>(width), 0.0F);
    heads.push_back(heads[20]);
    heads.back()[5] = std::numeric_limits<float>::quiet_NaN();
    heads.push_back(heads[20]);
    heads.back()[6] = -std::numeric_limits<float>::infinity();
    for (const std::vector<float>& head : heads) {
      for (const bool rounds : {false, true}) {
        std::vector<float> found = head, expected = head;
        kernels().finish_index_query(found.data(), width, rounds);
        plain_finish_index_query(expected.data(), width, rounds);
        const std::size_t bytes = found.size() * sizeof(float);
        EXPECT_EQ(std::memcmp(found.data(), expected.data(), bytes), 0)
            << head[0] << (rounds ? ", rounded" : "");
      }
    }
  }
}

TEST(IndexScoresInIntegers, HaveTheBitsOfF32) {
  if (!machine_has("avx512-vnni")) GTEST_SKIP() << "this machine lacks avx512-vnni";
  for (const int width : {32, 64, 128}) {
    for (const int heads : {4, 13, 64}) {
      StoredRows keys(format_of(RowForm::packed_key, width, 0), 200, 10);
      std::vector<float> q = rounded_queries(4 * heads, width, 11);
      const auto expect_same = [&] {
        EXPECT_EQ(index_scores(kAvx512Vnni, keys.table, heads, 4, q, 3, 190),
                  index_scores(kAvx512, keys.table, heads, 4, q, 3, 190))
            << width;
      };
      expect_same();
      const auto bytes = static_cast<std::size_t>(keys.format.bytes);
      std::fill_n(q.begin(), width, 0.0F);  // a head of zeros
      std::fill_n(keys.bytes.begin() + static_cast<std::ptrdiff_t>(10 * bytes), bytes,
                  std::byte{0});  // a key of zeros
      expect_same();
      keys.bytes[21 * bytes - 1] = std::byte{100};  // groups of a key far apart
      for (int i = 0; i < 16; ++i) q[static_cast<std::size_t>(width + i)] /= 1024;  // and of a head
      expect_same();
      q[static_cast<std::size_t>(width + 20)] = std::numeric_limits<float>::quiet_NaN();
      const std::vector<float> scores = index_scores(kAvx512Vnni, keys.table, heads, 4, q, 3, 190);
      EXPECT_FALSE(std::isnan(scores[190]));  // the second query has none
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, AttentionKernelsTest,
                         testing::Values(&kAvx2, &kAvx512, &kAvx512Vnni, &kAvx512Bf16,
                                         &kAvx2Precise, &kAvx512Precise),
                         [](const auto& param) {
                           const bool precise =
                               param.param == &kAvx2Precise || param.param == &kAvx512Precise;
                           std::string name(param.param->name);
                           std::ranges::replace(name, '-', '_');
                           return name + (precise ? "_precise" : "");
                         });

}  // namespace
}  // namespace fathom::engine::cpu
