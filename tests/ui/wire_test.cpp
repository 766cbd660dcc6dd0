// Frames of a client: what is understood, what is refused, and with which close code.
#include "ui/wire.h"

#include <algorithm>
#include <ostream>
#include <string>

#include <gtest/gtest.h>

namespace fathom::ui {
namespace {

TEST(ParseClientFrame, ReadsHelloWithCursors) {
  const auto frame =
      parse_client_frame(R"({"f":"hello","v":1,"later":[1],"resume":[{"conversation":"01C","n":41,)"
                         R"("open":{"t2.s7.think":1200},"want":{"thinking":"tail"}}]})");

  ASSERT_TRUE(frame.has_value());
  const auto& hello = std::get<ClientHello>(*frame);
  ASSERT_EQ(hello.resume.size(), 1U);
  EXPECT_EQ(hello.resume[0].n, 41);
  EXPECT_EQ(hello.resume[0].open.at("t2.s7.think"), 1200);
  EXPECT_EQ(hello.resume[0].want.thinking, Detail::tail);
  EXPECT_EQ(hello.resume[0].want.output, Detail::full);
}

TEST(ParseClientFrame, ReadsATurn) {
  const auto frame = parse_client_frame(
      R"({"f":"cmd","id":"01A","conversation":"01C","do":"turn","text":"fix it",)"
      R"("expect":{"n":3}})");

  ASSERT_TRUE(frame.has_value());
  const auto& command = std::get<Command>(*frame);
  EXPECT_EQ(command.action, "turn");
  EXPECT_EQ(command.text, "fix it");
  EXPECT_EQ(command.expected_n, 3);
}

TEST(ParseClientFrame, NamesFramesItDoesNotKnowWithoutEnding) {
  const auto frame = parse_client_frame(R"({"f":"dance"})");

  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(std::get<UnknownFrame>(*frame).f, "dance");
}

struct Hostile {
  const char* what;
  std::string frame;
  CloseCode close;

  friend void PrintTo(const Hostile& hostile, std::ostream* out) { *out << hostile.what; }
};

std::string nested(int depth) {
  return R"({"f":"hello","v":1,"x":)" + std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']') + "}";
}

class HostileFrames : public testing::TestWithParam<Hostile> {};

TEST_P(HostileFrames, EndTheConnection) {
  const auto frame = parse_client_frame(GetParam().frame);

  ASSERT_FALSE(frame.has_value()) << GetParam().what;
  ASSERT_TRUE(frame.error().close.has_value()) << GetParam().what;
  EXPECT_EQ(*frame.error().close, GetParam().close) << GetParam().what;
}

INSTANTIATE_TEST_SUITE_P(
    Table, HostileFrames,
    testing::Values(
        Hostile{"empty", "", CloseCode::not_understood},
        Hostile{"no object", "[1]", CloseCode::not_understood},
        Hostile{"half a frame", R"({"f":"hello")", CloseCode::not_understood},
        Hostile{"bytes that are no text", "{\"f\":\"\xff\"}", CloseCode::not_understood},
        Hostile{"a lone surrogate", R"({"f":"\ud800"})", CloseCode::not_understood},
        Hostile{"depth 17", nested(16), CloseCode::not_understood},
        Hostile{"depth 100,000", nested(100'000), CloseCode::not_understood},
        Hostile{"a version to come", R"({"f":"hello","v":2})", CloseCode::no_common_version},
        Hostile{"above 1 MiB", std::string(kClientFrameBytesMax + 1, ' '), CloseCode::too_large}));

TEST(ParseClientFrame, TakesDepth16) {
  EXPECT_TRUE(parse_client_frame(nested(15)).has_value());
}

TEST(ParseClientFrame, SurvivesEveryCutOfAFrame) {
  const std::string whole =
      R"({"f":"sub","conversation":"01C","n":-1,"open":{"t1.s1.text":7},"from_step":2})";

  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(parse_client_frame(whole.substr(0, bytes)).has_value()) << bytes;
  }
}

TEST(ParseClientFrame, IgnoresFieldsOfTheWrongType) {
  const auto frame = parse_client_frame(
      R"({"f":"sub","conversation":"01C","n":"x","open":{"a":-1,"b":1e9,)"
      R"("c":18446744073709551615}})");

  ASSERT_TRUE(frame.has_value());
  const Subscription& subscription = std::get<Subscribe>(*frame).subscription;
  EXPECT_EQ(subscription.n, -1);
  EXPECT_FALSE(subscription.open.contains("a"));
  EXPECT_FALSE(subscription.open.contains("b"));
}

TEST(ParseClientFrame, RefusesALongPromptWithoutEnding) {
  const auto frame = parse_client_frame(R"({"f":"cmd","id":"01A","do":"turn","text":")" +
                                        std::string(kPromptBytesMax + 1, 'a') + "\"}");

  ASSERT_FALSE(frame.has_value());
  EXPECT_FALSE(frame.error().close.has_value());
  EXPECT_EQ(frame.error().code, "turn.too_long");
}

TEST(ValidUtf8, ReplacesWhatIsNoCharacter) {
  EXPECT_EQ(valid_utf8("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x8E\x89"), "grüß € 🎉");
  EXPECT_EQ(valid_utf8("a\xFFz"), "a\uFFFDz");
  EXPECT_EQ(valid_utf8("\xC0\xAF"), "\uFFFD\uFFFD");            // an overlong slash
  EXPECT_EQ(valid_utf8("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(valid_utf8("\xE2\x82"), "\uFFFD\uFFFD");
}

TEST(CharacterBorder, NeverSplitsACharacter) {
  const std::string text = "a€🎉z";
  for (std::size_t at = 0; at <= text.size() + 2; ++at) {
    const std::size_t border = character_border(text, at);
    EXPECT_LE(border, std::min(at, text.size()));
    EXPECT_EQ(valid_utf8(text.substr(0, border)), text.substr(0, border));
  }
}

}  // namespace
}  // namespace fathom::ui
