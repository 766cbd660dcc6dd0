// Parses with a limit on nesting and no repeated keys.
#include "engine/weights/json_file.h"

#include <set>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/weights/mapped_file.h"

namespace fathom::engine {
namespace {

using nlohmann::json;

// A header nests three deep, a configuration four.
constexpr int kDepthMax = 16;

// The index of a checkpoint with 145,116 tensors takes about 12 MiB.
constexpr std::int64_t kFileBytesMax = 64 << 20;

}  // namespace

json parse_object(std::span<const std::byte> text, const std::string& name) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kDepthMax) {
      throw Error(fmt::format("{}: nested deeper than {} levels", name, kDepthMax));
    }
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key &&
        !keys.back().insert(parsed.get<std::string>()).second) {
      throw Error(fmt::format("{}: key {} occurs twice", name, parsed.get<std::string>()));
    }
    return true;
  };
  const auto* begin = reinterpret_cast<const char*>(text.data());
  json object;
  try {
    object = json::parse(begin, begin + text.size(), watch);
  } catch (const json::exception& error) {
    throw Error(fmt::format("{}: malformed JSON: {}", name, error.what()));
  }
  if (!object.is_object()) throw Error(fmt::format("{}: expected a JSON object", name));
  return object;
}

json read_object(const std::filesystem::path& path) {
  const MappedFile file(path);
  if (file.size() > kFileBytesMax) {
    throw Error(fmt::format("{}: {} bytes, expected at most {}", path.string(), file.size(),
                            kFileBytesMax));
  }
  json object = parse_object(file.bytes(), path.string());
  file.expect_unchanged();
  return object;
}

}  // namespace fathom::engine
