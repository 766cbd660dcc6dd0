// Recognises prompts and waits for silence behind them.
#include "tools/prompt_watch.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace fathom::tools {
namespace {

// Longer last lines are data, not questions.
constexpr std::size_t kPromptBytesMax = 200;

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return result;
}

bool contains_any(std::string_view text, const auto& words) {
  return std::ranges::any_of(
      words, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

}  // namespace

bool looks_like_prompt(std::string_view line) {
  using namespace std::string_view_literals;
  static constexpr std::array kChoices = {"[y/n"sv, "(y/n"sv, "[yes"sv, "(yes"sv};
  static constexpr std::array kAsking = {
      "password"sv, "passphrase"sv, "username"sv, "login"sv,  "enter"sv,    "input"sv, "press"sv,
      "type"sv,     "select"sv,     "choose"sv,   "choice"sv, "continue"sv, "name"sv,  "email"sv};
  static constexpr std::array kBare = {">"sv, ">>>"sv, "..."sv, "$"sv, "#"sv, "(gdb)"sv, "(pdb)"sv};
  if (line.size() > kPromptBytesMax) return false;
  const std::string text = lower(line.substr(0, line.find_last_not_of(" \t") + 1));
  if (text.empty()) return false;
  if (text.back() == '?' || contains_any(text, kChoices)) return true;
  if (std::ranges::find(kBare, std::string_view(text)) != kBare.end()) return true;
  return (text.back() == ':' || text.back() == '>') && contains_any(text, kAsking);
}

PromptWatch::PromptWatch(std::chrono::milliseconds silence, std::stop_token turn)
    : silence_(silence),
      on_turn_stop_(std::move(turn), [this] { command_.request_stop(); }),
      thread_([this](std::stop_token done) { watch(std::move(done)); }) {}

PromptWatch::~PromptWatch() = default;

void PromptWatch::saw(std::string_view text) {
  const std::lock_guard lock(mutex_);
  last_ = Clock::now();
  const auto newline = text.find_last_of("\n\r");
  if (newline != std::string_view::npos) line_.clear();
  line_ += newline == std::string_view::npos ? text : text.substr(newline + 1);
  // One byte more than a prompt may have is enough to know that it is none.
  line_.resize(std::min(line_.size(), kPromptBytesMax + 1));
  changed_.notify_one();
}

bool PromptWatch::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

void PromptWatch::watch(std::stop_token done) {
  std::unique_lock lock(mutex_);
  while (!done.stop_requested()) {
    if (!looks_like_prompt(line_)) {
      changed_.wait(lock, done, [&] { return looks_like_prompt(line_); });
      continue;
    }
    const Clock::time_point seen = last_;
    const bool more =
        changed_.wait_until(lock, done, seen + silence_, [&] { return last_ != seen; });
    if (more || done.stop_requested()) continue;
    stopped_ = true;
    command_.request_stop();
    return;
  }
}

}  // namespace fathom::tools
