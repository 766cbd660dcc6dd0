// The list of conversations and the engine's state, as JSON.
#include <algorithm>
#include <cctype>
#include <utility>

#include <nlohmann/json.hpp>

#include "ui/hub.h"

namespace fathom::ui {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json json_of(const ConversationRow& row) {
  return {{"id", row.id},
          {"title", row.title},
          {"state", row.state},
          {"turns", row.turns},
          {"steps", row.steps},
          {"context_used", row.context_used},
          {"updated_ms", row.updated_ms},
          {"workspace", row.workspace}};
}

Json json_of(const EngineState& engine) {
  return {{"stage", engine.stage},     {"bytes", engine.bytes},     {"total", engine.total},
          {"model", engine.model},     {"family", engine.family},   {"backend", engine.backend},
          {"threads", engine.threads}, {"context", engine.context}, {"sandbox", engine.sandbox},
          {"error", engine.error}};
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) {
    return static_cast<char>(c < 0x80 ? std::tolower(c) : c);
  });
  return text;
}

bool matches(const ConversationRow& row, const std::string& query) {
  return lower(row.title).find(lower(query)) != std::string::npos;
}

}  // namespace

std::string Hub::list(const std::string& query, int offset, int limit) {
  const std::lock_guard lock(mutex_);
  std::vector<const ConversationRow*> found;
  for (const auto& [id, row] : rows_) {
    if (matches(row, query)) found.push_back(&row);
  }
  std::ranges::sort(found, [](const ConversationRow* a, const ConversationRow* b) {
    return std::pair(a->updated_ms, a->id) > std::pair(b->updated_ms, b->id);
  });
  Json rows = Json::array();
  const auto end = std::min<std::int64_t>(std::ssize(found), std::int64_t{offset} + limit);
  for (std::int64_t i = offset; i < end; ++i) {
    rows.push_back(json_of(*found[static_cast<std::size_t>(i)]));
  }
  Json answer = {{"rows", std::move(rows)}, {"total", found.size()}};
  if (end < std::ssize(found)) answer["cursor"] = std::to_string(end);
  return dump(answer);
}

std::string Hub::list_frame(std::int64_t& version) const {
  const std::lock_guard lock(mutex_);
  if (version == version_) return {};
  Json rows = Json::array();
  for (const auto& [id, changed_at] : row_versions_) {
    if (changed_at > version) rows.push_back(json_of(rows_.at(id)));
  }
  version = version_;
  return dump({{"f", "list"}, {"rows", std::move(rows)}, {"removed", Json::array()}});
}

std::string Hub::engine_json() const {
  const std::lock_guard lock(mutex_);
  return dump(json_of(engine_));
}

std::string Hub::engine_frame(std::int64_t& version) const {
  const std::lock_guard lock(mutex_);
  if (version == engine_version_) return {};
  version = engine_version_;
  return dump({{"f", "live"}, {"engine", json_of(engine_)}});
}

}  // namespace fathom::ui
