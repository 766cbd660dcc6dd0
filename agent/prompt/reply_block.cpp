// The states inside a block, each one function.
#include "agent/prompt/reply_block.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace fathom::agent::prompt {
namespace {

constexpr std::string_view kName = "name=\"";
constexpr std::string_view kParameterName = " name=\"";
constexpr std::string_view kBareHeadEnd = "\">";

struct HeadEnd {
  std::string_view text;
  bool is_text;
};
constexpr HeadEnd kHeadEnds[] = {{"\" string=\"true\">", true},
                                 {"\" string=\"false\">", false},
                                 {"\" string=\"True\">", true},
                                 {"\" string=\"False\">", false}};

}  // namespace

BlockReader::BlockReader(const ReplyText& reply, const std::vector<DeclaredTool>& declared,
                         Rule rule, std::size_t begin)
    : reply_(reply),
      declared_(declared),
      rule_(rule),
      state_(rule == Rule::recovered ? State::invoke_head : State::between),
      at_(begin),
      scan_(begin),
      think_(begin) {}

BlockReader BlockReader::inside_call(const ReplyText& reply,
                                     const std::vector<DeclaredTool>& declared, std::string tool) {
  BlockReader reader(reply, declared, Rule::repairing, 0);
  reader.begin_call(std::move(tool), 0);
  return reader;
}

BlockReader::Outcome BlockReader::read() {
  if (rule_ == Rule::flawless) {
    if (reply_.symbols.find(kThinkCloseSymbol, think_) != std::string::npos) {
      return outcome_ = Outcome::given_up;
    }
    think_ = reply_.size();
  }
  while (outcome_ == Outcome::waiting) {
    const Step made = step();
    flawed_ = flawed_ || !diagnostics.empty();
    if (flawed_ && rule_ == Rule::flawless) outcome_ = Outcome::given_up;
    if (made == Step::wait) break;
  }
  assert(outcome_ != Outcome::waiting || !reply_.complete);
  return outcome_;
}

BlockReader::Step BlockReader::step() {
  switch (state_) {
    case State::between:
      return read_between();
    case State::invoke_head:
      return read_invoke_head();
    case State::nameless:
      return read_nameless();
    case State::invoke:
      return read_invoke();
    case State::body:
      return read_body();
    case State::parameter_head:
      return read_parameter_head();
    case State::malformed:
      return read_malformed();
    case State::value:
      return read_value();
    case State::after:
      return read_after();
  }
  return Step::done;
}

BlockReader::Step BlockReader::go(State state, std::size_t at) {
  state_ = state;
  at_ = scan_ = at;
  return Step::on;
}

BlockReader::Step BlockReader::finish(Outcome outcome) {
  outcome_ = outcome;
  return Step::done;
}

void BlockReader::report(std::string_view code, bool with_parameter) {
  diagnostics.push_back({.code = std::string(code),
                         .tool = call_ ? call_->tool() : std::string(),
                         .parameter = with_parameter ? parameter_ : std::string(),
                         .has_parameter = with_parameter});
}

BlockReader::Step BlockReader::next_tag(Tag& tag) {
  while (true) {
    scan_ = std::min(reply_.symbols.find('<', scan_), reply_.size());
    if (scan_ == reply_.size()) return reply_.complete ? Step::done : Step::wait;
    switch (reply_.tag_at(scan_, tag)) {
      case Found::yes:
        return Step::on;
      case Found::unknown:
        return Step::wait;
      case Found::no:
        ++scan_;
        break;
    }
  }
}

// --- BLOCK ----------------------------------------------------------------------------------

BlockReader::Step BlockReader::read_between() {
  at_ = reply_.skip_blanks(at_);
  if (at_ == reply_.size()) return reply_.complete ? end_of_block() : Step::wait;
  Tag tag = Tag::none;
  if (reply_.tag_at(at_, tag) == Found::unknown) return Step::wait;
  if (tag == Tag::invoke) return go(State::invoke_head, at_ + symbols_of(tag).size());
  if (tag == Tag::block_close) return close_block(at_ + symbols_of(tag).size());

  // Nobody opened a recovered block, so what is not a call is behind it.
  if (rule_ == Rule::recovered) return finish(Outcome::closed);
  if (!std::exchange(junk_reported_, true)) report("junk_in_block");
  ++at_;
  return Step::on;
}

BlockReader::Step BlockReader::close_block(std::size_t at) {
  at_ = at;
  if (calls_ == 0 && !flawed_) {
    report("empty_block");
    return finish(Outcome::vanished);
  }
  if (rule_ == Rule::flawless) return go(State::after, at);
  return finish(Outcome::closed);
}

BlockReader::Step BlockReader::end_of_block() {
  report(calls_ == 0 || reply_.cut ? "truncated_block" : "missing_block_close");
  return finish(Outcome::ended);
}

BlockReader::Step BlockReader::read_after() {
  at_ = reply_.skip_blanks(at_);
  if (at_ < reply_.size()) return finish(Outcome::given_up);
  return reply_.complete ? finish(Outcome::ended) : Step::wait;
}

// --- INVOKE ---------------------------------------------------------------------------------

// blanks name="…" blanks >
BlockReader::Step BlockReader::read_invoke_head() {
  const auto without_name = [&] {
    if (rule_ == Rule::recovered && !proven_) return finish(Outcome::given_up);
    report("invoke_without_name");
    return go(State::nameless, at_);
  };
  at_ = reply_.skip_blanks(at_);
  const Found named = reply_.match(at_, kName);
  if (named == Found::unknown) return Step::wait;
  if (named == Found::no) return without_name();

  const std::size_t begin = at_ + kName.size();
  scan_ = std::max(scan_, begin);
  while (scan_ < reply_.size() && reply_[scan_] != '"' && reply_[scan_] != '\n') ++scan_;
  if (scan_ == reply_.size()) return reply_.complete ? without_name() : Step::wait;
  if (reply_[scan_] != '"' || scan_ == begin) return without_name();

  const std::size_t bracket = reply_.skip_blanks(scan_ + 1);
  if (bracket == reply_.size()) return reply_.complete ? without_name() : Step::wait;
  if (reply_[bracket] != '>') return without_name();
  return begin_call(reply_.text(begin, scan_), bracket + 1);
}

BlockReader::Step BlockReader::begin_call(std::string tool, std::size_t at) {
  call_.emplace(std::move(tool), declared_);
  if (rule_ == Rule::recovered && !proven_ && !call_->is_declared()) {
    return finish(Outcome::given_up);
  }
  events.push_back({.kind = ReplyEvent::Kind::calling, .text = call_->tool()});
  return go(State::invoke, at);
}

BlockReader::Step BlockReader::read_nameless() {
  Tag tag = Tag::none;
  const Step found = next_tag(tag);
  if (found == Step::wait) return found;
  if (found == Step::done) return go(State::between, scan_);
  if (tag == Tag::invoke_close) return go(State::between, scan_ + symbols_of(tag).size());
  if (tag == Tag::invoke || tag == Tag::block_close) return go(State::between, scan_);
  ++scan_;
  return Step::on;
}

BlockReader::Step BlockReader::read_invoke() {
  at_ = reply_.skip_blanks(at_);
  if (at_ == reply_.size()) {
    if (!reply_.complete) return Step::wait;
    return reply_.cut ? drop_call() : commit(State::between, at_, /*closed=*/false);
  }
  Tag tag = Tag::none;
  if (reply_.tag_at(at_, tag) == Found::unknown) return Step::wait;
  const std::size_t behind = at_ + symbols_of(tag).size();
  switch (tag) {
    case Tag::parameter:
      return go(State::parameter_head, behind);
    case Tag::invoke_close:
      return commit(State::between, behind, /*closed=*/true);
    case Tag::invoke:
    case Tag::block_close:
      return commit(State::between, at_, /*closed=*/false);
    case Tag::parameter_close:
      report("stray_close");
      return go(State::invoke, behind);
    case Tag::block:
    case Tag::none:
      break;
  }
  return go(State::body, at_);
}

BlockReader::Step BlockReader::read_body() {
  Tag tag = Tag::none;
  const Step found = next_tag(tag);
  if (found == Step::wait) return found;
  if (found == Step::on && (tag == Tag::block || tag == Tag::parameter_close)) {
    ++scan_;
    return Step::on;
  }
  // Of a call that is cut here, nobody can say what the text would have become.
  const bool lost = found == Step::done && reply_.cut;
  if (!lost) call_->add_body(trimmed(reply_.text(at_, scan_)), diagnostics);
  return go(State::invoke, scan_);
}

BlockReader::Step BlockReader::commit(State next, std::size_t at, bool closed) {
  if (rule_ == Rule::recovered && !proven_) {
    if (!closed) return finish(Outcome::given_up);
    proven_ = true;
  }
  if (!closed) report("missing_invoke_close");
  events.push_back({.kind = ReplyEvent::Kind::call, .call = call_->finish(diagnostics)});
  call_.reset();
  ++calls_;
  return go(next, at);
}

// Never carried out: nobody knows how it would have gone on.
BlockReader::Step BlockReader::drop_call() {
  if (rule_ == Rule::recovered && !proven_) return finish(Outcome::given_up);
  report("truncated_tool_call");
  call_.reset();
  return go(State::between, reply_.size());
}

// --- VALUE ----------------------------------------------------------------------------------

Found BlockReader::find_head(std::size_t name_begin, std::size_t& scan, ParameterHead& head) const {
  for (scan = std::max(scan, name_begin); scan < reply_.size(); ++scan) {
    const char c = reply_[scan];
    if (c == '\n' || is_symbol(c)) return Found::no;
    if (c != '"') continue;
    for (const HeadEnd& end : kHeadEnds) {
      const Found found = reply_.match(scan, end.text);
      if (found == Found::unknown) return found;
      if (found == Found::no) continue;
      head = {scan, scan + end.text.size(), end.is_text};
      return Found::yes;
    }
  }
  return reply_.complete ? Found::no : Found::unknown;
}

BlockReader::Step BlockReader::read_parameter_head() {
  const Found named = reply_.match(at_, kParameterName);
  if (named == Found::unknown) return Step::wait;
  const std::string_view rest = std::string_view(reply_.symbols).substr(at_);
  const auto malformed = [&] {
    report("malformed_parameter");
    call_->mark_malformed();
    return go(State::malformed, at_);
  };
  if (named == Found::no) return kParameterName.starts_with(rest) ? drop_call() : malformed();

  const std::size_t name_begin = at_ + kParameterName.size();
  ParameterHead head;
  const Found full = find_head(name_begin, scan_, head);
  if (full == Found::unknown) return Step::wait;
  if (full == Found::yes) return begin_value(name_begin, head);

  // scan_ is where the line ends.
  const std::string_view line =
      std::string_view(reply_.symbols).substr(name_begin, scan_ - name_begin);
  const std::size_t bare = line.find(kBareHeadEnd);
  if (bare == std::string_view::npos) return scan_ == reply_.size() ? drop_call() : malformed();
  const std::size_t name_end = name_begin + bare;
  begin_value(name_begin, {.name_end = name_end, .value_begin = name_end + kBareHeadEnd.size()});
  report("missing_string_attribute", /*with_parameter=*/true);
  return Step::on;
}

BlockReader::Step BlockReader::begin_value(std::size_t name_begin, const ParameterHead& head) {
  parameter_ = reply_.text(name_begin, head.name_end);
  value_is_text_ = head.is_text;
  return go(State::value, head.value_begin);
}

BlockReader::Step BlockReader::read_malformed() {
  Tag tag = Tag::none;
  const Step found = next_tag(tag);
  if (found == Step::wait) return found;
  if (found == Step::done) return go(State::invoke, scan_);
  if (tag == Tag::parameter_close) return go(State::invoke, scan_ + symbols_of(tag).size());
  if (tag == Tag::parameter || tag == Tag::invoke_close || tag == Tag::block_close) {
    return go(State::invoke, scan_);
  }
  ++scan_;
  return Step::on;
}

BlockReader::Step BlockReader::read_value() {
  Tag tag = Tag::none;
  const Step found = next_tag(tag);
  if (found == Step::wait) return found;
  if (found == Step::done) return drop_call();
  if (tag == Tag::parameter_close) return end_value(scan_, scan_ + symbols_of(tag).size());

  const Found repairs = repairs_value(tag);
  if (repairs == Found::unknown) return Step::wait;
  if (repairs == Found::no) {
    ++scan_;
    return Step::on;
  }
  report("missing_parameter_close", /*with_parameter=*/true);
  const bool newline = scan_ > at_ && reply_[scan_ - 1] == '\n';
  return end_value(newline ? scan_ - 1 : scan_, scan_);
}

// Tags inside a value are data, except where only a forgotten </｜DSML｜parameter> explains them.
Found BlockReader::repairs_value(Tag tag) {
  if (tag == Tag::parameter) {
    if (scan_ == at_ || reply_[scan_ - 1] != '\n') return Found::no;
    const std::size_t begin = scan_ + symbols_of(tag).size();
    const Found named = reply_.match(begin, kParameterName);
    if (named != Found::yes) return named;
    if (std::exchange(head_tag_, scan_) != scan_) head_scan_ = 0;
    ParameterHead head;
    return find_head(begin + kParameterName.size(), head_scan_, head);
  }
  if (tag != Tag::invoke_close && tag != Tag::block_close) return Found::no;

  const std::size_t next = reply_.skip_blanks(scan_ + symbols_of(tag).size());
  if (next == reply_.size()) return reply_.complete ? Found::yes : Found::unknown;
  if (tag == Tag::block_close) return Found::no;
  const Found close = reply_.match(next, symbols_of(Tag::block_close));
  const Found invoke = reply_.match(next, std::string(symbols_of(Tag::invoke)) + " name=\"");
  if (close == Found::yes || invoke == Found::yes) return Found::yes;
  return close == Found::unknown || invoke == Found::unknown ? Found::unknown : Found::no;
}

BlockReader::Step BlockReader::end_value(std::size_t end, std::size_t next) {
  std::string value = reply_.text(at_, end);
  if (value_is_text_) {
    call_->add_text(parameter_, std::move(value));
  } else {
    call_->add_json(parameter_, value, diagnostics);
  }
  return go(State::invoke, next);
}

}  // namespace fathom::agent::prompt
