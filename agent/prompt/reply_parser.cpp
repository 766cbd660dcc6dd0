// The states outside blocks: reasoning, content, and what follows a block.
#include "agent/prompt/reply_parser.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <optional>
#include <utility>

#include "agent/prompt/json.h"
#include "agent/prompt/markdown_code.h"
#include "agent/prompt/reply_block.h"
#include "agent/prompt/reply_text.h"

namespace fathom::agent::prompt {
namespace {

// Blocks that may turn out to be quotations are read on trial. A failed trial is read again as
// text, so their number is limited, or a reply made of openers would take quadratic time.
constexpr int kTrialsMax = 64;

// The separator between text and calls.
constexpr int kSeparatorNewlines = 2;

// Text whose last newlines are held back until it is known that they are no separator.
class TextField {
 public:
  // What `text` releases.
  std::string push(std::string_view text) {
    const std::size_t last = text.find_last_not_of('\n');
    std::string released;
    if (last != std::string_view::npos) {
      released = release();
      released += text.substr(0, last + 1);
      text.remove_prefix(last + 1);
    }
    const int newlines = newlines_ + static_cast<int>(text.size());
    newlines_ = std::min(newlines, kSeparatorNewlines);
    released.append(static_cast<std::size_t>(newlines - newlines_), '\n');
    return released;
  }

  std::string release() {
    return std::string(static_cast<std::size_t>(std::exchange(newlines_, 0)), '\n');
  }

  // The newlines were a separator after all. How many there are.
  int drop() noexcept { return std::exchange(newlines_, 0); }

 private:
  int newlines_ = 0;
};

}  // namespace

struct ReplyParser::State {
  enum class Where { reasoning, content, block, after, done };

  explicit State(ReplyOptions given) : options(std::move(given)), reader(options.input) {
    where = options.mode == Mode::thinking ? Where::reasoning : Where::content;
    if (options.forced_call.empty()) return;
    where = Where::block;
    block.emplace(BlockReader::inside_call(text, options.tools, options.forced_call));
  }

  void run();
  bool step();
  bool read_reasoning();
  bool read_content();
  bool read_tag(Tag tag);
  bool read_block();
  bool read_after();
  Found opens_block(std::size_t behind);
  Found invoke_comes_before_close(std::size_t from);
  bool cut_inside_opener() const;

  void enter_block(BlockReader::Rule rule, Tag tag);
  void begin_trial(BlockReader::Rule rule, Tag tag);
  void abandon_trial();
  void accept_trial();
  void take_from_block();
  void drop_separator();
  void keep_as_text(Tag tag);

  void diagnose(std::string_view code) { reply.diagnostics.push_back({.code = std::string(code)}); }
  void add_reasoning(std::string_view symbols);
  void add_content(std::string_view symbols);
  void release_reasoning() { emit(ReplyEvent::Kind::reasoning, reasoning.release()); }
  void emit(ReplyEvent::Kind kind, std::string delta);
  bool may_try() const noexcept { return trials < kTrialsMax; }

  ReplyOptions options;
  SymbolReader reader;
  ReplyText text;
  Where where = Where::content;
  std::size_t at = 0;  // everything before is settled
  TextField reasoning, content;
  MarkdownCode markdown;
  bool opener_kept = false;  // a tag stayed text, so closing tags do as well
  std::size_t searched_begin = 0, searched_end = 0;  // invoke_comes_before_close: none in between

  std::optional<BlockReader> block;
  bool closed = false;              // a block is
  std::optional<Where> trial_from;  // the block is on trial: where it was found,
  Tag trial_tag = Tag::none;        // which tag opened it,
  std::size_t trial_at = 0;         // and where that stands
  BlockReader::Rule trial_rule = BlockReader::Rule::flawless;
  int trials = 0;

  Reply reply;
  std::vector<ReplyEvent> events;
};

// --- text out -------------------------------------------------------------------------------

void ReplyParser::State::emit(ReplyEvent::Kind kind, std::string delta) {
  if (delta.empty()) return;
  (kind == ReplyEvent::Kind::reasoning ? reply.reasoning_content : reply.content) += delta;
  if (!events.empty() && events.back().kind == kind) {
    events.back().text += delta;
  } else {
    events.push_back({.kind = kind, .text = std::move(delta)});
  }
}

void ReplyParser::State::add_reasoning(std::string_view symbols) {
  emit(ReplyEvent::Kind::reasoning, reasoning.push(spelled(symbols)));
}

void ReplyParser::State::add_content(std::string_view symbols) {
  const std::string characters = spelled(symbols);
  markdown.push(characters);
  emit(ReplyEvent::Kind::content, content.push(characters));
}

// --- states ---------------------------------------------------------------------------------

void ReplyParser::State::run() {
  while (where != Where::done && step()) {
  }
}

// Whether something was settled; if not, more of the reply is needed.
bool ReplyParser::State::step() {
  switch (where) {
    case Where::reasoning:
      return read_reasoning();
    case Where::content:
      return read_content();
    case Where::block:
      return read_block();
    case Where::after:
      return read_after();
    case Where::done:
      break;
  }
  return false;
}

bool ReplyParser::State::read_reasoning() {
  constexpr char kStops[] = {'<', kThinkCloseSymbol, '\0'};
  if (at == 0 && text.size() > 0 && text[0] == kThinkOpenSymbol) {
    diagnose("extra_think_open");
    at = 1;
  }
  const std::size_t stop = std::min(text.symbols.find_first_of(kStops, at), text.size());
  add_reasoning(std::string_view(text.symbols).substr(at, stop - at));
  at = stop;
  if (at == text.size()) {
    if (!text.complete) return false;
    release_reasoning();
    diagnose("unclosed_think");
    where = Where::done;
    return true;
  }
  if (text[at] == kThinkCloseSymbol) {
    release_reasoning();
    where = Where::content;
    ++at;
    return true;
  }
  const Found opener = text.match(at, symbols_of(Tag::block));
  if (opener == Found::unknown) return false;
  if (opener == Found::yes && !options.tools.empty() && may_try()) {
    begin_trial(BlockReader::Rule::flawless, Tag::block);
  } else {
    add_reasoning("<");
    ++at;
  }
  return true;
}

bool ReplyParser::State::read_content() {
  constexpr char kStops[] = {'<', kThinkCloseSymbol, '\0'};
  if (at == 0 && text.size() > 0 && text[0] == kThinkOpenSymbol) {
    diagnose("unexpected_think");
    where = Where::reasoning;
    at = 1;
    return true;
  }
  const std::size_t stop = std::min(text.symbols.find_first_of(kStops, at), text.size());
  add_content(std::string_view(text.symbols).substr(at, stop - at));
  at = stop;
  if (at == text.size()) {
    if (!text.complete) return false;
    emit(ReplyEvent::Kind::content, content.release());
    if (reader.end() == EndToken::role) diagnose("role_token");
    where = Where::done;
    return true;
  }
  if (text[at] == kThinkCloseSymbol) {
    diagnose("extra_think_close");
    ++at;
    return true;
  }
  Tag tag = Tag::none;
  const Found found = options.tools.empty() ? Found::no : text.tag_at(at, tag);
  if (found == Found::unknown) return false;
  if (found == Found::yes) return read_tag(tag);
  if (cut_inside_opener()) {
    diagnose("truncated_block");
    content.drop();
    at = text.size();
    return true;
  }
  add_content("<");
  ++at;
  return true;
}

bool ReplyParser::State::read_tag(Tag tag) {
  const bool in_code = markdown.in_fence() || markdown.in_inline_code();
  switch (tag) {
    case Tag::block: {
      if (markdown.in_fence() && may_try()) {
        begin_trial(BlockReader::Rule::flawless, tag);
        return true;
      }
      const Found opens = in_code ? Found::no : opens_block(at + symbols_of(tag).size());
      if (opens == Found::unknown) return false;
      if (opens == Found::no) break;
      drop_separator();
      enter_block(BlockReader::Rule::repairing, tag);
      return true;
    }
    case Tag::invoke:
      if (in_code || !may_try()) break;
      begin_trial(BlockReader::Rule::recovered, tag);
      return true;
    case Tag::block_close:
    case Tag::invoke_close:
    case Tag::parameter_close:
      if (in_code || opener_kept) break;
      diagnose("stray_close");
      at += symbols_of(tag).size();
      return true;
    case Tag::parameter:
    case Tag::none:
      break;
  }
  keep_as_text(tag);
  return true;
}

void ReplyParser::State::keep_as_text(Tag tag) {
  const std::string_view symbols = symbols_of(tag);
  if (where == Where::reasoning) {
    add_reasoning(symbols);
  } else {
    add_content(symbols);
    opener_kept = opener_kept || tag == Tag::block || tag == Tag::invoke || tag == Tag::parameter;
  }
  at += symbols.size();
}

// Whether a <｜DSML｜tool_calls> that ends before `behind` opens a block.
Found ReplyParser::State::opens_block(std::size_t behind) {
  const std::size_t next = text.skip_blanks(behind);
  if (next == text.size()) return text.complete ? Found::yes : Found::unknown;
  Tag tag = Tag::none;
  if (text.tag_at(next, tag) == Found::unknown) return Found::unknown;
  if (tag == Tag::invoke || tag == Tag::block_close) return Found::yes;

  const std::string_view blanks = std::string_view(text.symbols).substr(behind, next - behind);
  const bool alone = markdown.line_is_blank() && blanks.find('\n') != std::string_view::npos;
  return alone ? invoke_comes_before_close(next) : Found::no;
}

Found ReplyParser::State::invoke_comes_before_close(std::size_t from) {
  if (from < searched_begin || from > searched_end) searched_begin = searched_end = from;
  while (true) {
    searched_end = std::min(text.symbols.find('<', searched_end), text.size());
    if (searched_end == text.size()) return text.complete ? Found::no : Found::unknown;
    Tag tag = Tag::none;
    if (text.tag_at(searched_end, tag) == Found::unknown) return Found::unknown;
    if (tag == Tag::invoke) return Found::yes;
    if (tag == Tag::block_close) return Found::no;
    ++searched_end;
  }
}

// Generation ended within <｜DSML｜tool_calls>: enough of it is there to know what was meant.
bool ReplyParser::State::cut_inside_opener() const {
  const std::string_view rest = std::string_view(text.symbols).substr(at);
  return !options.tools.empty() && text.complete && rest.size() >= 2 &&
         symbols_of(Tag::block).starts_with(rest) && !markdown.in_fence() &&
         !markdown.in_inline_code();
}

bool ReplyParser::State::read_after() {
  at = text.skip_blanks(at);
  if (at == text.size()) {
    if (text.complete) where = Where::done;
    return text.complete;
  }
  diagnose("text_after_tool_calls");
  where = Where::done;
  return true;
}

// --- blocks ---------------------------------------------------------------------------------

void ReplyParser::State::enter_block(BlockReader::Rule rule, Tag tag) {
  block.emplace(text, options.tools, rule, at + symbols_of(tag).size());
  where = Where::block;
}

void ReplyParser::State::begin_trial(BlockReader::Rule rule, Tag tag) {
  ++trials;
  trial_from = where;
  trial_tag = tag;
  trial_at = at;
  trial_rule = rule;
  enter_block(rule, tag);
}

void ReplyParser::State::abandon_trial() {
  where = *std::exchange(trial_from, std::nullopt);
  block.reset();
  at = trial_at;
  keep_as_text(trial_tag);
}

// The block on trial is one.
void ReplyParser::State::accept_trial() {
  if (trial_rule == BlockReader::Rule::recovered) {
    diagnose("missing_block_open");
    drop_separator();
  } else if (*trial_from == Where::reasoning) {
    diagnose("implicit_think_end");
    reasoning.drop();
  } else {
    diagnose("block_in_fence");
    drop_separator();
  }
  trial_from.reset();
}

void ReplyParser::State::drop_separator() {
  if (content.drop() < kSeparatorNewlines) diagnose("missing_separator");
}

bool ReplyParser::State::read_block() {
  using Outcome = BlockReader::Outcome;
  const Outcome outcome = block->read();
  if (outcome == Outcome::given_up) {
    abandon_trial();
    return true;
  }
  const bool flawless = trial_from && trial_rule == BlockReader::Rule::flawless;
  const bool flawless_end = flawless && outcome == Outcome::ended;
  if (trial_from && (block->proven() || flawless_end)) accept_trial();
  if (!trial_from) take_from_block();
  if (outcome == Outcome::waiting) return false;

  at = block->end();
  where = outcome == Outcome::vanished ? Where::content : Where::after;
  closed = block->has_calls() && (outcome == Outcome::closed || flawless_end);
  block.reset();
  return true;
}

void ReplyParser::State::take_from_block() {
  for (ReplyEvent& event : block->events) {
    if (event.kind == ReplyEvent::Kind::call) reply.tool_calls.push_back(event.call);
    events.push_back(std::move(event));
  }
  std::ranges::move(block->diagnostics, std::back_inserter(reply.diagnostics));
  block->events.clear();
  block->diagnostics.clear();
}

// --- interface ------------------------------------------------------------------------------

ReplyParser::ReplyParser(ReplyOptions options)
    : state_(std::make_unique<State>(std::move(options))) {}
ReplyParser::ReplyParser(ReplyParser&&) noexcept = default;
ReplyParser& ReplyParser::operator=(ReplyParser&&) noexcept = default;
ReplyParser::~ReplyParser() = default;

std::vector<ReplyEvent> ReplyParser::push(std::string_view bytes, Piece piece) {
  State& state = *state_;
  state.reader.push(bytes, piece, state.text.symbols);
  if (state.reader.end()) state.text.complete = true;
  state.run();
  return std::exchange(state.events, {});
}

bool ReplyParser::block_closed() const noexcept {
  return state_->where == State::Where::after ||
         (state_->where == State::Where::done && state_->closed);
}

bool ReplyParser::reasoning() const noexcept {
  return state_->where == State::Where::reasoning || state_->trial_from == State::Where::reasoning;
}

Reply ReplyParser::finish(Cause cause, std::vector<ReplyEvent>* events) {
  State& state = *state_;
  state.reader.finish(state.text.symbols);
  const bool ended_itself = state.reader.end().has_value() || cause == Cause::eos;
  state.text.cut = !ended_itself;
  state.text.complete = true;
  state.run();
  assert(state.where == State::Where::done);

  const bool has_calls = !state.reply.tool_calls.empty();
  if (has_calls && (state.closed || ended_itself)) {
    state.reply.finish_reason = FinishReason::tool_calls;
  } else if (!ended_itself && cause == Cause::length) {
    state.reply.finish_reason = FinishReason::length;
  }
  if (events != nullptr) std::ranges::move(state.events, std::back_inserter(*events));
  return std::move(state.reply);
}

DeclaredTool declared_tool(std::string_view schema) {
  DeclaredTool tool;
  const auto json = read_json(schema);
  if (!json) return tool;
  if (const Json* name = json->find("name")) tool.name = name->text;
  const Json* parameters = json->find("parameters");
  const Json* properties = parameters == nullptr ? nullptr : parameters->find("properties");
  if (properties == nullptr) return tool;
  for (const JsonMember& member : properties->members) tool.parameters.push_back(member.name);
  return tool;
}

std::string_view code(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::tool_calls:
      return "tool_calls";
    case FinishReason::length:
      return "length";
  }
  return "";
}

std::string_view code(CallStatus status) noexcept {
  switch (status) {
    case CallStatus::ok:
      return "ok";
    case CallStatus::unknown_tool:
      return "unknown_tool";
    case CallStatus::malformed:
      return "malformed";
  }
  return "";
}

}  // namespace fathom::agent::prompt
