// Holds the tree against its own rules: allowed includes between modules, line lengths, leftovers.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "test_paths.h"

namespace {

namespace fs = std::filesystem;

// The picture of the README as data: which module may include which. Every module may include
// itself; tests may include everything.
const std::map<std::string, std::set<std::string>> kAllowed = {
    {"engine", {}},
    {"memory", {}},
    {"sandbox", {}},
    {"tools", {"sandbox", "memory"}},
    {"agent", {"engine", "tools", "memory"}},
    {"ui", {"agent"}},
};

// The library `ui` knows one header of the agent and nothing else of ours.
const std::set<std::string> kAgentHeadersForUi = {"agent/events.h"};

// The program alone knows all modules.
bool is_program(std::string_view file) {
  return file == "ui/main.cpp" || file.starts_with("ui/commands/");
}

constexpr std::size_t kColumnsMax = 100;
constexpr int kLinesMax = 500;

struct Line {
  std::string file;  // relative to the root
  int number;
  std::string text;

  std::string where() const { return file + ":" + std::to_string(number); }
};

bool is_source(const fs::path& path) {
  static const std::set<std::string> kSuffixes = {".h", ".cpp", ".cu", ".ts", ".tsx", ".css"};
  return kSuffixes.contains(path.extension().string());
}

std::vector<Line> lines_of(const fs::path& path, const std::string& name) {
  std::vector<Line> lines;
  std::ifstream file(path);
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) lines.push_back({name, number, text});
  return lines;
}

// Every source line of the tree, in one pass for all tests.
const std::vector<std::vector<Line>>& sources() {
  static const std::vector<std::vector<Line>> kFiles = [] {
    std::vector<std::vector<Line>> files;
    const fs::path root = FATHOM_SOURCE;
    for (const char* top :
         {"engine", "memory", "sandbox", "tools", "agent", "ui", "tests", "examples"}) {
      for (auto entry = fs::recursive_directory_iterator(root / top);
           entry != fs::recursive_directory_iterator(); ++entry) {
        if (entry->path().filename() == "node_modules") entry.disable_recursion_pending();
        if (!entry->is_regular_file() || !is_source(entry->path())) continue;
        files.push_back(lines_of(entry->path(), fs::relative(entry->path(), root).string()));
      }
    }
    return files;
  }();
  return kFiles;
}

std::string module_of(std::string_view path) {
  return std::string(path.substr(0, path.find('/')));
}

// The file that `#include "…"` names, if the line is one.
std::optional<std::string> included(const std::string& line) {
  constexpr std::string_view kStart = "#include \"";
  if (!line.starts_with(kStart)) return std::nullopt;
  const auto end = line.find('"', kStart.size());
  return line.substr(kStart.size(), end - kStart.size());
}

// Code points, not bytes: a column is what a reader sees.
std::size_t columns(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

bool include_allowed(const std::string& from, const std::string& to) {
  const std::string user = module_of(from), used = module_of(to);
  if (user == "tests" || user == "examples" || user == used || is_program(from)) return true;
  if (!kAllowed.contains(used)) return false;
  if (user == "ui") return kAgentHeadersForUi.contains(to);
  return kAllowed.at(user).contains(used);
}

// A folder inside a module is its inside: other modules include its top-level headers only.
bool reaches_inside(const std::string& from, const std::string& to) {
  const std::string user = module_of(from);
  if (user == "tests" || user == module_of(to) || is_program(from)) return false;
  const bool prompt = to.starts_with("agent/prompt/");  // only agent may, and agent is itself
  return prompt || std::ranges::count(to, '/') > 1;
}

TEST(Tidy, ModulesIncludeOnlyWhatThePictureAllows) {
  for (const auto& file : sources()) {
    for (const Line& line : file) {
      const auto target = included(line.text);
      if (!target) continue;
      EXPECT_TRUE(include_allowed(line.file, *target)) << line.where() << " includes " << *target;
    }
  }
}

TEST(Tidy, InsidesOfAModuleAreItsOwn) {
  for (const auto& file : sources()) {
    for (const Line& line : file) {
      const auto target = included(line.text);
      if (!target) continue;
      EXPECT_FALSE(reaches_inside(line.file, *target)) << line.where() << " includes " << *target;
    }
  }
}

TEST(Tidy, LinesFitAHundredColumns) {
  for (const auto& file : sources()) {
    for (const Line& line : file) EXPECT_LE(columns(line.text), kColumnsMax) << line.where();
  }
}

// A file may be longer where cutting it would cost clarity; its opening comment then says why.
bool says_why_it_is_long(const std::vector<Line>& file) {
  constexpr std::ptrdiff_t kOpening = 30;
  const auto opening = file.begin() + std::min(kOpening, std::ssize(file));
  return std::any_of(file.begin(), opening, [](const Line& line) {
    return line.text.find("Longer than 500 lines:") != std::string::npos;
  });
}

TEST(Tidy, FilesSayWhatTheyAreForAndHoldOneConcept) {
  for (const auto& file : sources()) {
    if (file.empty()) continue;
    const std::string& first = file.front().text;
    EXPECT_TRUE(first.starts_with("//") || first.starts_with("/*")) << file.front().where();
    const bool generated = first.find("Generated") != std::string::npos;
    EXPECT_TRUE(generated || std::ssize(file) <= kLinesMax || says_why_it_is_long(file))
        << file.front().file << " has " << file.size() << " lines";
  }
}

TEST(Tidy, NothingIsLeftOver) {
  // Spelled in halves, so that this file does not find itself.
  const std::vector<std::string> leftovers = {
      std::string("TO") + "DO", std::string("FIX") + "ME",
      std::string("XX") + "X:", std::string("std::vi") + "ews", std::string("console.") + "log("};
  for (const auto& file : sources()) {
    for (const Line& line : file) {
      for (const std::string& word : leftovers) {
        EXPECT_EQ(line.text.find(word), std::string::npos) << line.where() << ": " << word;
      }
    }
  }
}

TEST(Tidy, HeadersAreGuardedOnce) {
  for (const auto& file : sources()) {
    if (file.empty() || !file.front().file.ends_with(".h")) continue;
    const auto guards = std::ranges::count(file, "#pragma once", &Line::text);
    EXPECT_EQ(guards, 1) << file.front().file;
  }
}

}  // namespace
