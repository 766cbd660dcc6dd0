// `fathom debug render|parse|tokenize|detokenize`.
#include <iostream>
#include <stdexcept>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "agent/prompt/read_request.h"
#include "agent/prompt/render.h"
#include "engine/tokenizer.h"
#include "ui/commands/debug.h"

namespace fathom::ui {
namespace {

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
  namespace prompt = agent::prompt;
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
  for (const engine::Token id : Json::parse(line).at("ids").get<std::vector<engine::Token>>()) {
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
  throw std::runtime_error("not part of this build");
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
