// An EventSink that keeps what it is told.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "agent/events.h"

namespace fathom::tests {

class RecordingSink final : public agent::EventSink {
 public:
  void event(const agent::Event& event) override {
    events.push_back(event);
    if (on_event) on_event(event);
  }
  void delta(const agent::Delta& delta) override {
    if (delta.at == static_cast<std::int64_t>(items[delta.item].size())) {
      items[delta.item] += delta.text;
    } else {
      gaps.push_back(delta.item);
    }
    if (on_delta) on_delta(delta);
  }
  void live(const agent::Live& live) override { phases.push_back(live.phase); }

  std::vector<std::string> types() const {
    std::vector<std::string> types;
    for (const agent::Event& event : events) types.push_back(event.type);
    return types;
  }

  std::vector<agent::Event> all(std::string_view type) const {
    std::vector<agent::Event> found;
    for (const agent::Event& event : events) {
      if (event.type == type) found.push_back(event);
    }
    return found;
  }

  // The last event's fields: those of the result, once a turn has ended.
  const nlohmann::ordered_json& result() const { return events.back().fields; }

  std::vector<agent::Event> events;
  std::map<std::string, std::string> items;  // text of each delta's item
  std::vector<std::string> gaps;             // items whose deltas do not join
  std::vector<std::string> phases;
  std::function<void(const agent::Event&)> on_event;
  std::function<void(const agent::Delta&)> on_delta;
};

}  // namespace fathom::tests
