// The task of a run: from the command line, from standard input, or from both.
#pragma once

#include <stop_token>
#include <string>

#include <tl/expected.hpp>

namespace fathom::ui {

// `argument` as it is; "-": standard input is the task; else standard input, if it is a pipe or a
// file, follows as a <stdin> block. Never waits for a person: without a task the sentence that
// says so is the error. A stop ends the reading.
tl::expected<std::string, std::string> read_prompt(const std::string& argument,
                                                   std::stop_token stop);

}  // namespace fathom::ui
