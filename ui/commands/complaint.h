// Says on standard error what was wrong with a command line, and what was probably meant.
#pragma once

#include <CLI/CLI.hpp>

namespace fathom::ui {

void complain(const CLI::App& program, const CLI::ParseError& error);

}  // namespace fathom::ui
