// Sizes of files and memory as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace fathom::ui {

// "29.8 MB": decimal units, as checkpoints and cards are sold.
std::string size_text(std::int64_t bytes);

}  // namespace fathom::ui
