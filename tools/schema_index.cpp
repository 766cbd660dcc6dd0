// Resolves the references of a JSON schema against the base URIs that "$id" sets (RFC 3986, as far
// as names inside one document need it).
#include "tools/schema_index.h"

#include <set>
#include <utility>

#include <fmt/format.h>

#include "tools/error.h"

namespace fathom::tools {
namespace {

using Json = nlohmann::json;

// The base of a schema that has no "$id": any absolute URI does.
constexpr std::string_view kDocument = "schema:/document";

bool has_scheme(std::string_view uri) {
  const auto colon = uri.find(':');
  return colon != std::string_view::npos && uri.find_first_of("/?#") > colon;
}

std::string without_fragment(std::string_view uri) {
  return std::string(uri.substr(0, uri.find('#')));
}

// `reference` as seen from `base`, which is absolute and has no fragment.
std::string absolute(std::string_view reference, std::string_view base) {
  if (has_scheme(reference)) return std::string(reference);
  if (reference.empty() || reference.front() == '#') return fmt::format("{}{}", base, reference);
  const auto scheme_end = base.find(':') + 1;
  const bool has_host = base.substr(scheme_end).starts_with("//");
  const auto path = base.find('/', scheme_end + (has_host ? 2 : 0));
  if (reference.front() == '/') return fmt::format("{}{}", base.substr(0, path), reference);
  const auto folder = base.rfind('/');
  const bool flat = folder == std::string_view::npos || (has_host && path == folder + 1);
  return fmt::format("{}{}", flat ? base : base.substr(0, folder + 1), reference);
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      decoded += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

// Under these keywords lie values, not schemas.
const std::set<std::string>& value_keywords() {
  static const std::set<std::string> keywords = {"enum", "const", "default", "examples"};
  return keywords;
}

// Under these keywords lie maps from any name to a schema: a "$ref" among the names is a name.
const std::set<std::string>& map_keywords() {
  static const std::set<std::string> keywords = {"properties", "patternProperties", "definitions",
                                                 "dependencies"};
  return keywords;
}

}  // namespace

SchemaIndex::SchemaIndex(const Json& schema) {
  named_[std::string(kDocument)] = &schema;
  collect(schema, std::string(kDocument));
  for (const auto& [object, uri] : references_) {
    const Json* found = resolve(uri);
    if (!found) {
      throw Error(fmt::format("JSON schema: \"$ref\" {} leads to nothing inside the schema",
                              object->at("$ref").get<std::string>()));
    }
    targets_[object] = found;
  }
}

void SchemaIndex::collect(const Json& schema, std::string base) {
  if (schema.is_array()) {
    for (const Json& element : schema) collect(element, base);
  }
  if (!schema.is_object()) return;
  if (const auto ref = schema.find("$ref"); ref != schema.end() && ref->is_string()) {
    references_[&schema] = absolute(ref->get<std::string>(), base);
    // Beside "$ref" nothing counts in draft 7, but a pointer may still lead there.
    collect_members(schema, base);
    return;
  }
  if (const auto id = schema.find("$id"); id != schema.end() && id->is_string()) {
    std::string uri = absolute(id->get<std::string>(), base);
    if (uri.ends_with('#')) uri.pop_back();
    named_[uri] = &schema;
    base = without_fragment(uri);
  }
  collect_members(schema, base);
}

void SchemaIndex::collect_members(const Json& schema, const std::string& base) {
  for (const auto& [key, member] : schema.items()) {
    if (value_keywords().contains(key)) continue;
    if (map_keywords().contains(key) && member.is_object()) {
      for (const Json& element : member) collect(element, base);
    } else {
      collect(member, base);
    }
  }
}

const Json* SchemaIndex::resolve(const std::string& uri) const {
  if (const auto named = named_.find(uri); named != named_.end()) return named->second;
  const auto hash = uri.find('#');
  const auto document = named_.find(uri.substr(0, hash));
  if (document == named_.end() || hash == std::string::npos) return nullptr;
  try {
    const Json::json_pointer pointer(percent_decoded(std::string_view(uri).substr(hash + 1)));
    const Json& root = *document->second;
    return root.contains(pointer) ? &root.at(pointer) : nullptr;
  } catch (const std::exception&) {
    return nullptr;  // not a pointer: a name that nothing carries
  }
}

}  // namespace fathom::tools
