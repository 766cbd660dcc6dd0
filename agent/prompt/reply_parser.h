// What the model says, token by token, taken apart into reasoning, text and calls.
//
// A reply is untrusted and often slightly wrong, so every rule of what counts as markup and what is
// repaired is fixed (chat encoding 11.4). The result does not depend on how the input is cut, no
// input makes it fail, and time is linear in the input.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/prompt/message.h"

namespace fathom::agent::prompt {

enum class CallStatus { ok, unknown_tool, malformed };

// A call as sampled. Only `ok` may be carried out; every other one is answered with an error.
struct ReplyCall {
  std::string name = {};
  std::string arguments = {};  // JSON text of an object, members in the order sampled
  CallStatus status = CallStatus::ok;

  bool operator==(const ReplyCall&) const = default;
};

enum class FinishReason { stop, tool_calls, length };

// Something that was repaired or dropped.
struct Diagnostic {
  std::string code = {};       // e.g. "missing_invoke_close"
  std::string tool = {};       // empty: none
  std::string parameter = {};  // meaningful where has_parameter (names may be empty)
  bool has_parameter = false;

  bool operator==(const Diagnostic&) const = default;
};

struct Reply {
  std::string reasoning_content = {};
  std::string content = {};
  std::vector<ReplyCall> tool_calls = {};
  FinishReason finish_reason = FinishReason::stop;
  std::vector<Diagnostic> diagnostics = {};
};

// What one push() settled. The texts of all events of a kind, joined, equal the Reply's field.
struct ReplyEvent {
  enum class Kind {
    reasoning,  // text
    content,    // text
    calling,  // text: name of the call whose parameters follow. For display; it may be dropped yet
    call,     // call: complete. It may run early only if it has no effects: see Reply
  };
  Kind kind = Kind::content;
  std::string text = {};
  ReplyCall call = {};
};

// What the parser knows of a tool the request declares.
struct DeclaredTool {
  std::string name = {};
  std::vector<std::string> parameters = {};
};

// Reads a schema (JSON text of a `function` object). Empty name if it has none.
DeclaredTool declared_tool(std::string_view schema);

struct ReplyOptions {
  // The mode of the opener that the prompt ended with; for tasks: chat.
  Mode mode = Mode::chat;

  // Without tools all markup is text.
  std::vector<DeclaredTool> tools = {};

  // tokens: only pieces pushed as `added` form markup; the same characters from ordinary tokens are
  // data. text: every spelling counts; for replies whose tokens are unknown.
  enum class Input { tokens, text };
  Input input = Input::tokens;

  // Not empty: the prompt ended inside this call, after its `<｜DSML｜invoke name="…">\n`.
  std::string forced_call = {};
};

// Why generation ended, where the reply does not show it by an EOS or role token.
enum class Cause { eos, length, stop_sequence, cancelled };

class ReplyParser {
 public:
  enum class Piece { plain, added };

  explicit ReplyParser(ReplyOptions options);
  ReplyParser(ReplyParser&&) noexcept;
  ReplyParser& operator=(ReplyParser&&) noexcept;
  ~ReplyParser();

  // The next bytes: one token (`added`: Tokenizer::is_added) or any piece of one.
  std::vector<ReplyEvent> push(std::string_view bytes, Piece piece = Piece::plain);

  // Whether the next sampled token cannot change the calls: a block was closed. The loop may stop
  // there and append EOS itself.
  bool block_closed() const noexcept;

  // Whether the reply is inside its reasoning: opened and not yet closed.
  bool reasoning() const noexcept;

  // Settles what was held back. `events`, if given, receives the last deltas. Call once.
  Reply finish(Cause cause, std::vector<ReplyEvent>* events = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string_view code(FinishReason reason) noexcept;
std::string_view code(CallStatus status) noexcept;

}  // namespace fathom::agent::prompt
