// Checks of the values that options are given, each with a sentence that says what was expected.
#pragma once

#include <cstdint>

#include <CLI/CLI.hpp>

namespace fathom::ui {

// More threads than the largest machines have cores would only wait for each other.
inline constexpr int kThreadsMax = 4096;

CLI::Validator count_from(int least);  // whole numbers

// Whole numbers of 64 bits without a sign.
CLI::Validator seed();

// Finite numbers from 0 on; positive: without it.
CLI::Validator not_negative();
CLI::Validator positive();

// Becomes the number of bytes: 4096, 16M, 8G, in powers of 1024 whether 8G, 8g, 8GB or 8GiB.
CLI::Validator bytes_from(std::int64_t least);

CLI::Validator folder();           // exists
CLI::Validator gguf_name();        // of a file to write
CLI::Validator step();             // "7", "2.3": what step_named() reads
CLI::Validator open_descriptor();  // of this process

}  // namespace fathom::ui
