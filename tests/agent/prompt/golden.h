// The golden files of the chat encoding; nothing where they are missing.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "test_paths.h"

namespace fathom::agent::prompt {

inline std::vector<nlohmann::ordered_json> golden(const std::string& prefix) {
  std::vector<nlohmann::ordered_json> vectors;
  const std::filesystem::path folder = std::string(FATHOM_SHARED) + "/golden/encoding";
  if (!std::filesystem::exists(folder)) return vectors;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    std::ifstream file(entry.path());
    const auto json = nlohmann::ordered_json::parse(file);
    for (const auto& vector : json.at("vectors")) vectors.push_back(vector);
  }
  return vectors;
}

}  // namespace fathom::agent::prompt
