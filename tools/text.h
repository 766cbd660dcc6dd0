// Lines, characters and counts of text, as the outcomes of tools need them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::tools {

// The lines without their "\n". A last line without newline counts; an empty text has none.
std::vector<std::string_view> split_lines(std::string_view text);

// The same with their "\n".
std::vector<std::string_view> split_lines_with_ends(std::string_view text);

// Valid UTF-8: every ill-formed part becomes one U+FFFD (the "maximal subpart" practice of the
// Unicode standard).
std::string repair_utf8(std::string_view bytes);

// How many bytes at the end of `bytes` may be the beginning of a character still to come: 0 to 3.
std::size_t unfinished_character(std::string_view bytes) noexcept;

// Whether a file with these bytes counts as binary: a NUL among the first 8000, as git decides.
bool is_binary(std::string_view bytes) noexcept;

// The first `characters_max` characters of valid UTF-8, then "[… N characters left out]" if that
// is not all.
std::string cut_line(std::string_view line, int characters_max);

// Characters, not bytes, of valid UTF-8.
std::int64_t count_characters(std::string_view text) noexcept;

// "1 line", "4,120 lines".
std::string count_of(std::int64_t count, std::string_view noun);

// The least number of inserted, deleted or replaced characters that turns one text into the other,
// or `limit` if it is not below that.
int edit_distance(std::string_view a, std::string_view b, int limit);

// "a, b, c".
std::string join(const std::vector<std::string>& words, std::string_view between = ", ");

}  // namespace fathom::tools
