// Reads one block of calls out of a reply: the states BLOCK, INVOKE and VALUE of the chat encoding.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/prompt/reply_call.h"
#include "agent/prompt/reply_parser.h"
#include "agent/prompt/reply_text.h"

namespace fathom::agent::prompt {

class BlockReader {
 public:
  enum class Rule {
    repairing,  // what is wrong is repaired or dropped, and reported
    flawless,   // gives up at the first flaw, at a </think>, and unless the reply ends with the
                // block
    recovered,  // starts inside an invoke without a block; gives up unless that invoke names a
                // declared tool and is closed by its own tag
  };
  enum class Outcome {
    waiting,   // for more of the reply
    closed,    // what follows does not belong to it
    vanished,  // it was empty
    ended,     // with the reply
    given_up,
  };

  // Starts at `begin`, behind the tag that opened the block (recovered: the invoke). `reply` and
  // `declared` must outlive the reader.
  BlockReader(const ReplyText& reply, const std::vector<DeclaredTool>& declared, Rule rule,
              std::size_t begin);

  // Starts inside a call of `tool` that the prompt has opened.
  static BlockReader inside_call(const ReplyText& reply, const std::vector<DeclaredTool>& declared,
                                 std::string tool);

  // Reads as far as the reply goes. Not to be called again after anything but `waiting`.
  Outcome read();

  // Whether a recovered block is one: its first invoke is closed.
  bool proven() const noexcept { return proven_; }

  // Where it ends.
  std::size_t end() const noexcept { return at_; }
  bool has_calls() const noexcept { return calls_ > 0; }

  // What was read since the caller last emptied them.
  std::vector<ReplyEvent> events;  // calling, call
  std::vector<Diagnostic> diagnostics;

 private:
  enum class State {
    between,         // invokes
    invoke_head,     // behind <｜DSML｜invoke
    nameless,        // an invoke that is dropped
    invoke,          // between parameters
    body,            // text between parameters
    parameter_head,  // behind <｜DSML｜parameter
    malformed,       // a parameter that is dropped
    value,
    after,  // a flawless block: only the end may follow
  };
  // What one step of a state did: something, nothing yet, or it was the last.
  enum class Step { on, wait, done };

  struct ParameterHead {
    std::size_t name_end = 0;
    std::size_t value_begin = 0;
    bool is_text = true;  // string="true"
  };

  Step step();
  Step read_between();
  Step read_invoke_head();
  Step read_nameless();
  Step read_invoke();
  Step read_body();
  Step read_parameter_head();
  Step read_malformed();
  Step read_value();
  Step read_after();

  Step go(State state, std::size_t at);
  Step finish(Outcome outcome);
  Step close_block(std::size_t at);
  Step end_of_block();
  Step begin_call(std::string tool, std::size_t at);
  Step commit(State next, std::size_t at, bool closed);
  Step drop_call();
  Step begin_value(std::size_t name_begin, const ParameterHead& head);
  Step end_value(std::size_t end, std::size_t next);
  void report(std::string_view code, bool with_parameter = false);

  // Moves scan_ to the next tag; where none has arrived, to what must be looked at again. `done`:
  // the reply ends without one.
  Step next_tag(Tag& tag);

  // Whether an opening head with a string attribute follows `name_begin` on its line. Starts at
  // `scan`, and leaves there where to go on.
  Found find_head(std::size_t name_begin, std::size_t& scan, ParameterHead& head) const;

  // Whether the tag at scan_ ends a value that has no end of its own.
  Found repairs_value(Tag tag);

  const ReplyText& reply_;
  const std::vector<DeclaredTool>& declared_;
  Rule rule_;
  State state_;
  Outcome outcome_ = Outcome::waiting;
  std::size_t at_;             // begin of what the state has not settled
  std::size_t scan_ = 0;       // the state has looked at everything before
  std::size_t think_ = 0;      // no </think> before here
  std::size_t head_tag_ = 0;   // repairs_value: the parameter tag it looks behind,
  std::size_t head_scan_ = 0;  // and how far it has
  std::optional<CallBuilder> call_;
  std::string parameter_;
  bool value_is_text_ = true;
  bool junk_reported_ = false;
  bool flawed_ = false;
  bool proven_ = false;
  int calls_ = 0;
};

}  // namespace fathom::agent::prompt
