// Results that are no numbers end the pass with the name of the operation they began in.
#include "engine/model/soundness.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/error.h"
#include "engine/session.h"
#include "tests/engine/weights/model_copy.h"

namespace fathom::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// 48: more than the indexer's top-k of 8 rows, so that it must choose.
std::vector<Token> some_tokens() {
  std::vector<Token> tokens(48);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<Token>(i * 7 % 256);
  return tokens;
}

// Sets the first number of a tensor of ga, which is stored as F32.
void poison(const ModelCopy& model, const std::string& tensor, float value) {
  for (const char* shard :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
    const auto bytes = read_bytes(model.path() / shard);
    std::uint64_t header = 0;
    std::memcpy(&header, bytes.data(), sizeof header);
    const auto json = nlohmann::json::parse(
        bytes.begin() + 8, bytes.begin() + 8 + static_cast<std::ptrdiff_t>(header));
    if (!json.contains(tensor)) continue;
    const auto offset = json[tensor]["data_offsets"][0].get<std::int64_t>();
    patch(model.path() / shard, 8 + static_cast<std::int64_t>(header) + offset,
          std::string(reinterpret_cast<const char*>(&value), sizeof value));
    return;
  }
  FAIL() << tensor;
}

std::string sync_error(Session& session) {
  try {
    session.sync(some_tokens(), {}, {});
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

// What a pass over the model says after one number of it became NaN.
std::string error_with_nan_in(const std::string& tensor, const std::string& kernels = "auto") {
  const ModelCopy model("ga/hf");
  poison(model, tensor, std::numeric_limits<float>::quiet_NaN());
  Session session(Engine::load(model.path(), {.kernels = kernels, .threads = 1}));
  const std::string error = sync_error(session);
  EXPECT_THAT(error, HasSubstr(model.path().string()));
  EXPECT_TRUE(session.tokens().empty());
  return error;
}

TEST(Soundness, NamesLayerAndOperation) {
  const struct {
    const char* tensor;
    const char* said;
  } cases[] = {
      {"embed.weight", "layer 0: hc_attn gave NaN at position 0,"},
      {"layers.0.attn.wq_a.weight", "layer 0: attn.wq_a gave NaN at position 0,"},
      {"layers.1.attn.wkv.weight", "layer 1: attn.wkv gave NaN at position 0,"},
      {"layers.1.attn.wq_b.weight", "layer 1: attn.wq_b gave NaN"},
      {"layers.2.attn.compressor.wkv.weight", "layer 2: attn.compressor.wkv gave NaN"},
      {"layers.3.attn.compressor.wgate.weight", "layer 3: attn.compressor.wgate gave NaN"},
      {"layers.4.attn.indexer.compressor.wkv.weight",
       "layer 4: attn.indexer.compressor.wkv gave NaN"},
      {"layers.2.attn.indexer.wq_b.weight", "layer 2: attn.indexer.wq_b gave NaN"},
      {"layers.4.attn.indexer.weights_proj.weight", "layer 4: attn.indexer.weights_proj gave NaN"},
      {"layers.5.attn.wo_a.weight", "layer 5: attn.wo_a gave NaN"},
      {"layers.5.attn.wo_b.weight", "layer 5: attn.wo_b gave NaN"},
      {"layers.3.ffn.gate.weight", "layer 3: ffn.gate gave NaN"},
      {"layers.4.ffn.shared_experts.w1.weight", "layer 4: ffn.experts gave NaN"},
      {"layers.4.ffn.shared_experts.w2.weight", "layer 4: ffn.experts gave NaN"},
      {"head.weight", "head.weight gave NaN at position 47,"},
  };
  for (const auto& entry : cases) {
    EXPECT_THAT(error_with_nan_in(entry.tensor), HasSubstr(entry.said)) << entry.tensor;
  }
}

TEST(Soundness, HoldsForTheReferenceToo) {
  EXPECT_THAT(error_with_nan_in("layers.2.attn.wq_b.weight", "reference"),
              HasSubstr("layer 2: attn.wq_b gave NaN"));
  EXPECT_THAT(error_with_nan_in("layers.2.ffn.shared_experts.w3.weight", "reference"),
              HasSubstr("layer 2: ffn.experts gave NaN"));
}

TEST(Soundness, FindsSumsThatOverflow) {
  const ModelCopy model("ga/hf");
  poison(model, "layers.1.attn.wo_b.weight", std::numeric_limits<float>::infinity());
  Session session(Engine::load(model.path(), {.threads = 1}));

  EXPECT_THAT(sync_error(session), HasSubstr("layer 1: attn.wo_b gave"));
}

TEST(Soundness, LeavesOtherSessionsAlone) {
  EXPECT_NE(error_with_nan_in("layers.0.attn.wkv.weight"), "");

  Session session(Engine::load(golden("ga/hf"), {.threads = 1}));
  EXPECT_EQ(sync_error(session), "");
}

}  // namespace
}  // namespace fathom::engine
