// JSON with its numbers as text and its members in order, and its spelling in a prompt.
//
// The prompt spells values as CPython's json.dumps(ensure_ascii=False) does: integers exact at any
// size, the order of members as received. A reader that turns numbers into doubles or sorts members
// cannot do that.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

namespace fathom::agent::prompt {

struct JsonMember;

struct Json {
  enum class Kind { null, boolean, number, string, array, object };
  Kind kind = Kind::null;
  bool boolean = false;
  std::string text = {};                 // string: its characters; number: as it was written
  std::vector<Json> items = {};          // array
  std::vector<JsonMember> members = {};  // object: no name twice
  const Json* find(std::string_view name) const noexcept;  // nullptr: no such member
};

struct JsonMember {
  std::string name;
  Json value;
};

struct JsonError {
  std::string what;    // what was expected
  std::size_t at = 0;  // offset in bytes
};

// Deeper nesting is an error: reader, speller and destructor recurse. 512 is beyond any schema.
inline constexpr int kJsonDepthMax = 512;

// Strict JSON (RFC 8259): no NaN, no comments, nothing after the value. Of a repeated name the last
// value is kept, at the first position, as Python does. Bytes that are not UTF-8 and lone
// surrogates become U+FFFD.
tl::expected<Json, JsonError> read_json(std::string_view text);

// json.dumps(value, ensure_ascii=False).
std::string python_spelling(const Json& value);

// A string as JSON, in the same spelling.
std::string json_string(std::string_view text);

}  // namespace fathom::agent::prompt
