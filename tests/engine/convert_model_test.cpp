// Converting Hugging Face folders: nothing is lost that need not be, and an interrupted call goes
// on.
#include "engine/convert_model.h"

#include <algorithm>
#include <stop_token>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/error.h"
#include "engine/model_files.h"
#include "engine/session.h"
#include "engine/tokenizer.h"
#include "engine/weights/model_weights.h"
#include "tests/engine/weights/gguf_file.h"
#include "tests/engine/weights/model_copy.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Wishes {
  std::string experts{};
  std::string projections{};
  bool overwrite = false;
};

class ConvertModelTest : public testing::Test {
 protected:
  // Converts a golden model to out.gguf.
  ConvertReport convert(const std::string& name, const Wishes& wishes = {},
                        std::stop_token stop = {}) {
    return convert_model({.source = golden(name),
                          .target = target_,
                          .experts = wishes.experts,
                          .projections = wishes.projections,
                          .overwrite = wishes.overwrite,
                          .threads = 2},
                         {}, stop);
  }

  std::string error_of(const std::string& name, const Wishes& wishes = {}) {
    try {
      convert(name, wishes);
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  tests::TempDir folder_;
  fs::path target_ = folder_.path() / "out.gguf";
  fs::path mtp_ = folder_.path() / "out.mtp.gguf";
};

std::vector<float> logits_of(const fs::path& model, const fs::path& mtp, Activations activations) {
  Session session(Engine::load(model, {.threads = 1, .activations = activations, .mtp = mtp}));
  session.record_streams(true);
  std::vector<Token> tokens;
  for (Token token = 3; token < 150; ++token) tokens.push_back(token);
  session.sync(tokens, {}, {});
  std::vector<float> logits(session.logits().begin(), session.logits().end());
  const std::vector<int> positions = {3, 100};
  session.mtp(positions, [&](int, std::span<const float> row) {
    logits.insert(logits.end(), row.begin(), row.end());
  });
  return logits;
}

// F32 and BF16 stay what they are, FP4 is packed anew, and BF16 holds every FP8 weight.
TEST_F(ConvertModelTest, ComputesTheBitsOfTheFolderWhereNothingIsRounded) {
  for (const std::string name : {"ga/hf", "gc/hf", "gb/hf"}) {
    const ConvertReport report =
        convert(name, {.projections = name == "gb/hf" ? "bf16" : "", .overwrite = true});
    EXPECT_TRUE(report.finished);
    EXPECT_THAT(report.files, ElementsAre(mtp_, target_));
    EXPECT_EQ(logits_of(target_, mtp_, Activations::f32),
              logits_of(golden(name), {}, Activations::f32))
        << name;
  }
}

TEST_F(ConvertModelTest, KeepsExpertsBitForBitAndStoresFp8AsQ8) {
  convert("gb/hf");
  const GgufFile found = read_gguf(target_), published = read_gguf(golden("gb/gb.official.gguf"));
  ASSERT_EQ(found.tensors.size(), published.tensors.size());
  for (const FileTensor& tensor : published.tensors) {
    const auto same = std::ranges::find(found.tensors, tensor.name, &FileTensor::name);
    ASSERT_NE(same, found.tensors.end()) << tensor.name;
    EXPECT_EQ(same->type, tensor.type) << tensor.name;
    EXPECT_EQ(same->shape, tensor.shape) << tensor.name;
    if (tensor.type == StoredType::q8_0) continue;
    EXPECT_EQ(same->bytes, tensor.bytes) << tensor.name;
  }
}

TEST_F(ConvertModelTest, DescribesTheModelAsPublishedFilesDo) {
  convert("gb/hf");
  const ModelSummary s = summarize_model(target_), expected = summarize_model(golden("gb/hf"));
  EXPECT_EQ(s.parameters, expected.parameters);
  EXPECT_EQ(load_weights(target_, mtp_, {}).mtp.size(), 1U);
  EXPECT_THAT(s.extra_tensors, IsEmpty());
  EXPECT_THAT(find_damage(target_, {}), IsEmpty());
  EXPECT_EQ(s.config.hc_eps, expected.config.hc_eps);
  EXPECT_EQ(s.config.rms_norm_eps, expected.config.rms_norm_eps);

  const auto tokenizer = Tokenizer::load(target_), original = Tokenizer::load(golden("gb/hf"));
  const std::string text = "<｜User｜>The kettle holds 12 cups.</think>\n你好 <｜▁pad▁｜>";
  for (const AddedTokens added : {AddedTokens::recognised, AddedTokens::plain}) {
    EXPECT_EQ(tokenizer->encode(text, added), original->encode(text, added));
  }
}

TEST_F(ConvertModelTest, TakesOtherTypesForExpertsAndProjections) {
  convert("gb/hf", {.experts = "q5_1", .projections = "q4_0"});
  const auto formats = summarize_model(target_).formats;
  const auto has = [&](const char* name) {
    return std::ranges::count(formats, name, &StoredFormat::name);
  };
  EXPECT_EQ(has("Q5_1") + has("Q4_0") + has("BF16") + has("F32"), 4);
  EXPECT_EQ(has("Q8_0") + has("MXFP4"), 0);
}

TEST_F(ConvertModelTest, SaysWhichTensorsGetAnotherTypeThanAsked) {
  const ConvertReport report = convert("gb/hf", {.experts = "q4_k"});
  EXPECT_THAT(report.notes,
              testing::Contains(AllOf(HasSubstr("blk.0.ffn_gate_exps.weight"),
                                      HasSubstr("128 columns are no whole blocks of Q4_K"),
                                      HasSubstr("stored as Q8_0"))));
  EXPECT_THAT(error_of("gb/hf", {.experts = "iq2_xs", .overwrite = true}),
              AllOf(HasSubstr("no type 'iq2_xs'"), HasSubstr("mxfp4"), HasSubstr("q6_k")));
}

// As a stop does, a killed process leaves a part of the file; a power failure may leave less.
TEST_F(ConvertModelTest, GoesOnWhereItWasStopped) {
  convert("gb/hf", {.experts = "q4_1"});
  const std::vector<char> trunk = read_bytes(target_), mtp = read_bytes(mtp_);
  const auto size = static_cast<std::int64_t>(trunk.size());
  for (const std::int64_t kept : {size, size - 1, size / 2, size / 3, std::int64_t{100}}) {
    fs::rename(target_, target_.string() + ".part");
    fs::resize_file(target_.string() + ".part", static_cast<std::uintmax_t>(kept));
    const ConvertReport report = convert("gb/hf", {.experts = "q4_1"});
    EXPECT_EQ(read_bytes(target_), trunk) << kept;
    EXPECT_EQ(read_bytes(mtp_), mtp);
    EXPECT_GT(report.resumed_bytes, kept / 2);
    EXPECT_FALSE(fs::exists(target_.string() + ".part"));
  }
}

TEST_F(ConvertModelTest, BeginsAnewWhenAskedForSomethingElse) {
  convert("gb/hf", {.experts = "q4_1"});
  fs::rename(target_, target_.string() + ".part");
  fs::remove(mtp_);
  convert("gb/hf", {.experts = "q4_0"});
  const std::vector<char> found = read_bytes(target_);
  convert("gb/hf", {.experts = "q4_0", .overwrite = true});
  EXPECT_EQ(found, read_bytes(target_));
}

TEST_F(ConvertModelTest, LeavesNothingUnderTheNameWhenStopped) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(convert("gb/hf", {}, stop.get_token()).finished);
  EXPECT_FALSE(fs::exists(target_));
  EXPECT_FALSE(fs::exists(mtp_));
  EXPECT_TRUE(convert("gb/hf").finished);
}

TEST_F(ConvertModelTest, RefusesToOverwrite) {
  folder_.write("out.gguf", "precious");
  EXPECT_THAT(error_of("gb/hf"), AllOf(HasSubstr("out.gguf"), HasSubstr("exists already")));
  EXPECT_EQ(folder_.read("out.gguf"), "precious");
  EXPECT_EQ(error_of("gb/hf", {.overwrite = true}), "");
  EXPECT_THAT(error_of("gb/hf"), HasSubstr("exists already"));
}

TEST_F(ConvertModelTest, RefusesWhatIsNoFolderOrDamaged) {
  EXPECT_THAT(error_of("gb/gb.official.gguf"), HasSubstr("expected a Hugging Face folder"));
  const ModelCopy model("gb/hf");
  fs::remove(model.path() / "tokenizer.json");
  ConvertOptions options;
  options.source = model.path();
  options.target = target_;
  EXPECT_THROW(convert_model(options, {}, {}), Error);
  options.target = folder_.path() / "out.bin";
  options.source = golden("gb/hf");
  EXPECT_THROW(convert_model(options, {}, {}), Error);
  EXPECT_THAT(folder_.path(),
              testing::Truly([](const fs::path& path) { return fs::is_empty(path); }));
}

TEST_F(ConvertModelTest, ReportsProgressToTheEnd) {
  std::int64_t last = 0, all = 0;
  ConvertOptions options;
  options.source = golden("gb/hf");
  options.target = target_;
  const auto watch = [&](std::int64_t bytes, std::int64_t total) {
    EXPECT_GE(bytes, last);
    last = bytes;
    all = total;
  };
  const ConvertReport report = convert_model(options, watch, {});
  EXPECT_EQ(last, all);
  EXPECT_EQ(report.bytes, all);
  EXPECT_EQ(static_cast<std::int64_t>(fs::file_size(target_) + fs::file_size(mtp_)), all);
}

}  // namespace
}  // namespace fathom::engine
