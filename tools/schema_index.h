// SchemaIndex: where each "$ref" of a JSON schema leads. Private to schema.cpp and its test.
#pragma once

#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace fathom::tools {

// Borrows the schema, which must stay where it is.
class SchemaIndex {
 public:
  // Throws Error if a "$ref" leads outside the schema or to nothing.
  explicit SchemaIndex(const nlohmann::json& schema);

  // The schema a "$ref" object stands for.
  const nlohmann::json& target(const nlohmann::json& reference) const {
    return *targets_.at(&reference);
  }

 private:
  void collect(const nlohmann::json& schema, std::string base);
  void collect_members(const nlohmann::json& schema, const std::string& base);
  const nlohmann::json* resolve(const std::string& uri) const;

  std::map<std::string, const nlohmann::json*> named_;  // absolute "$id" without empty fragment
  std::map<const nlohmann::json*, std::string> references_;  // "$ref" object: absolute URI
  std::map<const nlohmann::json*, const nlohmann::json*> targets_;
};

}  // namespace fathom::tools
