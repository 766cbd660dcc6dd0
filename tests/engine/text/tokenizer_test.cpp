// Tokenizer: files, vectors and promises.
#include "engine/tokenizer.h"

#include <fstream>

#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "test_paths.h"
#include "tests/engine/text/tokenizers.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

Json vectors(const std::string& name) {
  std::ifstream file(std::string(FATHOM_SHARED) + "/golden/tokenizer/" + name);
  return file ? Json::parse(file).at("vectors") : Json();
}

TEST(Tokenizer, EncodesTheGoldenTexts) {
  FATHOM_NEEDS(official(), official_path());
  for (const Json& vector : vectors("encode.json")) {
    const auto text = vector.at("text").get<std::string>();
    const Json plain = vector.value("ids_plain", vector.at("ids"));
    EXPECT_EQ(Json(official()->encode(text, AddedTokens::recognised)), vector.at("ids")) << text;
    EXPECT_EQ(Json(official()->encode(text, AddedTokens::plain)), plain) << text;
  }
}

TEST(Tokenizer, DecodesTheGoldenIds) {
  FATHOM_NEEDS(official(), official_path());
  for (const Json& vector : vectors("decode.json")) {
    TextStream stream;
    std::string text;
    for (const Token id : vector.at("ids").get<std::vector<Token>>()) {
      text += stream.push(official()->bytes(id));
    }
    EXPECT_EQ(text + stream.flush(), vector.at("text")) << vector.at("id");
  }
}

TEST(Tokenizer, KnowsTheSpecialTokens) {
  FATHOM_NEEDS(official(), official_path());
  EXPECT_EQ(official()->vocab_size(), 129280);
  EXPECT_EQ(official()->added_token("｜DSML｜"), 128825);
  EXPECT_TRUE(official()->is_added(128822));
  EXPECT_FALSE(official()->is_special(128822));
  EXPECT_TRUE(official()->is_special(1));
  EXPECT_FALSE(official()->added_token("think"));
}

TEST(Tokenizer, ReturnsTheTextItEncoded) {
  std::mt19937 random(3);
  for (const auto& tokenizer : {official(), golden()}) {
    if (!tokenizer) continue;
    for (int round = 0; round < 300; ++round) {
      const std::string text = utf8(random_text(random, random() % 200));
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(text, AddedTokens::plain)), text);
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(text, AddedTokens::recognised)), text);
    }
  }
  if (!golden()) GTEST_SKIP() << golden_path() << " is missing";
}

TEST(Tokenizer, EncodesTextBetweenAddedTokensOnItsOwn) {
  FATHOM_NEEDS(golden(), golden_path());
  const auto plain = [](std::string_view text) {
    return golden()->encode(text, AddedTokens::plain);
  };
  std::vector<Token> expected = plain("a  ");
  expected.push_back(*golden()->added_token("<think>"));
  for (const Token token : plain(" \n<thin")) expected.push_back(token);

  EXPECT_EQ(golden()->encode("a  <think> \n<thin", AddedTokens::recognised), expected);
  EXPECT_NE(golden()->encode("<think>", AddedTokens::plain),
            golden()->encode("<think>", AddedTokens::recognised));
}

TEST(Tokenizer, ReadsInvalidBytesAsReplacementCharacters) {
  FATHOM_NEEDS(golden(), golden_path());
  EXPECT_EQ(golden()->encode("a\xFF\xE4\xBD!", AddedTokens::plain),
            golden()->encode("a\uFFFD\uFFFD!", AddedTokens::plain));
}

TEST(Tokenizer, TakesIdsItDoesNotKnowForEmpty) {
  FATHOM_NEEDS(golden(), golden_path());
  const Token beyond = golden()->vocab_size();
  EXPECT_EQ(golden()->decode({{-1, beyond, 1 << 30}}), "");
  EXPECT_TRUE(golden()->is_reserved(beyond));
  EXPECT_FALSE(golden()->is_added(-1));
}

TEST(Tokenizer, IsTheSameFromEveryFileOfAModel) {
  FATHOM_NEEDS(golden(), golden_path());
  const auto folder = golden_path().parent_path();
  const auto gguf = Tokenizer::load(folder / ".." / "ga.f32.gguf");
  const auto from_folder = Tokenizer::load(folder);
  ASSERT_EQ(gguf->vocab_size(), golden()->vocab_size());
  for (Token token = 0; token < gguf->vocab_size(); ++token) {
    EXPECT_EQ(gguf->bytes(token), golden()->bytes(token)) << token;
    EXPECT_EQ(gguf->is_added(token), golden()->is_added(token)) << token;
  }
  const std::string text = "int main() { return 42; }\n你好 <think>";
  const auto expected = golden()->encode(text, AddedTokens::recognised);
  EXPECT_EQ(gguf->encode(text, AddedTokens::recognised), expected);
  EXPECT_EQ(from_folder->encode(text, AddedTokens::recognised), expected);
}

// --- files that cannot be used --------------------------------------------------------------

// What loading the golden file says after `change`.
template <typename Change>
std::string error_after(Change change) {
  std::ifstream file(golden_path());
  std::stringstream text;
  text << file.rdbuf();
  const auto path = std::filesystem::temp_directory_path() /
                    ("fathom-tokenizer-" + std::to_string(::getpid()) + ".json");
  std::ofstream(path) << change(text.str());
  std::string error;
  try {
    Tokenizer::load(path);
  } catch (const Error& thrown) {
    error = thrown.what();
  }
  std::filesystem::remove(path);
  return error;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

TEST(Tokenizer, SaysWhyAFileCannotBeUsed) {
  FATHOM_NEEDS(golden(), golden_path());
  const auto change = [](const std::string& from, const std::string& to) {
    return error_after([&](std::string text) { return replaced(std::move(text), from, to); });
  };
  EXPECT_THAT(change("{1,3}", "{1,2}"), HasSubstr("other split patterns"));
  EXPECT_THAT(change("\"BPE\"", "\"Unigram\""), HasSubstr("not BPE"));
  EXPECT_THAT(change("\"use_regex\": false", "\"use_regex\": true"), HasSubstr("pre_tokenizer"));
  EXPECT_THAT(change("\"Ā\"", "\"A\""), HasSubstr("two ids"));
  EXPECT_THAT(change("\"id\": 308", "\"id\": 99999999"), HasSubstr("99999999"));
  EXPECT_EQ(change("nothing like this", ""), "");
}

TEST(Tokenizer, RejectsAFileThatIsCutAnywhere) {
  FATHOM_NEEDS(golden(), golden_path());
  for (std::size_t size = 0; size < 6000; size += 41) {
    EXPECT_NE(error_after([&](const std::string& text) { return text.substr(0, size); }), "")
        << size;
  }
}

TEST(Tokenizer, RefusesAFolderInPlaceOfItsFile) {
  const tests::TempDir model;
  std::filesystem::create_directory(model.path() / "tokenizer.json");
  try {
    Tokenizer::load(model.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json: expected a regular file"));
  }
}

TEST(Tokenizer, NamesAFileThatIsMissing) {
  try {
    Tokenizer::load("/nowhere/tokenizer.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/tokenizer.json"));
  }
}

}  // namespace
}  // namespace fathom::engine
