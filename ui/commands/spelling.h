// What a mistyped word may have meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::ui {

// The word of `known` that `word` was most likely meant to be: one that it begins, or that a few
// slips of a finger (a letter too many, too few, another one, two exchanged) turn into it; the
// first of several. Empty if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace fathom::ui
