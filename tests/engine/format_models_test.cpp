// Whole models in every type that GGUF files come in: they run, and compute what the same model
// computes whose weights were de-quantised beforehand.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include "engine/model_files.h"
#include "engine/session.h"
#include "engine/weights/formats.h"
#include "engine/weights/quantise.h"
#include "engine/weights/quantised_block.h"
#include "test_paths.h"
#include "tests/engine/weights/gguf_file.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

// All widths are whole blocks of 256 columns.
constexpr const char* kConfig = R"({
  "vocab_size": 320, "hidden_size": 256, "num_hidden_layers": 3, "num_nextn_predict_layers": 1,
  "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 256, "qk_rope_head_dim": 64,
  "q_lora_rank": 256, "o_lora_rank": 128, "o_groups": 2, "sliding_window": 16,
  "compress_ratios": [0, 4, 128, 0], "rope_theta": 10000.0, "compress_rope_theta": 40000.0,
  "rope_scaling": {"type": "yarn", "factor": 16, "original_max_position_embeddings": 512,
                   "beta_fast": 32, "beta_slow": 1},
  "max_position_embeddings": 8192, "index_n_heads": 4, "index_head_dim": 64, "index_topk": 8,
  "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
  "moe_intermediate_size": 256, "num_hash_layers": 1, "routed_scaling_factor": 1.5,
  "norm_topk_prob": true, "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc",
  "swiglu_limit": 10.0, "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-06,
  "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": false,
  "attention_bias": false, "bos_token_id": 0, "eos_token_id": 1,
  "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4"})";

// Programs that quantise files leave vectors alone, and what has another use of its columns.
bool is_matrix(const FileTensor& tensor, Format format) {
  return tensor.type == StoredType::f32 && tensor.shape.size() >= 2 &&
         tensor.columns() % layout_of(format).entries == 0;
}

// Blocks of a format that the program only reads: random codes, halves of the size of weights.
void fill_random(Format format, std::string& bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::ranges::generate(bytes, [&] { return static_cast<char>(random()); });
  // What the codes of these formats are worth on average, times their scales.
  const float codes = format == Format::iq4_nl ? 70 : format == Format::iq4_xs ? 70 * 16 : 40 * 4;
  const std::uint16_t scale = f32_to_f16(0.06F / codes);
  for (std::size_t at = 0; at < bytes.size();
       at += static_cast<std::size_t>(layout_of(format).bytes)) {
    std::memcpy(&bytes[at], &scale, sizeof scale);
  }
}

Tensor view_of(const FileTensor& tensor, Format format) {
  return {.format = format,
          .rows = tensor.rows(),
          .columns = tensor.columns(),
          .row_bytes = bytes_of(format, tensor.columns()),
          .data = reinterpret_cast<const std::byte*>(tensor.bytes.data())};
}

// The matrix in another format.
FileTensor in_format(const FileTensor& tensor, Format format) {
  FileTensor other = tensor;
  other.type = stored_type_of(format).value();
  const std::int64_t row_bytes = bytes_of(format, tensor.columns());
  other.bytes.assign(static_cast<std::size_t>(tensor.rows() * row_bytes), '\0');
  if (!can_quantise(format)) {
    fill_random(format, other.bytes, static_cast<unsigned>(tensor.bytes.size()));
    return other;
  }
  std::vector<float> row(static_cast<std::size_t>(tensor.columns()));
  for (std::int64_t r = 0; r < tensor.rows(); ++r) {
    dequantize_row(view_of(tensor, Format::f32), r, row.data());
    quantise_row(format, row, reinterpret_cast<std::byte*>(other.bytes.data()) + r * row_bytes);
  }
  return other;
}

FileTensor in_f32(const FileTensor& tensor, Format format) {
  FileTensor other = tensor;
  other.type = StoredType::f32;
  other.bytes.assign(static_cast<std::size_t>(4 * tensor.rows() * tensor.columns()), '\0');
  for (std::int64_t r = 0; r < tensor.rows(); ++r) {
    std::vector<float> row(static_cast<std::size_t>(tensor.columns()));
    dequantize_row(view_of(tensor, format), r, row.data());
    std::memcpy(other.bytes.data() + 4 * r * tensor.columns(), row.data(), 4 * row.size());
  }
  return other;
}

std::vector<float> logits_of(const fs::path& model, const char* kernels, Activations activations,
                             int decoded = 0) {
  Session session(Engine::load(
      model,
      {.kernels = kernels, .threads = 1, .rounding = Rounding::exact, .activations = activations}));
  std::vector<Token> tokens(21);
  std::iota(tokens.begin(), tokens.end(), 100);
  const auto prefilled = static_cast<std::size_t>(21 - decoded);
  session.sync(std::span(tokens).first(prefilled), {}, {});
  for (std::size_t i = prefilled; i < tokens.size(); ++i) session.append(tokens[i]);
  return {session.logits().begin(), session.logits().end()};
}

// Logits of the first nine tokens.
std::vector<std::vector<float>> all_logits_of(const fs::path& model, const char* kernels,
                                              Activations activations) {
  Session session(Engine::load(
      model,
      {.kernels = kernels, .threads = 1, .rounding = Rounding::exact, .activations = activations}));
  std::vector<Token> tokens(9);
  std::iota(tokens.begin(), tokens.end(), 100);
  std::vector<std::vector<float>> rows;
  session.extend(tokens, [&](int, std::span<const float> logits) {
    rows.emplace_back(logits.begin(), logits.end());
  });
  return rows;
}

// Root of the mean squared difference, in units of what the expected values spread.
double error_of(const std::vector<float>& found, const std::vector<float>& expected) {
  double error = 0, mean = 0, square = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double value = expected[i];
    error += (found[i] - value) * (found[i] - value);
    mean += value;
    square += value * value;
  }
  mean /= static_cast<double>(found.size());
  return std::sqrt(error / (square - mean * mean * static_cast<double>(found.size())));
}

// The model that all are made from, written by the oracle once for all tests of a build; empty
// where that is not possible.
fs::path base_model() {
  const std::size_t version = std::hash<std::string_view>()(kConfig);
  fs::path path = fs::path(FATHOM_BUILD) / ("format_models_" + std::to_string(version) + ".gguf");
  if (fs::exists(path)) return path;
  const tests::TempDir folder;
  const auto config = folder.write("config.json", kConfig);
  const auto made = folder.path() / "made.gguf";
  const auto finished =
      tests::run_process({.argv = {"/usr/bin/python3", FATHOM_SHARED "/oracle/make_model.py",
                                   made.string(), "--config", config.string(), "--recipe", "f32"},
                          .environment = {"OPENBLAS_NUM_THREADS=1"}});
  if (finished.exit != 0) return {};
  const fs::path copy = path.string() + "." + std::to_string(::getpid());
  fs::copy(made, copy);
  fs::rename(copy, path);
  return path;
}

class FormatModels : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    const auto base = base_model();
    if (base.empty()) GTEST_SKIP() << "the oracle or NumPy is missing";
    GgufFile quantised = read_gguf(base), plain = quantised;
    for (std::size_t i = 0; i < plain.tensors.size(); ++i) {
      if (!is_matrix(plain.tensors[i], GetParam())) continue;
      quantised.tensors[i] = in_format(plain.tensors[i], GetParam());
      plain.tensors[i] = in_f32(quantised.tensors[i], GetParam());
    }
    write_gguf(quantised_, quantised);
    write_gguf(plain_, plain);
  }

  tests::TempDir folder_;
  fs::path quantised_ = folder_.path() / "quantised.gguf";
  fs::path plain_ = folder_.path() / "plain.gguf";
};

// Weights unpack to the same numbers, sums have the same order: so not one bit may differ.
TEST_P(FormatModels, ComputeTheBitsOfTheirDequantisedWeights) {
  for (const char* kernels : {"reference", "auto"}) {
    const auto expected = logits_of(plain_, kernels, Activations::f32);
    EXPECT_EQ(logits_of(quantised_, kernels, Activations::f32), expected) << kernels;
    EXPECT_EQ(logits_of(quantised_, kernels, Activations::f32, /*decoded=*/7), expected) << kernels;
  }
}

// Activations in int8 cost what they cost before Q8_0 weights: 0.02 to 0.06 of the logits' spread.
// The median of some positions: where a choice of experts or rows flips, an error says nothing.
TEST_P(FormatModels, RunWithRoundedActivations) {
  EXPECT_EQ(logits_of(quantised_, "auto", Activations::native, /*decoded=*/7),
            logits_of(quantised_, "auto", Activations::native));
  const auto found = all_logits_of(quantised_, "auto", Activations::native);
  const auto expected = all_logits_of(plain_, "reference", Activations::f32);
  std::vector<double> errors;
  for (std::size_t i = 0; i < found.size(); ++i) errors.push_back(error_of(found[i], expected[i]));
  std::ranges::nth_element(errors, errors.begin() + std::ssize(errors) / 2);
  EXPECT_LT(errors[errors.size() / 2], 0.15);
}

TEST_P(FormatModels, AreSummarisedCheckedAndMappedInPlace) {
  const ModelSummary summary = summarize_model(quantised_);
  const std::string name(format_name(GetParam()));
  const auto found = std::ranges::find(summary.formats, name, &StoredFormat::name);
  ASSERT_NE(found, summary.formats.end());
  EXPECT_GT(found->bytes, summary.file_bytes / 8);
  EXPECT_EQ(summary.parameters, summarize_model(plain_).parameters);
  EXPECT_TRUE(summary.extra_tensors.empty());
  EXPECT_TRUE(find_damage(quantised_, {}).empty());
  EXPECT_NE(Engine::load(quantised_, {})->fingerprint(), Engine::load(plain_, {})->fingerprint());
}

std::vector<Format> stored_formats() {
  std::vector<Format> formats;
  for (int number = 0; number < kFormats; ++number) {
    const auto format = static_cast<Format>(number);
    const auto type = stored_type_of(format);
    const bool table = format == Format::i32 || format == Format::i64;
    if (type && !table && format != Format::f32) formats.push_back(format);
  }
  return formats;
}

INSTANTIATE_TEST_SUITE_P(Types, FormatModels, testing::ValuesIn(stored_formats()),
                         [](const auto& format) { return std::string(format_name(format.param)); });

}  // namespace
}  // namespace fathom::engine
