// `fathom debug render|parse|tokenize|detokenize`.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "agent/prompt/read_request.h"
#include "agent/prompt/render.h"
#include "agent/prompt/reply_parser.h"
#include "engine/tokenizer.h"
#include "ui/commands/debug.h"

namespace fathom::ui {
namespace {

namespace prompt = agent::prompt;
using Json = nlohmann::ordered_json;

// Answers each line of standard input with one line, in ASCII: some readers take U+2028 for the end
// of a line. A line that `answer` cannot use stops the command with the line's number.
template <typename Answer>
int answer_lines(Answer answer) {
  std::string line;
  for (int number = 1; std::getline(std::cin, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      const Json reply = answer(line);
      std::cout << reply.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace)
                << '\n';
    } catch (const std::exception& error) {
      throw std::runtime_error(fmt::format("standard input, line {}: {}", number, error.what()));
    }
  }
  std::cout.flush();
  return 0;
}

std::shared_ptr<const engine::Tokenizer> load(const std::string& path) {
  if (path.empty()) {
    throw std::runtime_error(
        "no tokenizer: name a tokenizer.json, a model folder or a GGUF with --tokenizer");
  }
  return engine::Tokenizer::load(path);
}

// A request that is rejected is an answer, text that is not JSON a bad line.
Json render(const engine::Tokenizer* tokenizer, const std::string& line) {
  const auto request = prompt::read_request(line);
  if (!request && request.error() == prompt::RenderError::invalid_json) {
    throw std::runtime_error("not JSON; expected one request per line");
  }
  const auto segments = request.and_then(prompt::render);
  if (!segments) return {{"error", prompt::code(segments.error())}};

  Json listed = Json::array();
  for (const prompt::Segment& segment : *segments) {
    const bool special = segment.kind == prompt::Segment::Kind::special;
    listed.push_back(Json::array({special ? "s" : "t", segment.text}));
  }
  Json answer = {{"prompt", prompt::text_of(*segments)}, {"segments", std::move(listed)}};
  if (tokenizer != nullptr) answer["token_ids"] = prompt::encode(*segments, *tokenizer);
  return answer;
}

// One token, or a text whose tokens are unknown.
struct ReplyPiece {
  std::string bytes;
  prompt::ReplyParser::Piece kind = prompt::ReplyParser::Piece::plain;
};

std::string bytes_of_latin1(const std::string& text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      bytes += text[i];
    } else if (lead <= 0xC3 && i + 1 < text.size()) {
      bytes += static_cast<char>((lead & 0x03) << 6 | (text[++i] & 0x3F));
    } else {
      throw std::runtime_error("bytes_latin1 has a code point above 255");
    }
  }
  return bytes;
}

std::vector<ReplyPiece> pieces_of(const Json& input) {
  using Piece = prompt::ReplyParser::Piece;
  if (input.contains("bytes_latin1")) {
    return {{bytes_of_latin1(input.at("bytes_latin1").get<std::string>())}};
  }
  if (!input.contains("pieces")) return {{input.at("text").get<std::string>()}};
  std::vector<ReplyPiece> pieces;
  for (const Json& piece : input.at("pieces")) {
    const bool special = piece.at("special").get<bool>();
    pieces.push_back({piece.at("text").get<std::string>(), special ? Piece::added : Piece::plain});
  }
  return pieces;
}

// Pushes the pieces whole, byte by byte, or cut after `feed` bytes of all. A special token is one
// token however it is cut.
void feed_reply(prompt::ReplyParser& parser, const std::vector<ReplyPiece>& pieces,
                const Json& feed) {
  const bool bytes = feed == "bytes";
  std::size_t until_cut = feed.is_number() ? feed.get<std::size_t>() : std::string::npos;
  for (const ReplyPiece& piece : pieces) {
    std::string_view rest = piece.bytes;
    if (piece.kind == prompt::ReplyParser::Piece::added) {
      parser.push(rest, piece.kind);
      until_cut -= std::min(until_cut, rest.size());
      continue;
    }
    while (!rest.empty()) {
      std::size_t size = bytes ? 1 : rest.size();
      if (until_cut > 0 && until_cut < size) size = until_cut;
      parser.push(rest.substr(0, size));
      rest.remove_prefix(size);
      until_cut -= std::min(until_cut, size);
    }
  }
}

prompt::Cause cause_of(const std::string& name) {
  if (name == "eos") return prompt::Cause::eos;
  if (name == "length") return prompt::Cause::length;
  if (name == "stop_sequence") return prompt::Cause::stop_sequence;
  if (name == "cancelled") return prompt::Cause::cancelled;
  throw std::runtime_error("cause is \"" + name +
                           "\"; expected eos, length, stop_sequence or cancelled");
}

Json answer_of(const prompt::Reply& reply) {
  Json calls = Json::array(), diagnostics = Json::array();
  for (const prompt::ReplyCall& call : reply.tool_calls) {
    calls.push_back({{"name", call.name},
                     {"arguments", call.arguments},
                     {"status", prompt::code(call.status)}});
  }
  for (const prompt::Diagnostic& diagnostic : reply.diagnostics) {
    Json entry = {{"code", diagnostic.code}};
    if (!diagnostic.tool.empty()) entry["tool"] = diagnostic.tool;
    if (diagnostic.has_parameter) entry["parameter"] = diagnostic.parameter;
    diagnostics.push_back(std::move(entry));
  }
  return {{"reasoning_content", reply.reasoning_content},
          {"content", reply.content},
          {"tool_calls", std::move(calls)},
          {"finish_reason", prompt::code(reply.finish_reason)},
          {"diagnostics", std::move(diagnostics)}};
}

Json parse(const std::string& line) {
  const Json input = Json::parse(line);
  prompt::ReplyOptions options;
  const bool thinks = input.value("thinking_mode", "chat") == "thinking";
  options.mode = thinks ? prompt::Mode::thinking : prompt::Mode::chat;
  options.input = input.contains("pieces") ? prompt::ReplyOptions::Input::tokens
                                           : prompt::ReplyOptions::Input::text;
  for (const Json& tool : input.value("tools", Json::array())) {
    options.tools.push_back(prompt::declared_tool(tool.at("function").dump()));
  }
  prompt::ReplyParser parser(std::move(options));
  feed_reply(parser, pieces_of(input), input.value("feed", Json("whole")));
  return answer_of(parser.finish(cause_of(input.value("cause", "eos"))));
}

Json tokenize(const engine::Tokenizer& tokenizer, const std::string& line) {
  const Json request = Json::parse(line);
  const auto added = request.value("special", false) ? engine::AddedTokens::recognised
                                                     : engine::AddedTokens::plain;
  return {{"ids", tokenizer.encode(request.at("text").get<std::string>(), added)}};
}

Json detokenize(const engine::Tokenizer& tokenizer, const std::string& line) {
  engine::TextStream without_special, stream;
  std::string text, text_skip_special;
  Json deltas = Json::array();
  for (const auto number : Json::parse(line).at("ids").get<std::vector<std::int64_t>>()) {
    // Ids outside the vocabulary are empty, and must not become others by losing bits.
    const engine::Token id =
        std::in_range<engine::Token>(number) ? static_cast<engine::Token>(number) : -1;
    const std::string_view bytes = tokenizer.bytes(id);
    if (!tokenizer.is_special(id)) text_skip_special += without_special.push(bytes);
    deltas.push_back(stream.push(bytes));
    text += deltas.back().get<std::string>();
  }
  const std::string flushed = stream.flush();
  return {{"text", text + flushed},
          {"text_skip_special", text_skip_special + without_special.flush()},
          {"stream_deltas", std::move(deltas)},
          {"stream_flush", flushed}};
}

}  // namespace

int debug_render(const std::string& tokenizer) {
  const auto loaded = tokenizer.empty() ? nullptr : load(tokenizer);
  return answer_lines([&](const std::string& line) { return render(loaded.get(), line); });
}
int debug_parse() {
  return answer_lines(parse);
}

int debug_tokenize(const std::string& tokenizer) {
  const auto loaded = load(tokenizer);
  return answer_lines([&](const std::string& line) { return tokenize(*loaded, line); });
}

int debug_detokenize(const std::string& tokenizer) {
  const auto loaded = load(tokenizer);
  return answer_lines([&](const std::string& line) { return detokenize(*loaded, line); });
}

}  // namespace fathom::ui
