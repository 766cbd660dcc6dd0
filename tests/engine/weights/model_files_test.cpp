// Summary, check and memory plan of a model's files.
#include "engine/model_files.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/error.h"
#include "tests/engine/weights/model_copy.h"

namespace fathom::engine {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// The shapes that decide what a session remembers.
ModelConfig flash() {
  ModelConfig config;
  config.num_hidden_layers = 43;
  config.head_dim = 512;
  config.qk_rope_head_dim = 64;
  config.index_head_dim = 128;
  config.sliding_window = 128;
  config.compress_ratios = {0, 0};
  for (int layer = 2; layer < 43; ++layer) {
    config.compress_ratios.push_back(layer % 2 == 0 ? 4 : 128);
  }
  return config;
}

// The table of spec architecture 7.3.
TEST(KvBytes, AreThoseOfTheSpecification) {
  const ModelConfig config = flash();
  const auto megabytes = [&](Rounding rounding, std::int64_t context) {
    return static_cast<double>(kv_bytes(config, rounding, context).total()) / 1e6;
  };
  EXPECT_NEAR(megabytes(Rounding::official, 4096), 29.8, 0.05);
  EXPECT_NEAR(megabytes(Rounding::official, 32768), 130.6, 0.05);
  EXPECT_NEAR(megabytes(Rounding::official, 131072), 476.0, 0.05);
  EXPECT_NEAR(megabytes(Rounding::official, 1048576), 3700, 0.5);
  EXPECT_NEAR(megabytes(Rounding::f16, 1048576), 7230, 5);

  // 3514.25 bytes a token: exact where the context is a multiple of 128.
  const auto difference = kv_bytes(config, Rounding::official, 65536 + 1024).total() -
                          kv_bytes(config, Rounding::official, 65536).total();
  EXPECT_EQ(difference, 3'598'592);
}

TEST(KvBytes, CountWindowAndStateOnce) {
  const KvBytes bytes = kv_bytes(flash(), Rounding::official, 1 << 20);
  EXPECT_EQ(bytes.window, 43 * 74'752);
  EXPECT_EQ(bytes.state, 21 * 81'920 + 20 * 524'288);
}

TEST(ModelFiles, SummariseACheckpoint) {
  const ModelSummary s = summarize_model(golden("gb/hf"));
  EXPECT_EQ(s.container, "safetensors");
  EXPECT_EQ(s.files, 2);
  EXPECT_EQ(s.tensors, 792);
  EXPECT_EQ(s.parameters, 4'381'111);  // oracle weights.param_count
  EXPECT_EQ(s.mtp_parameters, 705'583);
  EXPECT_EQ(s.active_parameters, 2'906'551);
  EXPECT_EQ(s.formats.front().name, "F8_E4M3");
  EXPECT_TRUE(s.has_tokenizer);
  EXPECT_THAT(s.extra_tensors, IsEmpty());
}

TEST(ModelFiles, SummariseAGguf) {
  const ModelSummary s = summarize_model(golden("gb/gb.official.gguf"));
  EXPECT_EQ(s.container, "GGUF");
  EXPECT_EQ(s.parameters, 4'381'111);
  EXPECT_EQ(s.mtp_parameters, 0);
  EXPECT_EQ(s.formats.front().name, "Q8_0");
  EXPECT_TRUE(s.has_tokenizer);
}

TEST(ModelFiles, ListExtraTensors) {
  ModelCopy model("ga/hf");
  model.edit_header("model-00002-of-00002.safetensors", [](json& header) {
    header["vision.weight"] = header["mtp.0.hc_head_scale"];
    header.erase("mtp.0.hc_head_scale");
  });
  model.edit_json("model.safetensors.index.json", [](json& index) {
    index["weight_map"]["vision.weight"] = index["weight_map"]["mtp.0.hc_head_scale"];
    index["weight_map"].erase("mtp.0.hc_head_scale");
  });
  model.edit_json("config.json", [](json& config) {
    for (const char* key : {"dspark_block_size", "dspark_markov_rank", "dspark_noise_token_id",
                            "dspark_target_layer_ids"}) {
      config[key] = 1;
    }
  });
  // As a 0731 checkpoint its drafter stages are known, though not used.
  const ModelSummary s = summarize_model(model.path());
  EXPECT_THAT(s.extra_tensors, ElementsAre("vision.weight"));
  EXPECT_GT(s.drafter_tensors, 40);
  EXPECT_EQ(s.mtp_parameters, 0);
  EXPECT_EQ(find_damage(model.path(), {}), std::vector<std::string>{});
}

// Overwrites the first byte of a tensor's data.
void break_tensor(const std::filesystem::path& shard, const std::string& name, char byte) {
  const auto bytes = read_bytes(shard);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto data = 8 + static_cast<std::int64_t>(length);
  const auto header = json::parse(bytes.begin() + 8, bytes.begin() + data);
  patch(shard, data + header[name]["data_offsets"][0].get<std::int64_t>(), std::string(1, byte));
}

TEST(ModelFiles, CheckFindsNanScalesAndWeights) {
  const ModelCopy model("gb/hf");
  EXPECT_THAT(find_damage(model.path(), {}), IsEmpty());

  const auto shard = model.path() / "model-00001-of-00002.safetensors";
  break_tensor(shard, "layers.0.attn.wq_a.scale", '\xFF');
  break_tensor(shard, "layers.0.attn.wkv.weight", '\x7F');
  EXPECT_EQ(load_error(model.path()), "");  // loading reads no matrix
  EXPECT_THAT(find_damage(model.path(), {}),
              testing::UnorderedElementsAre(
                  AllOf(HasSubstr("00001-of-00002"), HasSubstr("layers.0.attn.wq_a.scale"),
                        HasSubstr("scale 0 is NaN or infinite")),
                  AllOf(HasSubstr("layers.0.attn.wkv.weight"), HasSubstr("entry 0"))));
}

TEST(ModelFiles, LoadingRefusesHashTablesOutOfRange) {
  const ModelCopy model("gb/hf");
  break_tensor(model.path() / "model-00001-of-00002.safetensors", "layers.0.ffn.gate.tid2eid",
               '\x10');
  EXPECT_THAT(load_error(model.path()),
              AllOf(HasSubstr("layers.0.ffn.gate.tid2eid"),
                    HasSubstr("sends token 0 to expert 16, expected 0 to 15")));
}

TEST(ModelFiles, ProgressEndsAtTheTotal) {
  std::int64_t last = 0, total = 0;
  find_damage(golden("gc/gc.bf16.gguf"), [&](std::int64_t bytes, std::int64_t all) {
    EXPECT_GT(bytes, last);
    last = bytes;
    total = all;
  });
  EXPECT_GT(total, 0);
  EXPECT_EQ(last, total);
}

}  // namespace
}  // namespace fathom::engine
