// Forks and rewinds of stored conversations.
#include "ui/commands/branches.h"

#include <cassert>
#include <charconv>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "memory/error.h"

namespace fathom::ui {
namespace {

namespace fs = std::filesystem;

std::optional<int> number_of(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && number >= 0 ? std::optional(number) : std::nullopt;
}

// "2.3"
std::optional<memory::StepId> turn_and_step(std::string_view name) {
  const auto dot = name.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto turn = number_of(name.substr(0, dot));
  const auto step = number_of(name.substr(dot + 1));
  if (!turn || !step) return std::nullopt;
  return memory::StepId{.turn = *turn, .step = *step};
}

void copy_kept(const fs::path& file, std::string_view from, std::string_view to) {
  const fs::path kept = kept_texts(file, from);
  if (fs::is_directory(kept)) {
    fs::copy(kept, kept_texts(file, to), fs::copy_options::recursive);
  }
}

}  // namespace

bool names_step(std::string_view name) {
  return number_of(name) || turn_and_step(name);
}

memory::StepId step_named(const memory::Store& store, std::string_view conversation,
                          std::string_view name) {
  assert(names_step(name));
  if (const auto step = turn_and_step(name)) return *step;
  const int number = *number_of(name);
  if (number == 0) return {};
  int replies = 0;
  for (const memory::TokensRecord& piece : store.tokens(conversation)) {
    if (piece.source != memory::TokensRecord::Source::sampled) continue;
    if (++replies == number) return {.turn = piece.turn, .step = piece.step};
  }
  throw memory::Error(fmt::format("conversation {} has {} steps, there is no step {}", conversation,
                                  replies, number));
}

std::string fork_conversation(memory::Store& store, const fs::path& file,
                              std::string_view conversation, std::string_view at) {
  const auto step = at.empty() ? std::nullopt : std::optional(step_named(store, conversation, at));
  std::string child = store.fork(conversation, step);
  copy_kept(file, conversation, child);
  return child;
}

std::string rewind_conversation(memory::Store& store, const fs::path& file,
                                std::string_view conversation, std::string_view at) {
  std::string branch = store.rewind(conversation, step_named(store, conversation, at));
  copy_kept(file, conversation, branch);
  return branch;
}

fs::path kept_texts(const fs::path& file, std::string_view conversation) {
  const fs::path store = file.empty() ? memory::Store::default_path() : file;
  return store.parent_path() / "kept" / conversation;
}

}  // namespace fathom::ui
