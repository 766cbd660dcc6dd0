// Weights beyond memory: the same bits, and no signal whatever happens to the files.
#include "engine/offload/offload.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/error.h"
#include "engine/offload.h"
#include "engine/session.h"
#include "engine/weights/mapped_file.h"
#include "tests/engine/weights/model_copy.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// FP8 and FP4 with scales beside the codes and an MTP block; the same in GGUF; f32 without experts
// in blocks.
constexpr std::array<const char*, 3> kModels = {"gb/hf", "gb/gb.official.gguf", "ga/ga.f32.gguf"};

std::vector<Token> some_tokens(int count) {
  std::mt19937 random(5);
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::ranges::generate(tokens, [&] { return static_cast<Token>(random() % 100); });
  return tokens;
}

const std::vector<Token> kTokens = some_tokens(200);

std::span<const Token> first(int count) {
  return std::span(kTokens).first(static_cast<std::size_t>(count));
}

std::int64_t least(const fs::path& model) {
  return summarize_model(model).offload.least();
}

// `frames` more than the least.
std::shared_ptr<const Engine> offloaded(const fs::path& model, int frames = 0) {
  const OffloadNeeds needs = summarize_model(model).offload;
  return load_offloaded(model, {.threads = 2}, needs.least() + frames * needs.frame_bytes);
}

std::shared_ptr<const Engine> mapped(const fs::path& model) {
  return Engine::load(model, {.threads = 1});
}

std::vector<float> copy(std::span<const float> logits) {
  return {logits.begin(), logits.end()};
}

std::vector<float> prefilled(const std::shared_ptr<const Engine>& engine,
                             std::span<const Token> tokens) {
  Session session(engine);
  session.sync(tokens, {}, {});
  return copy(session.logits());
}

class Offload : public testing::TestWithParam<const char*> {};

TEST_P(Offload, GivesTheBitsOfMappedWeightsInPrefill) {
  const auto all = mapped(golden(GetParam()));
  const auto few = offloaded(golden(GetParam()));

  EXPECT_EQ(prefilled(few, kTokens), prefilled(all, kTokens));
  EXPECT_EQ(few->fingerprint(), all->fingerprint());
  const ExpertReads reads = expert_reads(*few).value();
  EXPECT_GT(reads.needed, reads.hits) << "everything fits: nothing was tested";
}

TEST_P(Offload, GivesTheBitsOfMappedWeightsTokenByToken) {
  const auto all = mapped(golden(GetParam()));
  const auto few = offloaded(golden(GetParam()), 3);
  Session here(all), there(few);
  for (const Token token : first(60)) {
    ASSERT_EQ(copy(here.append(token)), copy(there.append(token))) << here.tokens().size();
  }
}

TEST_P(Offload, GivesTheBitsOfMappedWeightsToSessionsInTurns) {
  const auto all = mapped(golden(GetParam()));
  const auto few = offloaded(golden(GetParam()), 1);
  Session left(few), right(few);
  left.sync(first(90), {}, {});
  right.sync(first(40), {}, {});
  Session fork = left.fork();
  for (int i = 0; i < 10; ++i) {
    left.append(kTokens[static_cast<std::size_t>(90 + i)]);
    right.append(kTokens[static_cast<std::size_t>(40 + i)]);
  }
  fork.truncate(70);

  EXPECT_EQ(copy(left.logits()), prefilled(all, first(100)));
  EXPECT_EQ(copy(right.logits()), prefilled(all, first(50)));
  EXPECT_EQ(copy(fork.logits()), prefilled(all, first(70)));
}

INSTANTIATE_TEST_SUITE_P(Models, Offload, testing::ValuesIn(kModels), [](const auto& model) {
  std::string name(model.param);
  std::ranges::replace_if(
      name, [](char c) { return c == '/' || c == '.'; }, '_');
  return name;
});

TEST(OffloadMtp, GivesTheBitsOfMappedWeights) {
  std::vector<std::vector<float>> rows;
  for (const auto& engine : {mapped(golden("gb/hf")), offloaded(golden("gb/hf"))}) {
    Session session(engine);
    session.record_streams(true);
    session.sync(first(50), {}, {});
    const std::vector<int> positions = {3, 40};
    session.mtp(positions, [&](int, std::span<const float> row) { rows.push_back(copy(row)); });
  }
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0], rows[2]);
  EXPECT_EQ(rows[1], rows[3]);
}

TEST(OffloadMemory, PointsIntoNoFile) {
  ModelWeights weights = load_weights(golden("gb/hf"), {}, {});
  const std::vector<std::shared_ptr<const MappedFile>> files = weights.files;
  const OffloadNeeds needs = offload_needs(weights);

  const auto cache = offload_experts(weights, needs.least() + 5 * needs.frame_bytes);

  EXPECT_EQ(cache->frames(), needs.frames_least + 5);
  for (const Tensor* matrix : dense_matrices(weights)) {
    EXPECT_FALSE(lay_out(std::array{matrix}, files));
  }
  for (const BlockWeights* block : blocks_of(weights)) {
    for (const ExpertWeights& expert : block->experts) EXPECT_EQ(expert.w1.data, nullptr);
  }
}

TEST(OffloadMemory, NamesTheLeastThatItNeeds) {
  const fs::path model = golden("gb/gb.official.gguf");
  const std::int64_t bytes = least(model);
  try {
    load_offloaded(model, {.threads = 1}, bytes - 1);
    FAIL() << "that was too little";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("at least " + std::to_string(bytes)));
  }
}

TEST(OffloadMemory, HoldsAllExpertsIfTheyFit) {
  const auto engine = load_offloaded(golden("gb/hf"), {.threads = 1}, std::int64_t{1} << 30);
  prefilled(engine, kTokens);
  const ExpertReads before = *expert_reads(*engine);
  prefilled(engine, kTokens);
  const ExpertReads reads = *expert_reads(*engine) - before;

  EXPECT_EQ(reads.hits, reads.needed);
  EXPECT_EQ(reads.bytes, 0);
}

// Of the copy's last file, which holds experts.
fs::path last_shard(const ModelCopy& model) {
  return model.path() / "model-00002-of-00002.safetensors";
}

TEST(OffloadDamage, AFileThatIsCutEndsThePassAndNotTheProcess) {
  const ModelCopy model("gb/hf");
  const auto engine = offloaded(model.path());
  Session session(engine);
  session.sync(first(150), {}, {});
  fs::resize_file(last_shard(model), 4096);

  std::string failure;
  try {
    for (const Token token : kTokens) session.append(token);
  } catch (const Error& error) {
    failure = error.what();
  }

  EXPECT_THAT(failure, HasSubstr(last_shard(model).string()));
  EXPECT_TRUE(session.tokens().empty());
}

TEST(OffloadDamage, ASessionGoesOnAfterAFailureWithTheSameBits) {
  const ModelCopy model("gb/hf");
  const auto engine = offloaded(model.path());
  Session session(engine);
  session.sync(first(150), {}, {});
  const fs::path file = last_shard(model);
  const fs::file_time_type written = fs::last_write_time(file);
  fs::last_write_time(file, written + std::chrono::seconds(1));
  EXPECT_THROW(session.sync(kTokens, {}, {}), Error);

  fs::last_write_time(file, written);
  session.sync(kTokens, {}, {});

  EXPECT_EQ(copy(session.logits()), prefilled(mapped(model.path()), kTokens));
}

// A scale that is no number makes every output of its block NaN, wherever it was read from.
TEST(OffloadDamage, AScaleThatIsNaNEndsThePassAndNotTheProcess) {
  const ModelCopy model("gb/hf");
  {
    const ModelWeights weights = load_weights(model.path(), {}, {});
    for (const ExpertWeights& expert : weights.layers.back().experts) {
      for (const auto& file : weights.files) {
        const auto at = expert.w2.scales - file->bytes().data();
        if (at >= 0 && at < file->size()) patch(file->path(), at, "\xFF");
      }
    }
  }
  Session session(offloaded(model.path()));
  EXPECT_THROW(session.sync(first(20), {}, {}), Error);
}

}  // namespace
}  // namespace fathom::engine
