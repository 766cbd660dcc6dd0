// Text of models, tools and files made safe to show: never terminal control, measured in cells.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fathom::ui {

// `text` as it may reach a terminal: newlines and tabs stay, every other control character, escape
// sequence introducer and bidirectional control becomes a visible symbol, and what is not UTF-8
// becomes U+FFFD. Nothing in the result can move a cursor or set a title.
std::string visible(std::string_view text);

// Cells that valid UTF-8 takes: grapheme clusters, wide characters two.
int cells(std::string_view text) noexcept;

// The longest beginning that fits `cells_max`, whole clusters only.
std::string_view clip(std::string_view text, int cells_max) noexcept;

// `text` clipped with an ellipsis where it does not fit.
std::string shorten(std::string_view text, int cells_max);

// Lines of `text` broken at blanks so that each fits `cells_max` (at least 1); longer words are
// cut. Tabs become blanks up to the next multiple of four.
std::vector<std::string> wrap(std::string_view text, int cells_max);

// `text`, which is valid UTF-8, in ASCII alone: marks and punctuation become their twins, letters
// lose their accents, and what then has no twin becomes a question mark. May be wider than `text`.
std::string ascii(std::string_view text);

// The same for a row that is laid out, in as many cells: the three dots of an ellipsis take the
// place of the two characters before it too.
std::string ascii_row(std::string_view row);

// The pieces between newlines; a newline at the end starts no further line.
std::vector<std::string_view> split_lines(std::string_view text);

}  // namespace fathom::ui
