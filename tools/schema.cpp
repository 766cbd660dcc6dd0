// Checks JSON values against JSON schemas, keyword by keyword.
#include "tools/schema.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tools/error.h"
#include "tools/regex.h"
#include "tools/schema_index.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

using Json = nlohmann::json;
using Faults = std::vector<SchemaFault>;

// Deeper nesting than any honest schema or value; it ends circles of "$ref".
constexpr int kDepthMax = 200;

std::string escaped(std::string_view key) {
  std::string pointer;
  for (const char c : key) pointer += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return pointer;
}

bool is_integer(const Json& value) {
  return value.is_number_integer() ||
         (value.is_number_float() && std::trunc(value.get<double>()) == value.get<double>());
}

bool has_type(const Json& value, const std::string& type) {
  if (type == "integer") return is_integer(value);
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "boolean") return value.is_boolean();
  return type == "null" && value.is_null();
}

bool is_multiple(double value, double of) {
  const double quotient = value / of;
  // An overflowed quotient has no fraction to look at, so the remainder has to answer.
  if (!std::isfinite(quotient)) return std::fmod(value, of) == 0;
  // 0.0075 / 0.0001 is 75 but for the last bits: a few units in the last place are forgiven.
  constexpr double kTolerance = 1e-14;
  return std::abs(quotient - std::round(quotient)) <= kTolerance * std::abs(quotient);
}

}  // namespace

struct Schema::Compiled {
  explicit Compiled(const Json& json) : schema(json), index(schema) { compile_patterns(schema); }

  Json schema;
  SchemaIndex index;
  std::map<std::string, Regex> patterns;

  void compile_pattern(const std::string& pattern);
  void compile_patterns(const Json& part);
  bool matches(const std::string& pattern, const std::string& text) const;
};

void Schema::Compiled::compile_pattern(const std::string& pattern) {
  auto compiled = Regex::compile(pattern);
  if (!compiled) {
    throw Error(fmt::format("JSON schema: pattern {}: {} at offset {}", pattern,
                            compiled.error().reason, compiled.error().offset));
  }
  patterns.emplace(pattern, std::move(*compiled));
}

void Schema::Compiled::compile_patterns(const Json& part) {
  if (!part.is_structured()) return;
  if (part.is_object()) {
    const auto pattern = part.find("pattern");
    if (pattern != part.end() && pattern->is_string()) compile_pattern(*pattern);
    const auto members = part.find("patternProperties");
    if (members != part.end() && members->is_object()) {
      for (const auto& [name, member] : members->items()) compile_pattern(name);
    }
  }
  for (const Json& element : part) compile_patterns(element);
}

bool Schema::Compiled::matches(const std::string& pattern, const std::string& text) const {
  return patterns.at(pattern).search(text) == Regex::Found::yes;
}

namespace {

// One pass over a value. Each check_… looks at the keywords of one kind of value.
template <typename Compiled>
class Checker {
 public:
  explicit Checker(const Compiled& compiled) : compiled_(compiled) {}

  void check(const Json& schema, const Json& value, const std::string& place) {
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) fault(place, "false", "nothing");
      return;
    }
    if (depth_ == kDepthMax) return fault(place, "$ref", "an end of references");
    ++depth_;
    if (schema.contains("$ref") && schema.at("$ref").is_string()) {
      check(compiled_.index.target(schema), value, place);
    } else {
      check_any(schema, value, place);
      check_combined(schema, value, place);
      if (value.is_number()) check_number(schema, value, place);
      if (value.is_string()) check_string(schema, value.get_ref<const std::string&>(), place);
      if (value.is_array()) check_array(schema, value, place);
      if (value.is_object()) check_object(schema, value, place);
    }
    --depth_;
  }

  Faults faults;

 private:
  void fault(const std::string& place, std::string keyword, std::string wanted) {
    faults.push_back({place, std::move(keyword), std::move(wanted)});
  }

  // Whether `value` fits, leaving no trace of why it does not.
  bool fits(const Json& schema, const Json& value) {
    Faults kept = std::exchange(faults, {});
    check(schema, value, "");
    return std::exchange(faults, std::move(kept)).empty();
  }

  // The keyword's value, or nullptr.
  static const Json* keyword(const Json& schema, const char* name) {
    const auto found = schema.find(name);
    return found == schema.end() ? nullptr : &*found;
  }

  void check_any(const Json& schema, const Json& value, const std::string& place) {
    if (const Json* type = keyword(schema, "type")) {
      std::vector<std::string> types;
      if (type->is_array()) {
        types = type->template get<std::vector<std::string>>();
      } else {
        types = {type->template get<std::string>()};
      }
      if (std::ranges::none_of(types, [&](const auto& t) { return has_type(value, t); })) {
        fault(place, "type", join(types, " or "));
      }
    }
    if (const Json* choices = keyword(schema, "enum")) {
      if (std::ranges::find(*choices, value) == choices->end()) {
        fault(place, "enum", "one of " + choices->dump());
      }
    }
    if (const Json* constant = keyword(schema, "const")) {
      if (*constant != value) fault(place, "const", constant->dump());
    }
  }

  void check_combined(const Json& schema, const Json& value, const std::string& place) {
    if (const Json* all = keyword(schema, "allOf")) {
      for (const Json& part : *all) check(part, value, place);
    }
    const auto count = [&](const Json& parts) {
      return std::ranges::count_if(parts, [&](const Json& part) { return fits(part, value); });
    };
    if (const Json* any = keyword(schema, "anyOf"); any && count(*any) == 0) {
      fault(place, "anyOf", "one of several forms");
    }
    if (const Json* one = keyword(schema, "oneOf"); one && count(*one) != 1) {
      fault(place, "oneOf", "exactly one of several forms");
    }
    if (const Json* no = keyword(schema, "not"); no && fits(*no, value)) {
      fault(place, "not", "something else");
    }
    if (const Json* condition = keyword(schema, "if")) {
      const Json* branch = keyword(schema, fits(*condition, value) ? "then" : "else");
      if (branch) check(*branch, value, place);
    }
  }

  void check_number(const Json& schema, const Json& value, const std::string& place) {
    const Json* limit = keyword(schema, "minimum");
    if (limit && value < *limit) fault(place, "minimum", "at least " + limit->dump());
    limit = keyword(schema, "maximum");
    if (limit && value > *limit) fault(place, "maximum", "at most " + limit->dump());
    limit = keyword(schema, "exclusiveMinimum");
    if (limit && value <= *limit) fault(place, "exclusiveMinimum", "above " + limit->dump());
    limit = keyword(schema, "exclusiveMaximum");
    if (limit && value >= *limit) fault(place, "exclusiveMaximum", "below " + limit->dump());
    limit = keyword(schema, "multipleOf");
    if (limit && !is_multiple(value.get<double>(), limit->template get<double>())) {
      fault(place, "multipleOf", "a multiple of " + limit->dump());
    }
  }

  void check_count(const Json& schema, const char* least, const char* most, double count,
                   const std::string& place) {
    const Json* limit = keyword(schema, least);
    if (limit && count < limit->template get<double>()) {
      fault(place, least, "at least " + limit->dump());
    }
    limit = keyword(schema, most);
    if (limit && count > limit->template get<double>()) {
      fault(place, most, "at most " + limit->dump());
    }
  }

  void check_string(const Json& schema, const std::string& text, const std::string& place) {
    check_count(schema, "minLength", "maxLength", static_cast<double>(count_characters(text)),
                place);
    const Json* pattern = keyword(schema, "pattern");
    if (pattern && !compiled_.matches(*pattern, text)) {
      fault(place, "pattern", "text like " + pattern->template get<std::string>());
    }
  }

  void check_array(const Json& schema, const Json& array, const std::string& place) {
    check_count(schema, "minItems", "maxItems", static_cast<double>(array.size()), place);
    const auto element_place = [&](std::size_t i) { return fmt::format("{}/{}", place, i); };
    if (const Json* items = keyword(schema, "items")) {
      const Json* rest = items;
      std::size_t i = 0;
      if (items->is_array()) {
        for (; i < std::min(items->size(), array.size()); ++i) {
          check((*items)[i], array[i], element_place(i));
        }
        rest = keyword(schema, "additionalItems");
      }
      for (; rest && i < array.size(); ++i) check(*rest, array[i], element_place(i));
    }
    if (const Json* wanted = keyword(schema, "contains")) {
      if (std::ranges::none_of(array, [&](const Json& e) { return fits(*wanted, e); })) {
        fault(place, "contains", "an element of a certain form");
      }
    }
    if (const Json* unique = keyword(schema, "uniqueItems"); unique && *unique == true) {
      for (auto element = array.begin(); element != array.end(); ++element) {
        if (std::find(array.begin(), element, *element) == element) continue;
        return fault(place, "uniqueItems", "no two equal elements");
      }
    }
  }

  void check_object(const Json& schema, const Json& object, const std::string& place) {
    check_count(schema, "minProperties", "maxProperties", static_cast<double>(object.size()),
                place);
    if (const Json* required = keyword(schema, "required")) {
      for (const Json& name : *required) {
        if (!object.contains(name)) fault(place, "required", name);
      }
    }
    if (const Json* names = keyword(schema, "propertyNames")) {
      for (const auto& [name, member] : object.items()) {
        if (!fits(*names, name)) fault(place, "propertyNames", "other names than " + name);
      }
    }
    check_members(schema, object, place);
    check_dependencies(schema, object, place);
  }

  void check_members(const Json& schema, const Json& object, const std::string& place) {
    const Json* properties = keyword(schema, "properties");
    const Json* by_pattern = keyword(schema, "patternProperties");
    const Json* additional = keyword(schema, "additionalProperties");
    for (const auto& [name, member] : object.items()) {
      const std::string member_place = fmt::format("{}/{}", place, escaped(name));
      bool described = false;
      if (properties && properties->contains(name)) {
        described = true;
        check(properties->at(name), member, member_place);
      }
      if (by_pattern) {
        for (const auto& [pattern, part] : by_pattern->items()) {
          if (!compiled_.matches(pattern, name)) continue;
          described = true;
          check(part, member, member_place);
        }
      }
      if (!described && additional) check(*additional, member, member_place);
    }
  }

  void check_dependencies(const Json& schema, const Json& object, const std::string& place) {
    const Json* dependencies = keyword(schema, "dependencies");
    if (!dependencies) return;
    for (const auto& [name, wanted] : dependencies->items()) {
      if (!object.contains(name)) continue;
      if (!wanted.is_array()) {
        check(wanted, object, place);
        continue;
      }
      for (const Json& other : wanted) {
        if (!object.contains(other)) fault(place, "dependencies", other);
      }
    }
  }

  const Compiled& compiled_;
  int depth_ = 0;
};

}  // namespace

Schema::Schema(const Json& schema) : compiled_(std::make_unique<Compiled>(schema)) {}
Schema::Schema(Schema&&) noexcept = default;
Schema& Schema::operator=(Schema&&) noexcept = default;
Schema::~Schema() = default;

Faults Schema::check(const Json& value) const {
  Checker checker(*compiled_);
  checker.check(compiled_->schema, value, "");
  return std::move(checker.faults);
}

}  // namespace fathom::tools
