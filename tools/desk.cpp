// Puts the shared parts of the standard tools together, and words their refusals.
#include "tools/desk.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tools/desk_state.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

// Names are compared with so many files at most; more take longer than a hint is worth.
constexpr std::size_t kComparedFilesMax = 20'000;
constexpr std::size_t kSimilarNames = 3;

constexpr int kLineCharactersMax = 1000;
constexpr int kStaleLinesMax = 40;

std::vector<std::string> file_paths(const sandbox::Workspace& workspace) {
  std::vector<std::string> paths;
  static_cast<void>(workspace.walk("", [&](const sandbox::Entry& entry) {
    using Walk = sandbox::Workspace::Walk;
    if (entry.path.ends_with(".git") && entry.path.substr(entry.path.rfind('/') + 1) == ".git") {
      return Walk::skip;
    }
    if (entry.kind == sandbox::Entry::Kind::file) paths.push_back(entry.path);
    return paths.size() < kComparedFilesMax ? Walk::on : Walk::stop;
  }));
  return paths;
}

std::string denied_outside(const Desk::State& desk, std::string_view path, Access access) {
  const std::string root = desk.workspace.root();
  if (access == Access::read) {
    return fmt::format(
        "denied: read of {}. read_file and search_files work in {}. run_command can read system "
        "folders; nothing else can be read. Tell the user if it is needed.",
        path, root);
  }
  if (path.starts_with("/tmp/")) {
    return fmt::format(
        "denied: write to {}. write_file and edit_file work in {}. In /tmp only run_command can "
        "write, and what it writes there is gone when the command ends.",
        path, root);
  }
  return fmt::format(
      "denied: write to {}. The sandbox allows writing in {} and /tmp. No other way will work; "
      "tell the user if it is needed.",
      path, root);
}

// A refusal by the sandbox's rules: `text` is for the model, `because` ends the sentence for
// people.
Outcome deny(std::string text, std::string_view path, Access access, std::string_view rule,
             std::string_view because) {
  const bool reads = access == Access::read;
  const std::string target = repair_utf8(path);
  Outcome outcome = refuse(Status::denied, std::move(text));
  outcome.denied = {{.what = reads ? "read" : "write",
                     .target = target,
                     .rule = std::string(rule),
                     .say = fmt::format("The model tried to {} {}, {}.{}", reads ? "read" : "write",
                                        target, because, reads ? "" : " Nothing was changed.")}};
  return outcome;
}

}  // namespace

Desk::State::State(DeskOptions given, sandbox::Policy policy_given)
    : options(std::move(given)),
      policy(std::move(policy_given)),
      workspace(options.workspace, policy.profile),
      kept(options.kept) {
  policy.workspace = workspace.root();
  if (!options.count_tokens) options.count_tokens = estimate_tokens;
}

Desk::Desk(DeskOptions options, const sandbox::Policy& policy)
    : state_(std::make_unique<State>(std::move(options), policy)) {}

Desk::~Desk() = default;

std::vector<Tool> standard_tools(Desk& desk) {
  Desk::State& state = desk.state();
  std::vector<Tool> tools;
  for (auto make : {run_command, read_file, write_file, edit_file, search_files}) {
    tools.push_back(make(state));
  }
  return tools;
}

Outcome refuse(Status status, std::string text) {
  return {.status = status, .text = repair_utf8(text)};
}

Outcome refuse(const Desk::State& desk, const sandbox::Refusal& refusal, std::string_view path,
               Access access) {
  using Kind = sandbox::Refusal::Kind;
  switch (refusal.kind) {
    case Kind::outside:
      return deny(denied_outside(desk, path, access), path, access, "outside",
                  "which is outside the workspace");
    case Kind::protected_path:
      return deny(fmt::format("denied: write to {}. Files of this name can run commands later, "
                              "so they are protected. No other way will work; tell the user if "
                              "it is needed.",
                              path),
                  path, access, "protected", "a name that can run commands later");
    case Kind::read_only:
      return deny(fmt::format("denied: write to {}. This run is read-only. No other way will "
                              "work; tell the user if it is needed.",
                              path),
                  path, access, "read-only", "but this run is read-only");
    case Kind::not_found:
      return refuse(Status::failed, no_such_file(desk, std::string(path)));
    case Kind::bad_path:
      return refuse(Status::invalid, refusal.text);
    default:
      return refuse(Status::failed, refusal.text);
  }
}

std::string no_such_file(const Desk::State& desk, const std::string& path) {
  std::vector<std::pair<int, std::string>> nearest;
  for (std::string& name : file_paths(desk.workspace)) {
    // Nothing farther than the worst of the best three is of interest.
    const int limit = nearest.size() < kSimilarNames ? INT_MAX : nearest.back().first + 1;
    const int distance = edit_distance(path, name, limit);
    if (distance >= limit) continue;
    nearest.emplace_back(distance, std::move(name));
    std::ranges::sort(nearest);
    nearest.resize(std::min(nearest.size(), kSimilarNames));
  }
  std::vector<std::string> names;
  for (auto& [distance, name] : nearest) names.push_back(std::move(name));
  const std::string similar = names.empty() ? "" : fmt::format(" Similar names: {}.", join(names));
  return fmt::format("There is no file {}.{}", path, similar);
}

tl::expected<std::string, Outcome> spell(const Desk::State& desk, std::string_view path,
                                         Access access) {
  auto spelled = desk.workspace.relative(path);
  if (!spelled) return tl::unexpected(refuse(desk, spelled.error(), path, access));
  return spelled->empty() ? "." : std::move(*spelled);
}

tl::expected<std::optional<std::string>, Outcome> text_before_change(const Desk::State& desk,
                                                                     const std::string& path) {
  using Kind = sandbox::Entry::Kind;
  const auto entry = desk.workspace.stat(path);
  if (!entry && entry.error().kind == sandbox::Refusal::Kind::not_found) return std::nullopt;
  if (!entry) return tl::unexpected(refuse(desk, entry.error(), path, Access::write));
  if (entry->kind == Kind::symlink) {
    return tl::unexpected(
        refuse(Status::failed,
               fmt::format("{} is a symbolic link. Name the file it leads to, or use run_command.",
                           path)));
  }
  auto text = desk.workspace.read(path, kFileBytesMax);
  if (!text) return tl::unexpected(refuse(desk, text.error(), path, Access::write));
  return std::move(*text);
}

std::string numbered_line(std::string_view line, int number) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return fmt::format("{} {}", number, cut_line(repair_utf8(line), kLineCharactersMax));
}

std::string numbered(const std::vector<std::string_view>& lines, int first, int last) {
  std::vector<std::string> shown;
  for (int i = first; i <= last; ++i) {
    shown.push_back(numbered_line(lines[static_cast<std::size_t>(i) - 1], i));
  }
  return join(shown, "\n");
}

Outcome stale(Desk::State& desk, const std::string& path,
              const std::vector<std::string_view>& lines, int changed, int first, int last) {
  last = std::min(last, first + kStaleLinesMax - 1);
  desk.seen.show(path, lines, first, last, /*as_a_whole=*/true);
  return refuse(Status::failed, fmt::format("{} changed since you saw it (line {}). Now:\n{}\n"
                                            "Send the edit again.",
                                            path, changed, numbered(lines, first, last)));
}

Outcome not_shown(const std::string& path, int first, int last) {
  const std::string which =
      first == last ? fmt::format("line {}", first) : fmt::format("lines {}-{}", first, last);
  return refuse(Status::failed, fmt::format("You have not seen {} of {}. Read {} first.", which,
                                            path, first == last ? "it" : "them"));
}

}  // namespace fathom::tools
