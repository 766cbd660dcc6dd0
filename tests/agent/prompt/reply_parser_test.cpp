// Replies taken apart: the golden ones, every cut, random bytes, and the stream of events.
#include "agent/prompt/reply_parser.h"

#include <chrono>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "agent/prompt/markdown_code.h"
#include "agent/prompt/read_request.h"
#include "agent/prompt/render.h"
#include "tests/agent/prompt/golden.h"

namespace fathom::agent::prompt {
namespace {

using Json = nlohmann::ordered_json;
using Input = ReplyOptions::Input;
using Piece = ReplyParser::Piece;

const std::string kBlock =
    "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"bash\">\n"
    "<｜DSML｜parameter name=\"command\" string=\"true\">ls</｜DSML｜parameter>\n"
    "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";

ReplyOptions options(Mode mode = Mode::thinking, Input input = Input::text) {
  return {.mode = mode, .tools = {{"bash", {"command", "timeout"}}, {"ping", {}}}, .input = input};
}

// A reply and the joined deltas it came with, as one comparable text.
struct Result {
  Reply reply;
  std::string reasoning, content;
  std::vector<std::string> calls;

  std::string dump() const {
    Json json = {reply.reasoning_content, reply.content, code(reply.finish_reason)};
    for (const ReplyCall& c : reply.tool_calls) {
      json.push_back({c.name, c.arguments, code(c.status)});
    }
    for (const Diagnostic& d : reply.diagnostics) json.push_back({d.code, d.tool, d.parameter});
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
};

void collect(Result& result, const std::vector<ReplyEvent>& events) {
  for (const ReplyEvent& event : events) {
    if (event.kind == ReplyEvent::Kind::reasoning) result.reasoning += event.text;
    if (event.kind == ReplyEvent::Kind::content) result.content += event.text;
    if (event.kind == ReplyEvent::Kind::call) result.calls.push_back(event.call.name);
  }
}

Result parse(const std::vector<std::string>& pieces, ReplyOptions with, Cause cause) {
  ReplyParser parser(std::move(with));
  Result result;
  for (const std::string& piece : pieces) collect(result, parser.push(piece));
  std::vector<ReplyEvent> last;
  result.reply = parser.finish(cause, &last);
  collect(result, last);
  return result;
}

std::vector<std::string> bytes_of(const std::string& text) {
  std::vector<std::string> bytes;
  for (const char c : text) bytes.emplace_back(1, c);
  return bytes;
}

// Every cut gives the same, and the deltas are the fields.
void expect_any_cut(const std::string& text, const ReplyOptions& with, Cause cause) {
  const Result whole = parse({text}, with, cause);
  EXPECT_EQ(whole.reasoning, whole.reply.reasoning_content);
  EXPECT_EQ(whole.content, whole.reply.content);
  EXPECT_EQ(whole.calls.size(), whole.reply.tool_calls.size());
  ASSERT_EQ(parse(bytes_of(text), with, cause).dump(), whole.dump()) << text;
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    const Result parts = parse({text.substr(0, cut), text.substr(cut)}, with, cause);
    ASSERT_EQ(parts.dump(), whole.dump()) << cut << ": " << text;
    ASSERT_EQ(parts.reasoning, whole.reasoning);
    ASSERT_EQ(parts.content, whole.content);
  }
}

Cause cause_of(const std::string& name) {
  if (name == "length") return Cause::length;
  return name == "eos" ? Cause::eos : Cause::stop_sequence;
}

TEST(ReplyParser, ReadsTheGoldenReplies) {
  const auto vectors = golden("parse-");
  if (vectors.empty()) GTEST_SKIP() << "the golden files are missing";
  for (const Json& vector : vectors) {
    const Json &input = vector.at("input"), &expected = vector.at("expect");
    if (input.contains("pieces") || input.contains("bytes_latin1")) continue;  // fidelity.py
    SCOPED_TRACE(vector.at("id"));
    ReplyOptions with{.input = Input::text};
    with.mode = input.at("thinking_mode") == "thinking" ? Mode::thinking : Mode::chat;
    for (const Json& tool : input.at("tools")) {
      with.tools.push_back(declared_tool(tool.at("function").dump()));
    }
    const Cause cause = cause_of(input.at("cause"));
    const std::string text = input.at("text");
    const Reply reply = parse({text}, with, cause).reply;
    EXPECT_EQ(reply.reasoning_content, expected.at("reasoning_content"));
    EXPECT_EQ(reply.content, expected.at("content"));
    EXPECT_EQ(code(reply.finish_reason), expected.at("finish_reason"));
    ASSERT_EQ(reply.tool_calls.size(), expected.at("tool_calls").size());
    expect_any_cut(text, with, cause);
  }
}

TEST(ReplyParser, DoesNotDependOnCutsInRandomReplies) {
  const std::vector<std::string> parts = {"<think>",
                                          "</think>",
                                          "<｜DSML｜tool_calls>",
                                          "</｜DSML｜tool_calls>",
                                          "<｜DSML｜invoke",
                                          "</｜DSML｜invoke>",
                                          "<｜DSML｜parameter",
                                          "</｜DSML｜parameter>",
                                          " name=\"bash\">",
                                          " name=\"command\" string=\"true\">",
                                          " name=\"a\" string=\"false\">",
                                          "{\"a\": 1}",
                                          "5",
                                          "\n",
                                          "\n\n",
                                          " ",
                                          "x",
                                          "```\n",
                                          "`",
                                          "你",
                                          "\xF0\x9F",
                                          "<",
                                          "｜DSML｜",
                                          "\">",
                                          "name=\"",
                                          "<｜DSML｜invoke name=\"bash\">\n",
                                          "<｜end▁of▁sentence｜>",
                                          "<｜User｜>",
                                          kBlock};
  std::mt19937 random(11);
  for (int round = 0; round < 1500; ++round) {
    std::string text;
    for (auto n = random() % 14; n > 0; --n) text += parts[random() % parts.size()];
    const Mode mode = random() % 2 == 0 ? Mode::thinking : Mode::chat;
    expect_any_cut(text, options(mode), random() % 2 == 0 ? Cause::eos : Cause::length);
    if (HasFatalFailure()) return;
  }
}

TEST(ReplyParser, SurvivesAnyBytes) {
  std::mt19937 random(5);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (auto n = random() % 60; n > 0; --n) text += static_cast<char>(random());
    expect_any_cut(text, options(), Cause::length);
  }
}

TEST(ReplyParser, TellsTokensFromTheirSpelling) {
  ReplyParser parser(options(Mode::thinking, Input::tokens));
  parser.push("a </think> b");
  parser.push("</think>", Piece::added);
  parser.push("<｜end▁of▁sentence｜> " + kBlock);
  parser.push("<｜end▁of▁sentence｜>", Piece::added);
  parser.push("ignored");

  const Reply reply = parser.finish(Cause::length);
  EXPECT_EQ(reply.reasoning_content, "a </think> b");
  EXPECT_EQ(reply.content, "<｜end▁of▁sentence｜> " + kBlock);
  EXPECT_TRUE(reply.tool_calls.empty());
  EXPECT_EQ(reply.finish_reason, FinishReason::stop);
}

TEST(ReplyParser, ReportsACallAsSoonAsItIsClosed) {
  ReplyParser parser(options());
  EXPECT_TRUE(parser.reasoning());
  parser.push("r</think>\n\n");
  EXPECT_FALSE(parser.reasoning());
  const std::size_t close = kBlock.find("</｜DSML｜invoke>") + 19;
  const auto events = parser.push(kBlock.substr(0, close));

  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].kind, ReplyEvent::Kind::calling);
  EXPECT_EQ(events[1].call, (ReplyCall{"bash", "{\"command\": \"ls\"}", CallStatus::ok}));
  EXPECT_FALSE(parser.block_closed());
  parser.push(kBlock.substr(close));
  EXPECT_TRUE(parser.block_closed());
  EXPECT_EQ(parser.finish(Cause::cancelled).finish_reason, FinishReason::tool_calls);
}

TEST(ReplyParser, HoldsBackWhatMayBeTheSeparator) {
  ReplyParser parser(options(Mode::chat));
  EXPECT_EQ(parser.push("ok\n\n\n").at(0).text, "ok\n");
  EXPECT_EQ(parser.push("<｜DS").size(), 0U);
  EXPECT_EQ(parser.push("x").at(0).text, "\n\n<｜DSx");
}

TEST(ReplyParser, StartsInsideACallThatThePromptOpened) {
  ReplyOptions forced = options(Mode::chat);
  forced.forced_call = "bash";
  const std::size_t body = kBlock.find("<｜DSML｜parameter");
  expect_any_cut(kBlock.substr(body), forced, Cause::eos);

  const Reply reply = parse({kBlock.substr(body)}, forced, Cause::eos).reply;
  ASSERT_EQ(reply.tool_calls.size(), 1U);
  EXPECT_EQ(reply.tool_calls[0].arguments, "{\"command\": \"ls\"}");
  EXPECT_TRUE(reply.diagnostics.empty());
}

TEST(ReplyParser, NeverCarriesOutACallThatWasCut) {
  const std::string text = "</think>\n\n" + kBlock;
  const std::size_t invoke_close = text.find("</｜DSML｜invoke>") + 19;
  for (std::size_t size = 0; size < text.size(); ++size) {
    for (const Cause cause : {Cause::length, Cause::stop_sequence, Cause::cancelled}) {
      const Reply reply = parse({text.substr(0, size)}, options(), cause).reply;
      EXPECT_NE(reply.finish_reason, FinishReason::tool_calls) << size;
      EXPECT_EQ(reply.tool_calls.size(), size < invoke_close ? 0U : 1U) << size;
    }
  }
}

// What the renderer writes for a turn reads back as that turn, whatever its values hold.
TEST(ReplyParser, ReadsBackWhatWasRendered) {
  std::mt19937 random(2);
  const std::vector<std::string> bits = {"a", "\n", "\"", "\\", "<", ">", "{}", "é", " ", "</x>"};
  for (int round = 0; round < 300; ++round) {
    const auto some = [&] {
      std::string text;
      for (auto n = random() % 6; n > 0; --n) text += bits[random() % bits.size()];
      return text;
    };
    const Json arguments = {{"command", some()}, {"timeout", random() % 100}, {"n", nullptr}};
    Message turn{.role = Role::assistant};
    turn.reasoning_content = some();
    turn.content = "c" + some() + ".";
    turn.tool_calls = {{"", "bash", arguments.dump()}};
    Request request{.messages = {Message{.role = Role::user}, turn}, .mode = Mode::thinking};
    request.drop_thinking = false;
    const std::string prompt = text_of(render(request).value());
    const std::size_t begin = prompt.find("<think>") + 7;

    const Reply reply = parse({prompt.substr(begin)}, options(), Cause::length).reply;
    EXPECT_EQ(reply.reasoning_content, turn.reasoning_content);
    EXPECT_EQ(reply.content, turn.content);
    ASSERT_EQ(reply.tool_calls.size(), 1U) << prompt;
    EXPECT_EQ(Json::parse(reply.tool_calls[0].arguments), arguments);

    request.messages[1].tool_calls[0].arguments = reply.tool_calls[0].arguments;
    EXPECT_EQ(text_of(render(request).value()), prompt);
  }
}

// Twice the input must not take four times as long. The limit is loose: it only tells linear (a few
// ms) from quadratic (minutes).
TEST(ReplyParser, TakesLinearTime) {
  for (const std::string& unit :
       {std::string("<｜DSML｜tool_calls>"), std::string("<｜DSML｜invoke name=\"bash\">"),
        std::string("<｜DSML｜tool_calls><｜DSML｜invoke name=\"bash\">"
                    "<｜DSML｜parameter name=\"a\" string=\"true\">"),
        std::string("</｜DSML｜invoke> "), std::string(" "), std::string("\n")}) {
    std::string text = kBlock.substr(0, kBlock.find("ls"));
    while (text.size() < 400'000) text += unit;
    for (const Mode mode : {Mode::thinking, Mode::chat}) {
      const auto begin = std::chrono::steady_clock::now();
      ReplyParser parser(options(mode));
      for (std::size_t at = 0; at < text.size(); at += 7) parser.push(text.substr(at, 7));
      parser.finish(Cause::eos);
      const auto took = std::chrono::steady_clock::now() - begin;
      EXPECT_LT(took, std::chrono::seconds(20)) << unit;
    }
  }
}

TEST(MarkdownCode, KnowsFencesAndInlineCode) {
  MarkdownCode code;
  code.push("text `a` and `");
  EXPECT_TRUE(code.in_inline_code());
  code.push("\n   ~~~~ info ` \n``` \n~~~\n");
  EXPECT_FALSE(code.in_inline_code());
  EXPECT_TRUE(code.in_fence());
  code.push("~~~~~ \t\n");
  EXPECT_FALSE(code.in_fence());
  code.push("    ```\n``` a`b\n");  // indented code, and an info string with a backtick
  EXPECT_FALSE(code.in_fence());
}

}  // namespace
}  // namespace fathom::agent::prompt
