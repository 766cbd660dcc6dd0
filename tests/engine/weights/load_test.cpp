// Golden models in both containers: the same weights must come out, and the oracle's numbers.
#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/weights/formats.h"
#include "engine/weights/model_weights.h"
#include "tests/engine/weights/model_copy.h"

namespace fathom::engine {
namespace {

using testing::HasSubstr;

std::vector<float> dequantize(const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.rows * tensor.columns));
  for (std::int64_t row = 0; row < tensor.rows; ++row) {
    dequantize_row(tensor, row, values.data() + row * tensor.columns);
  }
  return values;
}

ModelWeights load(const std::string& model, const std::string& mtp = {}) {
  return load_weights(golden(model), mtp.empty() ? std::filesystem::path() : golden(mtp), {});
}

// Every matrix of a block, in the order of its declaration.
std::vector<Tensor> matrices(const BlockWeights& block) {
  std::vector<Tensor> all = {block.wq_a, block.wq_b, block.wkv, block.wo_a, block.wo_b, block.gate};
  if (block.compressor) {
    all.insert(all.end(), {block.compressor->wkv, block.compressor->wgate});
  }
  if (block.indexer) {
    all.insert(all.end(), {block.indexer->wq_b, block.indexer->weights_proj,
                           block.indexer->compressor.wkv, block.indexer->compressor.wgate});
  }
  for (const ExpertWeights& expert : block.experts) {
    all.insert(all.end(), {expert.w1, expert.w3, expert.w2});
  }
  all.insert(all.end(), {block.shared.w1, block.shared.w3, block.shared.w2});
  return all;
}

// Every vector of a block, one after the other.
std::vector<float> vectors(const BlockWeights& block) {
  std::vector<float> all;
  const auto add = [&](const auto& values) { all.insert(all.end(), values.begin(), values.end()); };
  for (const auto* values : {&block.attn_norm, &block.ffn_norm, &block.q_norm, &block.kv_norm,
                             &block.attn_sink, &block.gate_bias}) {
    add(*values);
  }
  for (const HyperWeights* hyper : {&block.hc_attn, &block.hc_ffn}) {
    add(hyper->fn);
    add(hyper->base);
    add(hyper->scale);
  }
  for (const CompressorWeights* compressor :
       {block.compressor ? &*block.compressor : nullptr,
        block.indexer ? &block.indexer->compressor : nullptr}) {
    if (compressor == nullptr) continue;
    add(compressor->ape);
    add(compressor->norm);
  }
  return all;
}

std::vector<std::int64_t> hash_ids(const BlockWeights& block) {
  std::vector<std::int64_t> ids;
  if (!block.tid2eid) return ids;
  const Tensor& table = *block.tid2eid;
  for (std::int64_t i = 0; i < table.rows * table.columns; ++i) {
    if (table.format == Format::i64) {
      ids.push_back(reinterpret_cast<const std::int64_t*>(table.data)[i]);
    } else {
      ids.push_back(reinterpret_cast<const std::int32_t*>(table.data)[i]);
    }
  }
  return ids;
}

void expect_same_block(const BlockWeights& a, const BlockWeights& b) {
  const auto left = matrices(a), right = matrices(b);
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) {
    ASSERT_EQ(dequantize(left[i]), dequantize(right[i])) << "matrix " << i;
  }
  EXPECT_EQ(vectors(a), vectors(b));
  EXPECT_EQ(hash_ids(a), hash_ids(b));
}

void expect_same_model(const ModelWeights& a, const ModelWeights& b) {
  EXPECT_EQ(a.config.compress_ratios, b.config.compress_ratios);
  EXPECT_EQ(dequantize(a.embed), dequantize(b.embed));
  EXPECT_EQ(dequantize(a.head), dequantize(b.head));
  EXPECT_EQ(a.norm, b.norm);
  EXPECT_EQ(a.hc_head.fn, b.hc_head.fn);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (std::size_t i = 0; i < a.layers.size(); ++i) expect_same_block(a.layers[i], b.layers[i]);
  ASSERT_EQ(a.mtp.size(), b.mtp.size());
  for (std::size_t i = 0; i < a.mtp.size(); ++i) {
    expect_same_block(a.mtp[i].block, b.mtp[i].block);
    EXPECT_EQ(dequantize(a.mtp[i].e_proj), dequantize(b.mtp[i].e_proj));
    EXPECT_EQ(dequantize(a.mtp[i].h_proj), dequantize(b.mtp[i].h_proj));
    EXPECT_EQ(a.mtp[i].enorm, b.mtp[i].enorm);
    EXPECT_EQ(a.mtp[i].norm, b.mtp[i].norm);
    EXPECT_EQ(a.mtp[i].hc_head.fn, b.mtp[i].hc_head.fn);
  }
}

TEST(Load, BothContainersHoldTheSameF32Model) {
  expect_same_model(load("ga/hf"), load("ga/ga.f32.gguf", "ga/ga.mtp.f32.gguf"));
}

TEST(Load, BothContainersHoldTheSameBf16Model) {
  expect_same_model(load("gc/hf"), load("gc/gc.bf16.gguf", "gc/gc.mtp.bf16.gguf"));
}

// The converter keeps FP4 experts bit for bit and stores FP8 matrices anew as Q8_0.
TEST(Load, QuantisedContainersAgreeAsFarAsTheyMust) {
  const ModelWeights hf = load("gb/hf");
  const ModelWeights gguf = load("gb/gb.official.gguf", "gb/gb.mtp.official.gguf");
  EXPECT_EQ(hf.layers[0].wq_a.format, Format::fp8);
  EXPECT_EQ(hf.layers[0].experts[0].w1.format, Format::fp4);
  EXPECT_EQ(gguf.layers[0].wq_a.format, Format::q8_0);
  EXPECT_EQ(gguf.layers[0].experts[0].w1.format, Format::mxfp4);
  for (std::size_t layer = 0; layer < hf.layers.size(); ++layer) {
    for (std::size_t e = 0; e < hf.layers[layer].experts.size(); ++e) {
      EXPECT_EQ(dequantize(hf.layers[layer].experts[e].w2),
                dequantize(gguf.layers[layer].experts[e].w2));
    }
  }

  // Half a step of a block whose largest entry is 127 steps, and rounding of its scale to a half.
  const auto exact = dequantize(hf.mtp[0].h_proj), stored = dequantize(gguf.mtp[0].h_proj);
  for (std::size_t begin = 0; begin < exact.size(); begin += kBlock) {
    float largest = 0;
    for (int i = 0; i < kBlock; ++i) largest = std::max(largest, std::fabs(exact[begin + i]));
    for (int i = 0; i < kBlock; ++i) {
      EXPECT_NEAR(exact[begin + i], stored[begin + i], largest * (0.5 / 127 + 0x1p-11) * 1.01);
    }
  }
}

// Values that the oracle reads from the same files (st_io.load_model, gguf_io.load_model).
TEST(Load, MatchesTheOracle) {
  const ModelWeights hf = load("gb/hf");
  const ModelWeights gguf = load("gb/gb.official.gguf");
  EXPECT_EQ(dequantize(hf.layers[2].wo_a)[127 * 512 + 511], -0.0546875F);
  EXPECT_EQ(dequantize(hf.layers[2].wq_b)[1023 * 96 + 95], 0.0068359375F);
  EXPECT_EQ(dequantize(hf.layers[4].experts[15].w1)[63 * 128 + 126], -0.125F);
  EXPECT_EQ(dequantize(hf.layers[4].experts[15].w1)[63 * 128 + 33], 0.09375F);
  EXPECT_EQ(dequantize(hf.layers[0].shared.w2)[5 * 64 + 63], 0.0073242188F);
  EXPECT_EQ(dequantize(hf.embed)[511 * 128 + 127], -0.34375F);
  EXPECT_EQ(hf.layers[3].compressor->ape[130], 0.74988556F);
  EXPECT_EQ(hash_ids(hf.layers[1])[4 * 77 + 3], 3);
  EXPECT_EQ(dequantize(gguf.layers[2].wo_a)[127 * 512 + 511], -0.05462265F);
  EXPECT_EQ(dequantize(gguf.layers[2].wq_b)[1023 * 96 + 95], 0.0066432953F);
  EXPECT_EQ(dequantize(gguf.layers[4].experts[15].w1)[63 * 128 + 126], -0.125F);
  EXPECT_EQ(dequantize(gguf.layers[4].experts[15].w1)[63 * 128 + 33], 0.09375F);
  EXPECT_EQ(dequantize(gguf.layers[0].shared.w2)[5 * 64 + 63], 0.0068893433F);
  EXPECT_EQ(dequantize(gguf.embed)[511 * 128 + 127], -0.34375F);
  EXPECT_EQ(gguf.layers[3].compressor->ape[130], 0.74988556F);
  EXPECT_EQ(hash_ids(gguf.layers[1])[4 * 77 + 3], 3);
}

TEST(Load, FindsMtpWhereItIs) {
  EXPECT_EQ(load("ga/hf").mtp.size(), 1U);
  const ModelWeights without = load("ga/ga.f32.gguf");
  EXPECT_TRUE(without.mtp.empty());
  EXPECT_EQ(without.config.num_nextn_predict_layers, 0);
  EXPECT_EQ(std::ssize(without.config.compress_ratios), without.config.num_hidden_layers);
  EXPECT_THAT(load_error(golden("ga/ga.f32.gguf"), golden("ga/ga.f32.gguf")),
              HasSubstr("holds no MTP block"));
  EXPECT_THAT(load_error(golden("ga/ga.f32.gguf"), golden("gb/gb.mtp.official.gguf")),
              HasSubstr("vocab_size is 512, expected 320 as in"));
}

TEST(Load, AcceptsAFolderWithOneGguf) {
  const ModelCopy model("ga/ga.f32.gguf");
  EXPECT_EQ(load_error(model.path().parent_path()), "");
  std::filesystem::copy(model.path(), model.path().parent_path() / "second.gguf");
  EXPECT_THAT(load_error(model.path().parent_path()), HasSubstr("holds 2 models in GGUF files"));
}

TEST(Load, ReportsProgressUpToTheTensors) {
  std::int64_t last = 0, files = 0;
  const ModelWeights model =
      load_weights(golden("ga/hf"), {}, [&](std::int64_t bytes, std::int64_t total) {
        EXPECT_GT(bytes, last);
        last = bytes;
        files = total;
      });
  EXPECT_GT(last, files / 2);
  EXPECT_LE(last, files);
}

}  // namespace
}  // namespace fathom::engine
