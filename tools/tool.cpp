// Words of the enumerations and access to the arguments of a call.
#include "tools/tool.h"

#include <algorithm>
#include <cassert>
#include <limits>

#include <nlohmann/json.hpp>

#include "tools/text.h"

namespace fathom::tools {

std::string_view name(Status status) noexcept {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::failed:
      return "failed";
    case Status::denied:
      return "denied";
    case Status::timeout:
      return "timeout";
    case Status::invalid:
      return "invalid";
  }
  return "failed";
}

std::string_view name(Effect effect) noexcept {
  switch (effect) {
    case Effect::reads:
      return "reads";
    case Effect::writes:
      return "writes";
    case Effect::leaves:
      return "leaves";
  }
  return "leaves";
}

Arguments::Arguments(const nlohmann::ordered_json& object)
    : object_(std::make_shared<const nlohmann::ordered_json>(object)) {
  assert(object.is_object());
}

bool Arguments::has(std::string_view name) const {
  return object_->contains(std::string(name));
}

std::optional<std::string> Arguments::text(std::string_view name) const {
  const auto value = object_->find(std::string(name));
  if (value == object_->end()) return std::nullopt;
  assert(value->is_string());
  return value->get<std::string>();
}

std::optional<std::int64_t> Arguments::integer(std::string_view name) const {
  const auto value = object_->find(std::string(name));
  if (value == object_->end()) return std::nullopt;
  // JSON schema counts 3.0 as an integer; what does not fit 64 bits becomes the nearest end.
  assert(value->is_number());
  if (value->is_number_unsigned()) {
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    const auto number = value->get<std::uint64_t>();
    return number > static_cast<std::uint64_t>(kMax) ? kMax : static_cast<std::int64_t>(number);
  }
  if (value->is_number_integer()) return value->get<std::int64_t>();
  constexpr double kLimit = 9.2e18;  // below 2^63
  return static_cast<std::int64_t>(std::clamp(value->get<double>(), -kLimit, kLimit));
}

std::optional<bool> Arguments::boolean(std::string_view name) const {
  const auto value = object_->find(std::string(name));
  if (value == object_->end()) return std::nullopt;
  assert(value->is_boolean());
  return value->get<bool>();
}

std::string Arguments::names() const {
  std::vector<std::string> names;
  for (const auto& [key, value] : object_->items()) names.push_back(key);
  return names.empty() ? "nothing" : join(names);
}

}  // namespace fathom::tools
