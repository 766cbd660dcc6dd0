// What the standard tools share. Private to tools/.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "sandbox/policy.h"
#include "sandbox/workspace.h"
#include "tools/desk.h"
#include "tools/kept_texts.h"
#include "tools/seen_lines.h"
#include "tools/tool.h"

namespace fathom::tools {

// A larger file is no text to read, and would stand in memory several times.
constexpr std::int64_t kFileBytesMax = 64 * sandbox::kMiB;

struct Desk::State {
  State(DeskOptions given, sandbox::Policy policy_given);

  DeskOptions options;
  sandbox::Policy policy;
  sandbox::Workspace workspace;
  SeenLines seen;
  KeptTexts kept;
};

Tool read_file(Desk::State& desk);
Tool write_file(Desk::State& desk);
Tool edit_file(Desk::State& desk);
Tool search_files(Desk::State& desk);
Tool run_command(Desk::State& desk);

// An outcome that did nothing, with the reason as its text.
Outcome refuse(Status status, std::string text);

// What a tool wanted to do with a file when it was refused.
enum class Access { read, write };

// The workspace's refusal in the words of the outcome texts; `path` as the model gave it.
Outcome refuse(const Desk::State& desk, const sandbox::Refusal& refusal, std::string_view path,
               Access access);

// "There is no file PATH. Similar names: a, b, c."
std::string no_such_file(const Desk::State& desk, const std::string& path);

// The path relative to the workspace, "." for the workspace itself.
tl::expected<std::string, Outcome> spell(const Desk::State& desk, std::string_view path,
                                         Access access);

// The text of a file that is about to be changed: regular, not a symbolic link, not binary.
// Nothing if it does not exist.
tl::expected<std::optional<std::string>, Outcome> text_before_change(const Desk::State& desk,
                                                                     const std::string& path);

// "K TEXT" per line for lines first … last (from 1) of a file, as the model sees them.
std::string numbered(const std::vector<std::string_view>& lines, int first, int last);
std::string numbered_line(std::string_view line, int number);

// "src/a.c changed since you saw it (line 41). Now: …" with lines first … last, which count as
// shown from here on.
Outcome stale(Desk::State& desk, const std::string& path,
              const std::vector<std::string_view>& lines, int changed, int first, int last);

// "You have not seen lines 300-320 of src/a.c. Read them first."
Outcome not_shown(const std::string& path, int first, int last);

}  // namespace fathom::tools
