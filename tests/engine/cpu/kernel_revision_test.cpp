// Whoever changes the bits of a kernel set raises its revision, or sessions that are kept would go
// on with bits of two kinds. So the sums of what each set computes are written down here.
#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "engine/backend.h"
#include "engine/cache/checksum.h"
#include "engine/cpu/kernels.h"
#include "engine/model/engine_parts.h"
#include "engine/session.h"
#include "engine/weights/formats.h"
#include "engine/weights/quantise.h"
#include "engine/weights/quantised_block.h"
#include "test_paths.h"

namespace fathom::engine {
namespace {

struct Known {
  std::string_view set;
  int revision;
  std::uint64_t native;  // 0: nobody has run this test on a machine that has the set
  std::uint64_t f32;
};

void PrintTo(const Known& known, std::ostream* out) {
  *out << known.set;
}

constexpr std::uint64_t kF32 = 0xa1e7004ee1161f78;  // of all sets that have vectors

constexpr Known kKnown[] = {
    {"amx", 2, 0, kF32},
    {"avx512-bf16", 2, 0xc3ee7dc0490d07, kF32},
    {"avx512-vnni", 1, 0xc98fb19faf7b20ca, kF32},
    {"avx512", 1, 0xc98fb19faf7b20ca, kF32},
    {"avx-vnni", 1, 0, kF32},
    {"avx2", 1, 0xd254b77a21e4cacc, kF32},
    {"reference", 1, 0xbf2446c1ebccb9f9, 0xbf2446c1ebccb9f9},
};

// Logits of a prompt and of tokens behind it: all operations, with FP8, FP4, BF16 and F32 weights.
void add_model(Checksum& sum, const std::shared_ptr<const Engine>& engine) {
  std::vector<Token> prompt(200);
  std::mt19937 random(1);
  std::ranges::generate(prompt, [&] { return static_cast<Token>(random() % 300); });
  Session session(engine);
  session.sync(prompt, {}, {});
  sum.add(std::as_bytes(session.logits()));
  for (const Token token : {3, 1, 4}) sum.add(std::as_bytes(session.append(token)));
}

std::vector<float> some_floats(std::size_t count) {
  std::vector<float> values(count);
  std::mt19937 random(static_cast<unsigned>(count));
  std::ranges::generate(values, [&] { return static_cast<float>(random() % 2001) / 1000 - 1; });
  return values;
}

// Products with weights in the formats of GGUF files, of one row and of several.
void add_products(Checksum& sum, Backend& backend) {
  constexpr int kRows = 24, kColumns = kSuperBlock, kTokens = 5;
  const std::vector<float> values = some_floats(kRows * kColumns);
  std::vector<float> x = some_floats(kTokens * kColumns), y(kTokens * kRows);
  backend.reserve(kTokens, kTokens);
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    if (!can_quantise(format)) continue;
    const std::int64_t row_bytes = bytes_of(format, kColumns);
    std::vector<std::byte> bytes(static_cast<std::size_t>(kRows * row_bytes));
    for (int row = 0; row < kRows; ++row) {
      quantise_row(format, std::span(values).subspan(std::size_t(row) * kColumns, kColumns),
                   bytes.data() + row * row_bytes);
    }
    const Tensor weights{.format = format,
                         .rows = kRows,
                         .columns = kColumns,
                         .row_bytes = row_bytes,
                         .data = bytes.data()};
    for (const int tokens : {1, kTokens}) {
      const Product product{.weights = &weights,
                            .x = {x.data(), tokens, kColumns, kColumns},
                            .y = {y.data(), tokens, kRows, kRows}};
      backend.multiply({&product, 1});
      sum.add(std::as_bytes(std::span(y)));
    }
  }
}

// Attention over more rows than the models have, where a set cuts them into pieces.
void add_long_attention(Checksum& sum, const cpu::Kernels& kernels) {
  constexpr int kHeads = 3, kWidth = 128, kRows = 1500;
  const RowFormat format{.form = RowForm::packed_row,
                         .width = kWidth,
                         .rope = 64,
                         .bytes = packed_row_bytes(kWidth, 64)};
  if (kernels.piece_rows(format, kRows) == kRows) return;
  const std::vector<float> values = some_floats(kRows * kWidth), q = some_floats(kHeads * kWidth);
  std::vector<std::byte> stored(static_cast<std::size_t>(kRows * format.bytes));
  std::vector<const std::byte*> rows;
  for (int row = 0; row < kRows; ++row) {
    std::byte* to = stored.data() + row * format.bytes;
    store(format, values.data() + row * kWidth, to);
    rows.push_back(to);
  }
  const std::vector<float> sinks(kHeads);
  std::vector<float> out(kHeads * kWidth);
  std::vector<float> scratch(
      static_cast<std::size_t>(kernels.attend_scratch(kHeads, kWidth, kRows)));
  kernels.attend({.q = q.data(),
                  .heads = kHeads,
                  .rows = rows.data(),
                  .count = kRows,
                  .format = &format,
                  .sinks = sinks.data(),
                  .scale = 0.1F,
                  .out = out.data(),
                  .scratch = scratch.data()});
  sum.add(std::as_bytes(std::span(out)));
}

std::uint64_t bits_of(std::string_view set, Activations activations) {
  Checksum sum;
  for (const char* model : {"ga", "gb", "gc"}) {
    const auto engine =
        Engine::load(std::filesystem::path(FATHOM_SHARED) / "golden" / model / "hf",
                     {.kernels = std::string(set), .threads = 1, .activations = activations});
    add_model(sum, engine);
    add_products(sum, *engine->parts().backend);
  }
  add_long_attention(sum, cpu::select_kernels(set, activations));
  return sum.value();
}

class KernelRevision : public testing::TestWithParam<Known> {
 protected:
  void check(Activations activations, std::uint64_t known) const {
    const Known& set = GetParam();
    if (!cpu::machine_has(set.set)) GTEST_SKIP() << "this machine has no " << set.set;
    const std::uint64_t found = bits_of(set.set, activations);
    if (known == 0) GTEST_SKIP() << std::hex << "not written down yet: 0x" << found;
    EXPECT_EQ(found, known)
        << std::hex << "the kernels " << set.set << " compute other bits than those of revision "
        << set.revision << ". If they are meant to, raise the revision in engine/cpu/select.cpp "
        << "and write it and 0x" << found << " here.";
  }
};

TEST_P(KernelRevision, IsThatOfTheBits) {
  EXPECT_EQ(cpu::revision_of(GetParam().set), GetParam().revision);
  check(Activations::native, GetParam().native);
}

TEST_P(KernelRevision, IsThatOfTheBitsWithF32Activations) {
  check(Activations::f32, GetParam().f32);
}

TEST(KernelRevisions, AreWrittenDownForEverySet) {
  EXPECT_TRUE(std::ranges::equal(kKnown, cpu::kernel_names(), {}, &Known::set));
}

TEST(KernelRevisions, ArePartOfFingerprints) {
  const auto engine = Engine::load(std::filesystem::path(FATHOM_SHARED) / "golden" / "gb" / "hf",
                                   {.kernels = "reference", .threads = 1});
  EXPECT_NE(engine->fingerprint().find("-reference-r1-"), std::string_view::npos);
}

INSTANTIATE_TEST_SUITE_P(Sets, KernelRevision, testing::ValuesIn(kKnown), [](const auto& known) {
  std::string name(known.param.set);
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace fathom::engine
