// Forks and rewinds of stored conversations, as `run` and `conversation` offer them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "memory/store.h"

namespace fathom::ui {

// Whether `name` has one of the two forms that step_named() reads.
bool names_step(std::string_view name);

// "7": the seventh reply of the conversation; "2.3": the third one of turn 2; "0": before the first
// message. `name` has one of these forms. Throws memory::Error if there is no such step.
memory::StepId step_named(const memory::Store& store, std::string_view conversation,
                          std::string_view name);

// A copy, all of it or up to a step (empty: all), with the long texts that its outcomes name.
// `file` is the store's. Returns its id.
std::string fork_conversation(memory::Store& store, const std::filesystem::path& file,
                              std::string_view conversation, std::string_view at);

// Goes back; returns the id of the conversation that keeps what was there.
std::string rewind_conversation(memory::Store& store, const std::filesystem::path& file,
                                std::string_view conversation, std::string_view at);

// Texts too long for an outcome, of one conversation of the store `file` (empty: the default one).
std::filesystem::path kept_texts(const std::filesystem::path& file, std::string_view conversation);

}  // namespace fathom::ui
