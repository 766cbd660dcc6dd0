// Writes prepared turns as segments (chat encoding 5.2 to 5.5).
#include "agent/prompt/render.h"

#include <cassert>

#include <fmt/format.h>

#include "agent/error.h"
#include "agent/prompt/constants.h"
#include "agent/prompt/json.h"
#include "agent/prompt/segment_writer.h"
#include "agent/prompt/turns.h"

namespace fathom::agent::prompt {
namespace {

// Empty: this effort adds nothing. Nothing at all: the family does not know it.
std::optional<std::string_view> effort_text(Effort effort, engine::Family family) {
  const bool preview = family == engine::Family::preview;
  switch (effort) {
    case Effort::none:
      return "";
    case Effort::low:
      return preview ? std::nullopt : std::optional<std::string_view>("");
    case Effort::high:
      return preview ? "" : kEffortA;
    case Effort::max:
      return preview ? kEffortA : kEffortB;
  }
  return std::nullopt;
}

std::string_view token_of(Task task) {
  switch (task) {
    case Task::action:
      return kActionTask;
    case Task::query:
      return kQueryTask;
    case Task::authority:
      return kAuthorityTask;
    case Task::domain:
      return kDomainTask;
    case Task::title:
      return kTitleTask;
    case Task::read_url:
      return kReadUrlTask;
    case Task::none:
      break;
  }
  return "";
}

void write_opener(SegmentWriter& out, Mode mode) {
  out.special(mode == Mode::thinking ? kThinkOpen : kThinkClose);
}

void write_block(SegmentWriter& out, const Block& block, bool first) {
  if (!first) out.plain(kBlankLine);
  if (block.kind == Block::Kind::text) return out.plain(block.text);
  out.plain(kResultOpen);
  out.plain(block.text);
  out.plain(kResultClose);
}

void write_parameter(SegmentWriter& out, std::string_view name, const Json& value) {
  const bool text = value.kind == Json::Kind::string;
  out.markup("<｜DSML｜parameter name=\"");
  out.plain(name);
  out.plain(text ? "\" string=\"true\">" : "\" string=\"false\">");
  out.plain(text ? value.text : python_spelling(value));
  out.markup("</｜DSML｜parameter>");
}

// Arguments that are not a JSON object are shown as one parameter that holds the text.
Json arguments_of(const PastCall& call) {
  if (call.arguments.empty()) return {.kind = Json::Kind::object};
  if (auto value = read_json(call.arguments); value && value->kind == Json::Kind::object) {
    return *std::move(value);
  }
  return {.kind = Json::Kind::object,
          .members = {{"arguments", {.kind = Json::Kind::string, .text = call.arguments}}}};
}

void write_call(SegmentWriter& out, const PastCall& call) {
  out.markup("<｜DSML｜invoke name=\"");
  out.plain(call.name);
  out.plain("\">\n");
  const Json arguments = arguments_of(call);
  for (const JsonMember& member : arguments.members) {
    if (&member != &arguments.members.front()) out.plain("\n");
    write_parameter(out, member.name, member.value);
  }
  out.markup("\n</｜DSML｜invoke>");
}

void write_calls(SegmentWriter& out, const std::vector<PastCall>& calls) {
  if (calls.empty()) return;
  out.plain(kBlankLine);
  out.markup("<｜DSML｜tool_calls>\n");
  for (const PastCall& call : calls) {
    if (&call != &calls.front()) out.plain("\n");
    write_call(out, call);
  }
  out.markup("\n</｜DSML｜tool_calls>");
}

class Renderer {
 public:
  explicit Renderer(const Request& request) : request_(request), turns_(prepare(request)) {}

  tl::expected<std::vector<Segment>, RenderError> render() {
    const auto effort = effort_text(request_.effort, request_.family);
    if (!effort) return tl::unexpected(RenderError::invalid_reasoning_effort);
    if (request_.add_bos && request_.context.empty()) out_.special(kBeginOfSentence);
    for (int i = 0; i < static_cast<int>(turns_.all.size()); ++i) {
      if (turn(i).in_context) continue;
      if (i == 0 && request_.mode == Mode::thinking) out_.plain(*effort);
      write_turn(i);
      write_follow_up(i);
    }
    if (error_) return tl::unexpected(*error_);
    return out_.take();
  }

 private:
  const Turn& turn(int i) const { return turns_.all[static_cast<std::size_t>(i)]; }
  bool exists(int i) const { return i < static_cast<int>(turns_.all.size()); }

  // The mode an assistant turn is shown in; of a turn yet to come, the request's.
  Mode mode_of(int i) const {
    const bool remembers = request_.profile == Profile::trajectory && exists(i);
    return remembers ? turn(i).message.turn_mode.value_or(request_.mode) : request_.mode;
  }

  void write_turn(int i) {
    const Message& message = turn(i).message;
    switch (message.role) {
      case Role::developer:
        if (message.content.empty()) error_ = RenderError::developer_content_required;
        out_.special(kUser);
        [[fallthrough]];
      case Role::system:
        out_.plain(message.content);
        write_tools(message.tools);
        write_format(message.response_format);
        break;
      case Role::latest_reminder:
        out_.special(kLatestReminder);
        out_.plain(message.content);
        break;
      case Role::assistant:
        write_assistant(i);
        break;
      case Role::user:
      case Role::tool:  // merged into user turns
        out_.special(kUser);
        for (const Turn::Part& part : turn(i).parts) {
          write_block(out_, part.block, /*first=*/&part == &turn(i).parts.front());
        }
        break;
    }
  }

  void write_assistant(int i) {
    const Message& message = turn(i).message;
    const bool answers_task = i > 0 && turn(i - 1).message.task != Task::none;
    const bool shows_reasoning = turns_.keeps_reasoning || i > turns_.last_question;
    if (mode_of(i) == Mode::thinking && !answers_task && shows_reasoning) {
      out_.plain(message.reasoning_content);
      out_.special(kThinkClose);
    }
    out_.plain(message.content);
    write_calls(out_, message.tool_calls);
    if (!message.without_eos) out_.special(kEndOfSentence);
  }

  // What opens the answer to a turn: only where one follows, now or in the history.
  void write_follow_up(int i) {
    const bool last = !exists(i + 1);
    const Role next = last ? Role::assistant : turn(i + 1).message.role;
    if (next != Role::assistant && next != Role::latest_reminder) return;
    const Task task = turn(i).message.task;
    const Mode mode = mode_of(i + 1);
    if (task == Task::action) {
      out_.special(kAssistant);
      write_opener(out_, mode);
    }
    if (task != Task::none) return out_.special(token_of(task));
    if (!turn(i).asks()) return;
    const bool thinks =
        mode == Mode::thinking && (turns_.keeps_reasoning || i >= turns_.last_question);
    out_.special(kAssistant);
    write_opener(out_, thinks ? Mode::thinking : Mode::chat);
  }

  void write_tools(const std::vector<std::string>& schemas) {
    if (schemas.empty()) return;
    out_.plain(kBlankLine);
    out_.markup(kToolsHead);
    for (const std::string& schema : schemas) {
      if (&schema != &schemas.front()) out_.plain("\n");
      write_json(schema);
    }
    out_.plain(kToolsTail);
  }

  void write_format(const std::optional<std::string>& format) {
    if (!format) return;
    out_.plain(kBlankLine);
    out_.plain(kResponseFormatHead);
    write_json(*format);
  }

  void write_json(const std::string& text) {
    const auto value = read_json(text);
    if (!value) error_ = RenderError::invalid_json;
    if (value) out_.plain(python_spelling(*value));
  }

  const Request& request_;
  Turns turns_;
  SegmentWriter out_;
  std::optional<RenderError> error_;
};

}  // namespace

tl::expected<std::vector<Segment>, RenderError> render(const Request& request) {
  return Renderer(request).render();
}

std::string text_of(std::span<const Segment> segments) {
  std::string text;
  for (const Segment& segment : segments) text += segment.text;
  return text;
}

engine::Token special(const engine::Tokenizer& tokenizer, std::string_view text) {
  if (const auto token = tokenizer.added_token(text)) return *token;
  throw Error(
      fmt::format("the tokenizer lacks the token {}; expected one of a DeepSeek-V4 model", text));
}

std::vector<engine::Token> encode(std::span<const Segment> segments,
                                  const engine::Tokenizer& tokenizer) {
  std::vector<engine::Token> tokens;
  std::string plain;  // merges cross the seams between plain segments, so they are joined first
  const auto flush = [&] {
    const auto ids = tokenizer.encode(plain, engine::AddedTokens::plain);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    plain.clear();
  };
  for (const Segment& segment : segments) {
    if (segment.kind == Segment::Kind::plain) {
      plain += segment.text;
    } else {
      flush();
      tokens.push_back(special(tokenizer, segment.text));
    }
  }
  flush();
  return tokens;
}

std::vector<Segment> continuation(std::span<const Block> blocks, Mode opener,
                                  PreviousTurn previous) {
  assert(!blocks.empty());
  SegmentWriter out;
  if (previous == PreviousTurn::open) out.special(kEndOfSentence);
  out.special(kUser);
  for (const Block& block : blocks) {
    write_block(out, block, /*first=*/&block == &blocks.front());
  }
  out.special(kAssistant);
  write_opener(out, opener);
  return out.take();
}

}  // namespace fathom::agent::prompt
