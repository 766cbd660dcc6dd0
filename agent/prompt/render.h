// A conversation to segments to token ids (the chat encoding of DeepSeek-V4).
//
// Protection against forged turns is by token identity: special segments become one id each, and
// everything else, above all what comes from outside, is tokenised without recognising added
// tokens. There is no textual escape.
//
// How the loop builds its prompt. The prompt only ever grows, so the engine's rows stay valid:
//
//   opening          render() of a Request whose only message is the system text (and its tools)
//   user's turn      continuation({text}, …)
//   sampled turn     the sampled ids themselves, never rendered again
//   outcomes         continuation({result, result, …}, …), again up to the opener
//
// A sampled turn that ended by EOS has that id already; one that was stopped early has not, and the
// next continuation begins with it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "agent/prompt/message.h"
#include "engine/tokenizer.h"

namespace fathom::agent::prompt {

struct Segment {
  enum class Kind { special, plain };
  Kind kind = Kind::plain;
  std::string text = {};  // special: the text of one added token

  bool operator==(const Segment&) const = default;
};

// The prompt of a request. Neighbouring plain text is one segment; none is empty.
tl::expected<std::vector<Segment>, RenderError> render(const Request& request);

// The characters of the prompt. For people: tokenising them would let data forge a turn.
std::string text_of(std::span<const Segment> segments);

// Throws Error if the tokenizer lacks one of the special tokens.
std::vector<engine::Token> encode(std::span<const Segment> segments,
                                  const engine::Tokenizer& tokenizer);

// The id of a special token. Throws Error if the tokenizer lacks it.
engine::Token special(const engine::Tokenizer& tokenizer, std::string_view text);

// A part of a user turn: what the user wrote, or the outcome of one call.
struct Block {
  enum class Kind { text, result };
  Kind kind = Kind::text;
  std::string text = {};
};

// Whether EOS is already the last token of the prefix, or still has to be written (a turn that was
// stopped by a limit, by the end of its block, or by the user).
enum class PreviousTurn { closed, open };

// [EOS] <｜User｜> block ("\n\n" block)* <｜Assistant｜> (<think> | </think>)
//
// What follows a prefix that ends with a system text or an assistant turn. Results must be in the
// order of their calls, one for every call. Needs at least one block.
std::vector<Segment> continuation(std::span<const Block> blocks, Mode opener,
                                  PreviousTurn previous = PreviousTurn::closed);

}  // namespace fathom::agent::prompt
