// Schema: says what in a JSON value does not fit a JSON schema (draft 7).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace fathom::tools {

// One rule that a value breaks.
struct SchemaFault {
  std::string place;    // JSON pointer into the value: "" is the value itself, "/lines" a member
  std::string keyword;  // "type", "required", …; "false" for a schema that allows nothing
  std::string wanted;  // what the rule says: "integer", the missing member's name, "at least 1", …
};

// Every keyword of draft 7 counts, except that `format`, `contentEncoding` and `contentMediaType`
// are annotations, as the standard allows. `$ref` reaches everything inside the schema (by pointer,
// by "$id" and by "#name"), nothing outside it.
class Schema {
 public:
  // Throws Error if a "$ref" leads outside or to nothing, or a pattern is none.
  explicit Schema(const nlohmann::json& schema);
  Schema(Schema&&) noexcept;
  Schema& operator=(Schema&&) noexcept;
  ~Schema();

  // Empty if `value` fits. Otherwise all rules broken at the first level, and of each member.
  // Endless "$ref" circles count as broken.
  std::vector<SchemaFault> check(const nlohmann::json& value) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace fathom::tools
