// Every kernel set against the plain twin, over sizes around its tiles.
#include "engine/cpu/kernels.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/kernel_trial.h"
#include "engine/weights/formats.h"
#include "engine/weights/quantised_block.h"
#include "tests/engine/cpu/numbers.h"
#include "tests/engine/cpu/plain_tiles.h"

namespace fathom::engine::cpu {
namespace {

// A matrix of random bytes that are valid in its format, with moderate scales.
struct StoredMatrix {
  StoredMatrix(Format format, std::int64_t rows, std::int64_t columns) {
    std::mt19937 random(7);
    const std::int64_t row_bytes = bytes_of(format, columns);
    const unsigned mask = format == Format::fp8 ? 0x77U : 0xFFU;  // no NaN
    bytes.resize(static_cast<std::size_t>(rows * row_bytes));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() & mask);
    const std::int64_t scale_row = format == Format::fp8 ? (columns + 127) / 128 : columns / kBlock;
    scales.resize(static_cast<std::size_t>(rows * scale_row));
    for (std::byte& scale : scales) scale = static_cast<std::byte>(120 + random() % 8);
    tensor = {.format = format,
              .rows = rows,
              .columns = columns,
              .row_bytes = row_bytes,
              .data = bytes.data(),
              .scales = scales.data(),
              .scale_row_bytes = scale_row};
    for (std::int64_t row = 0; row < rows; ++row) make_valid(row);
  }

  // Floats and scales inside blocks must be of moderate size, or sums are infinite.
  void make_valid(std::int64_t row) {
    std::byte* at = bytes.data() + row * tensor.row_bytes;
    const auto put = [&](std::int64_t offset, auto value) {
      std::memcpy(at + offset, &value, sizeof value);
    };
    for (std::int64_t c = 0; c < tensor.columns; ++c) {
      const float value = static_cast<float>((row * 31 + c * 17) % 23 - 11) / 8;
      if (tensor.format == Format::f32) put(4 * c, value);
      if (tensor.format == Format::f16) put(2 * c, f32_to_f16(value));
      if (tensor.format == Format::bf16) put(2 * c, f32_to_bf16(value));
    }
    if (!is_quantised(tensor.format)) return;
    const FormatLayout& layout = layout_of(tensor.format);
    const HalfPlaces places = half_places(tensor.format);
    for (std::int64_t block = 0; block < tensor.columns / layout.entries; ++block) {
      const std::int64_t begin = block * layout.bytes;
      const float half = 0.01F * static_cast<float>(1 + (row + block) % 3);
      if (places.scale >= 0) put(begin + places.scale, f32_to_f16(half));
      if (places.minimum >= 0) put(begin + places.minimum, f32_to_f16(-half / 2));
      if (tensor.format == Format::mxfp4) put(begin, static_cast<std::uint8_t>(122 + block % 4));
    }
  }

  std::vector<std::byte> bytes, scales;
  Tensor tensor;
};

class KernelsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  void SetUp() override {
    if (!machine_has(GetParam()->name)) GTEST_SKIP() << "this machine lacks " << GetParam()->name;
  }
  const Kernels& kernels() const { return *GetParam(); }
};

// Rows of activations as a set's multiply() takes them for weights of one format.
struct Inputs {
  Inputs(const Kernels& kernels, Format format, std::vector<float> rows, std::int64_t columns)
      : form(kernels.form(format)), values(std::move(rows)) {
    const std::int64_t count = std::ssize(values) / columns;
    const std::int64_t bytes = form == ActivationForm::f32 ? 0 : rounded_bytes(form, columns);
    stored.resize(static_cast<std::size_t>(count * bytes));
    for (std::int64_t t = 0; t < count; ++t) {
      float* row = values.data() + t * columns;
      plain.push_back(row);
      rounded.push_back(stored.data() + t * bytes);
      if (form == ActivationForm::f32) continue;
      kernels.round(form, row, columns, stored.data() + t * bytes);
      rounded_to_f32(form, rounded.back(), columns, row);
    }
  }

  // From token `first` on.
  MultiplyTask task(int first, int tokens) const {
    return {.x = plain.data() + first,
            .rounded = form == ActivationForm::f32 ? nullptr : rounded.data() + first,
            .tokens = tokens};
  }

  ActivationForm form;
  std::vector<float> values;  // what the rounded rows stand for
  std::vector<std::byte> stored;
  std::vector<const float*> plain;
  std::vector<const std::byte*> rounded;
};

std::vector<float> scratch_for(std::int64_t columns) {
  return std::vector<float>(static_cast<std::size_t>(kUnpackedRows * (columns + kBlock)));
}

// What the terms of a row's products are made of: kernels may sum a value and its minimum apart.
std::vector<double> magnitudes(const Tensor& w, std::int64_t row) {
  std::vector<float> values(static_cast<std::size_t>(w.columns));
  dequantize_row(w, row, values.data());
  std::vector<double> sizes(values.size());
  for (std::size_t c = 0; c < sizes.size(); ++c) {
    sizes[c] = std::abs(static_cast<double>(values[c]));
    if (!is_quantised(w.format)) continue;
    const auto column = static_cast<std::int64_t>(c);
    const QuantisedBlock block =
        unpack_block(w.format, w.data + row * w.row_bytes, column / kBlock);
    sizes[c] += 2 * std::abs(static_cast<double>(block.minimum[c % kBlock / 16]));
  }
  return sizes;
}

void expect_same_product(const Kernels& kernels, const Tensor& w, int tokens) {
  const Inputs x(kernels, w.format, random_values(tokens * w.columns, 3), w.columns);
  std::vector<float> scratch = scratch_for(w.columns);
  std::vector<float> y(static_cast<std::size_t>(tokens) * w.rows);
  std::vector<float> expected(y.size());
  MultiplyTask task = x.task(0, tokens);
  task.weights = &w;
  task.rows = static_cast<int>(w.rows);
  task.y = y.data();
  task.y_stride = w.rows;
  task.scratch = scratch.data();
  kernels.multiply(task);
  task.y = expected.data();
  kReference.multiply(task);
  for (int r = 0; r < w.rows; ++r) {
    const std::vector<double> row = magnitudes(w, r);
    for (int t = 0; t < tokens; ++t) {
      double magnitude = 0;
      for (std::size_t c = 0; c < row.size(); ++c) {
        magnitude += row[c] * std::abs(x.plain[static_cast<std::size_t>(t)][c]);
      }
      const auto at = static_cast<std::size_t>(t * w.rows + r);
      ASSERT_NEAR(y[at], expected[at], tolerance(magnitude, w.columns))
          << format_name(w.format) << " " << w.rows << "x" << w.columns << ", " << tokens
          << " tokens";
    }
  }
}

// All that hold weights.
std::vector<Format> formats() {
  std::vector<Format> formats;
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    if (format != Format::i32 && format != Format::i64) formats.push_back(format);
  }
  return formats;
}

bool has_super_blocks(Format format) {
  return layout_of(format).entries == kSuperBlock;
}

// Rows and tokens around every tile.
TEST_P(KernelsTest, MultipliesEveryFormat) {
  for (const Format format : formats()) {
    for (const std::int64_t columns : has_super_blocks(format)
                                          ? std::vector<std::int64_t>{256, 768}
                                          : std::vector<std::int64_t>{32, 64, 160, 288}) {
      const StoredMatrix w(format, 37, columns);
      for (const int tokens : {1, 2, 3, 4, 5, 6, 7, 13, 16, 17}) {
        expect_same_product(kernels(), w.tensor, tokens);
      }
    }
    for (const std::int64_t rows : {1, 7, 8, 15, 16, 17, 31, 32, 33, 64}) {
      const StoredMatrix w(format, rows, has_super_blocks(format) ? 256 : 96);
      for (const int tokens : {1, 6}) expect_same_product(kernels(), w.tensor, tokens);
    }
  }
}

TEST_P(KernelsTest, MultipliesWidthsThatAreNoWholeBlocks) {
  for (const Format format : {Format::f32, Format::f16, Format::bf16, Format::fp8}) {
    for (const std::int64_t columns : {1, 7, 15, 17, 31, 33, 48, 63}) {
      const StoredMatrix w(format, 5, columns);
      for (const int tokens : {1, 3, 6}) expect_same_product(kernels(), w.tensor, tokens);
    }
  }
}

// So that few tokens may leave the tiles for vectors.
TEST(AmxProducts, HaveTheBitsOfAvx512Vnni) {
  if (!machine_has("avx512-bf16")) GTEST_SKIP() << "this machine lacks avx512-bf16";
  constexpr int kTokens = 37, kRows = 67, kColumns = 96;
  const Kernels& tiles = machine_has("amx") ? kAmx : kPlainTiles;
  for (const Format format : {Format::q8_0, Format::mxfp4, Format::fp4}) {
    const StoredMatrix w(format, kRows, kColumns);
    const Inputs x(tiles, format, random_values(kTokens * kColumns, 9), kColumns);
    std::vector<float> scratch = scratch_for(kColumns);
    std::vector<float> found(kTokens * kRows), expected(found.size());
    MultiplyTask task = x.task(0, kTokens);
    task.weights = &w.tensor;
    task.rows = kRows;
    task.y = found.data();
    task.y_stride = kRows;
    task.scratch = scratch.data();
    tiles.multiply(task);
    task.y = expected.data();
    kAvx512Vnni.multiply(task);
    EXPECT_EQ(found, expected) << format_name(format);
  }
}

// The promise of backend.h: a row's bits do not depend on the rows beside it.
TEST_P(KernelsTest, GivesATokenTheSameBitsInEveryBatch) {
  constexpr int kTokens = 13, kRows = 67;
  for (const Format format : formats()) {
    const int columns = has_super_blocks(format) ? 512 : 96;
    const StoredMatrix w(format, kRows, columns);
    const Inputs x(kernels(), format, random_values(kTokens * columns, 4), columns);
    std::vector<float> scratch = scratch_for(columns);
    const auto multiply = [&](int first_token, int tokens, int first_row, int rows, float* y) {
      MultiplyTask task = x.task(first_token, tokens);
      task.weights = &w.tensor;
      task.first_row = first_row;
      task.rows = rows;
      task.y = y;
      task.y_stride = kRows;
      task.scratch = scratch.data();
      kernels().multiply(task);
    };
    std::vector<float> together(kTokens * kRows), apart(kTokens * kRows);
    multiply(0, kTokens, 0, kRows, together.data());
    for (const int tokens : {1, 2, 3, 5}) {
      for (int t = 0; t < kTokens; t += tokens) {
        for (int row = 0; row < kRows; row += 9) {
          multiply(t, std::min(tokens, kTokens - t), row, std::min(9, kRows - row),
                   apart.data() + t * kRows + row);
        }
      }
      EXPECT_EQ(apart, together) << format_name(format) << ", " << tokens << " at a time";
    }
  }
}

TEST_P(KernelsTest, RoundsActivationsAsThePlainTwin) {
  for (const ActivationForm form : {ActivationForm::int8, ActivationForm::bf16}) {
    const std::int64_t columns = form == ActivationForm::int8 ? 192 : 203;
    std::vector<float> x = random_values(columns, 21, 5);
    std::fill_n(x.begin(), 32, 0.0F);
    std::fill_n(x.begin() + 32, 32, 1e-35F);
    x[64] = 127.5F;  // a half between two integers, if it is the largest
    x[100] = -1e20F;
    x[130] = std::numeric_limits<float>::quiet_NaN();
    x[170] = std::numeric_limits<float>::infinity();
    std::vector<std::byte> found(static_cast<std::size_t>(rounded_bytes(form, columns)));
    std::vector<std::byte> expected = found;
    kernels().round(form, x.data(), columns, found.data());
    plain_round(form, x.data(), columns, expected.data());
    EXPECT_EQ(found, expected);
  }
}

TEST_P(KernelsTest, LoadsRowsAsStored) {
  for (const auto& [form, width, rope] : {std::tuple{RowForm::f32, 33, 8},
                                          {RowForm::f16, 33, 8},
                                          {RowForm::packed_row, 96, 32},
                                          {RowForm::packed_row, 512, 64},
                                          {RowForm::packed_key, 32, 0},
                                          {RowForm::packed_key, 128, 0}}) {
    const std::int64_t bytes = form == RowForm::f32          ? 4 * width
                               : form == RowForm::f16        ? 2 * width
                               : form == RowForm::packed_row ? packed_row_bytes(width, rope)
                                                             : packed_key_bytes(width);
    const RowFormat format{.form = form, .width = width, .rope = rope, .bytes = bytes};
    const std::vector<float> row = random_values(width, 5, 3);
    std::vector<std::byte> stored(static_cast<std::size_t>(bytes));
    store(format, row.data(), stored.data());
    std::vector<float> expected(row.size()), found(row.size());
    load(format, stored.data(), expected.data());
    kernels().load(format, stored.data(), found.data());
    EXPECT_EQ(found, expected) << "form " << static_cast<int>(form) << ", width " << width;
  }
}

TEST_P(KernelsTest, AgreesOnElementwiseOperations) {
  for (const int width : {1, 7, 8, 16, 17, 130}) {
    const std::vector<float> x = random_values(width, 13, 3), y = random_values(width, 14);
    EXPECT_NEAR(kernels().inverse_rms(x.data(), width, 1e-6F),
                kReference.inverse_rms(x.data(), width, 1e-6F), tolerance(1, width));
    std::vector<float> found = x, expected = x;
    kernels().swiglu(found.data(), y.data(), width, 2.0F);
    kReference.swiglu(expected.data(), y.data(), width, 2.0F);
    for (std::size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], expected[i], tolerance(4, 8));
    found = expected = x;
    const float* rows[] = {x.data(), y.data()};
    const float weights[] = {0.7F, -2.0F};
    kernels().combine(rows, weights, 2, width, found.data());
    kReference.combine(rows, weights, 2, width, expected.data());
    for (std::size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], expected[i], tolerance(12, 1));
  }
}

TEST_P(KernelsTest, AgreesOnStreamsAndPooling) {
  for (const int width : {1, 15, 16, 17, 96}) {
    std::vector<float> streams = random_values(4 * width, 15), expected = streams;
    const std::vector<float> y = random_values(width, 16), post = random_values(4, 17),
                             comb = random_values(16, 18);
    kernels().expand(streams.data(), y.data(), post.data(), comb.data(), 4, width);
    kReference.expand(expected.data(), y.data(), post.data(), comb.data(), 4, width);
    for (std::size_t i = 0; i < streams.size(); ++i) {
      EXPECT_NEAR(streams[i], expected[i], tolerance(20, 5));
    }
    const std::vector<float> values = random_values(128 * width, 19);
    std::vector<Candidate> candidates;
    for (int c = 0; c < 128; ++c) {
      candidates.push_back(
          {values.data() + c * width, values.data() + (127 - c) * width, values.data()});
    }
    for (const int count : {4, 8, 128}) {
      std::vector<float> found(static_cast<std::size_t>(width)), wanted(found.size());
      kernels().pool(candidates.data(), count, width, found.data());
      kReference.pool(candidates.data(), count, width, wanted.data());
      for (std::size_t i = 0; i < found.size(); ++i)
        EXPECT_NEAR(found[i], wanted[i], tolerance(4, count));
    }
  }
}

// x times the one row of w.
float product(const Kernels& kernels, const Tensor& w, std::vector<float> row) {
  const Inputs x(kernels, w.format, std::move(row), w.columns);
  std::vector<float> scratch = scratch_for(w.columns);
  float y = 0;
  MultiplyTask task = x.task(0, 1);
  task.weights = &w;
  task.rows = 1;
  task.y = &y;
  task.y_stride = 1;
  task.scratch = scratch.data();
  kernels.multiply(task);
  return y;
}

// The scale 2^128 of MXFP4 is none that f32 holds, but its products may be.
TEST_P(KernelsTest, TakesTheLargestScaleOfMxfp4) {
  StoredMatrix w(Format::mxfp4, 1, 32);
  std::ranges::fill(w.bytes, std::byte{0x11});  // 0.5 everywhere
  w.bytes[0] = std::byte{255};
  EXPECT_FLOAT_EQ(product(kernels(), w.tensor, std::vector<float>(32, 0x1p-20F)), 0x1p112F);
}

// An Error about damaged weights depends on it.
TEST_P(KernelsTest, KeepsNaN) {
  std::vector<float> gate(20, 1.0F), up(20, 1.0F);
  gate[3] = up[17] = std::numeric_limits<float>::quiet_NaN();
  kernels().swiglu(gate.data(), up.data(), 20, 2.0F);
  EXPECT_TRUE(std::isnan(gate[3]) && std::isnan(gate[17]) && !std::isnan(gate[4]));

  StoredMatrix w(Format::fp8, 1, 64);
  w.bytes[40] = std::byte{0x7F};
  EXPECT_TRUE(std::isnan(product(kernels(), w.tensor, std::vector<float>(64, 1.0F))));
  for (const Format format : formats()) {
    std::vector<float> x(256, 1.0F);
    x[50] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(product(kernels(), StoredMatrix(format, 1, 256).tensor, x)));
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, KernelsTest,
                         testing::Values(&kAvx2, &kAvxVnni, &kAvx512, &kAvx512Vnni, &kAvx512Bf16,
                                         &kAmx, &kPlainTiles, &kAvx2Precise, &kAvx512Precise),
                         [](const auto& param) {
                           const bool precise =
                               param.param == &kAvx2Precise || param.param == &kAvx512Precise;
                           std::string name(param.param->name);
                           std::ranges::replace(name, '-', '_');
                           if (param.param == &kPlainTiles) return name + "_on_plain_tiles";
                           return name + (precise ? "_precise" : "");
                         });

TEST(SelectKernels, TrialsTellRightFromWrong) {
  Kernels wrong = kReference;
  wrong.multiply = [](const MultiplyTask& task) noexcept {
    kReference.multiply(task);
    task.y[task.rows * task.tokens / 2] *= 1.001F;
  };
  EXPECT_TRUE(trial_agrees(kReference));
  EXPECT_FALSE(trial_agrees(wrong));
  for (const std::string_view name : kernel_names()) {
    if (machine_has(name)) {
      EXPECT_TRUE(trial_agrees(select_kernels(name, Activations::native))) << name;
    }
  }
}

TEST(SelectKernels, TakesOneTheMachineHas) {
  for (const Activations activations : {Activations::native, Activations::f32}) {
    const Kernels& chosen = select_kernels("auto", activations);
    EXPECT_TRUE(machine_has(chosen.name));
    EXPECT_EQ(&chosen, &select_kernels("auto", activations));
  }
}

TEST(SelectKernels, RefusesUnknownSets) {
  EXPECT_THROW(select_kernels("sse9", Activations::native), std::runtime_error);
  EXPECT_EQ(select_kernels("reference", Activations::f32).name, "reference");
}

TEST(Hadamard, IsItsOwnInverse) {
  std::vector<float> values = random_values(128, 20);
  const std::vector<float> before = values;
  hadamard(values.data(), 128);
  EXPECT_NE(values, before);
  hadamard(values.data(), 128);
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(values[i], before[i], tolerance(4, 14));
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  ThreadPool pool(3);
  for (const int tasks : {0, 1, 2, 7, 1000}) {
    for (int round = 0; round < 50; ++round) {
      std::vector<std::atomic<int>> ran(static_cast<std::size_t>(tasks));
      pool.run(tasks, [&](int task, int worker) {
        EXPECT_TRUE(worker >= 0 && worker < 3);
        ++ran[static_cast<std::size_t>(task)];
      });
      EXPECT_TRUE(std::ranges::all_of(ran, [](const auto& count) { return count == 1; }));
    }
  }
}

}  // namespace
}  // namespace fathom::engine::cpu
