// run_command: bash -c in the sandbox, its output made readable and cut to size.
#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "sandbox/run.h"
#include "tools/command_output.h"
#include "tools/desk_state.h"
#include "tools/prompt_watch.h"
#include "tools/shorten.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

constexpr std::string_view kSchema =
    R"({"name":"run_command","description":"Run a shell command in the sandbox (bash -c, )"
    R"(fresh shell, no stdin). Returns exit code and output. Runs at most timeout_s; with )"
    R"(wait_s it returns early and keeps the command running as a job.",)"
    R"("parameters":{"type":"object","properties":{"command":{"type":"string"},)"
    R"("dir":{"type":"string","description":"working directory, default: workspace root"},)"
    R"("timeout_s":{"type":"integer","description":"default 120, at most 3600"},)"
    R"("wait_s":{"type":"integer","description":"return after this many seconds if still )"
    R"(running"}},"required":["command"]}})";

constexpr std::int64_t kSecondsDefault = 120;
constexpr std::int64_t kSecondsMax = 3600;
constexpr int kTokensMax = 6000;
constexpr int kCommandCharactersMax = 200;
constexpr std::chrono::seconds kSilenceMax{10};

using By = sandbox::Exit::By;

struct Request {
  std::string command;
  std::string folder = {};  // relative to the workspace
  std::int64_t seconds = kSecondsDefault;
  bool waits = false;  // wait_s decided the seconds
};

// What a command did, with its raw output.
struct Run {
  sandbox::Exit exit;
  std::string output;
  bool waited_for_input = false;
};

tl::expected<Request, Outcome> read_request(const Desk::State& desk, const Arguments& arguments) {
  Request request{.command = *arguments.text("command")};
  if (request.command.find('\0') != std::string::npos) {
    return tl::unexpected(refuse(Status::invalid, "run_command: the command holds a NUL byte."));
  }
  if (const auto dir = arguments.text("dir")) {
    const auto path = spell(desk, *dir, Access::read);
    if (!path) return tl::unexpected(path.error());
    const auto entry = desk.workspace.list(*path);
    if (!entry) {
      return tl::unexpected(refuse(Status::failed, fmt::format("There is no folder {}.", *path)));
    }
    request.folder = *path == "." ? "" : *path;
  }
  for (const char* name : {"timeout_s", "wait_s"}) {
    const auto seconds = arguments.integer(name);
    if (!seconds) continue;
    if (*seconds < 1 || *seconds > kSecondsMax) {
      return tl::unexpected(refuse(
          Status::invalid,
          fmt::format("run_command needs {} from 1 to {}. Got: {}.", name, kSecondsMax, *seconds)));
    }
    request.waits = name == std::string_view("wait_s") && *seconds < request.seconds;
    request.seconds = request.waits                           ? *seconds
                      : name == std::string_view("timeout_s") ? *seconds
                                                              : request.seconds;
  }
  return request;
}

Run execute(const Desk::State& desk, const Request& request, const OutputCallback& output,
            std::stop_token stop) {
  sandbox::Policy policy = desk.policy;
  policy.limits.seconds = static_cast<double>(request.seconds);
  Run run;
  TerminalFilter filter;
  PromptWatch watch(kSilenceMax, std::move(stop));
  const auto pass_on = [&](const std::string& text) {
    if (text.empty()) return;
    watch.saw(text);
    output(text);
  };
  run.exit = sandbox::run(
      {.argv = {"bash", "-c", request.command}, .directory = request.folder}, policy,
      [&](std::string_view bytes) {
        run.output += bytes;
        pass_on(filter.feed(bytes));
      },
      watch.token());
  pass_on(filter.finish());
  run.waited_for_input = watch.stopped();
  return run;
}

// "exit 2 · 8.4 s · run_command make test"
std::string header_of(const Run& run, const std::string& command) {
  const std::string text = repair_utf8(command);
  std::string line = text.substr(0, text.find('\n'));
  bool cut = line.size() < text.size();
  if (count_characters(line) > kCommandCharactersMax) {
    line = cut_line(line, kCommandCharactersMax);
    line.resize(line.rfind("[…"));
    cut = true;
  }
  return fmt::format("exit {} · {:.1f} s · run_command {}{}", run.exit.code, run.exit.seconds, line,
                     cut ? " …" : "");
}

// Programs probe for what they can do without; only a command that failed may have needed it.
std::vector<sandbox::Denial> denied_to(const Run& run) {
  return run.exit.code == 0 ? std::vector<sandbox::Denial>() : run.exit.denied;
}

bool wants_network(const sandbox::Denial& denial) {
  return denial.call == "connect";
}

// The same for people.
std::vector<Denial> denials_of(const Run& run) {
  std::vector<Denial> denials;
  for (const sandbox::Denial& denial : denied_to(run)) {
    const bool network = wants_network(denial);
    denials.push_back({.what = network ? "network" : denial.call,
                       .target = "",
                       .rule = network ? "network off" : "system calls",
                       .say = denial.sentence,
                       .count = denial.count});
  }
  for (const sandbox::SetAside& planted : run.exit.planted) {
    denials.push_back(
        {.what = "plant",
         .target = repair_utf8(planted.path),
         .rule = "protected",
         .say = fmt::format("The command made {}, a name that can run commands later. "
                            "It was set aside as {}.",
                            repair_utf8(planted.path), repair_utf8(planted.kept.string()))});
  }
  return denials;
}

// Why the command was ended, or what was kept from it: one sentence a line.
std::vector<std::string> remarks_on(const Run& run, const Request& request) {
  std::vector<std::string> remarks;
  if (run.waited_for_input) {
    remarks.emplace_back(
        "stopped: it waits for input; there is no stdin. Give the answer as a flag or by a pipe.");
  } else if (run.exit.by == By::time && request.waits) {
    remarks.push_back(
        fmt::format("stopped after {} s: wait_s ends the command, as there are no "
                    "jobs yet. Output so far below. Longer: timeout_s up to {}.",
                    request.seconds, kSecondsMax));
  } else if (run.exit.by == By::time) {
    remarks.push_back(
        fmt::format("stopped after {} s. Output so far below. Longer: timeout_s up "
                    "to {}.",
                    request.seconds, kSecondsMax));
  } else if (run.exit.by == By::cancel) {
    remarks.emplace_back("stopped by the user. Output so far below.");
  } else if (run.exit.by != By::command) {
    remarks.push_back(run.exit.sentence);
  }
  for (const sandbox::Denial& denial : denied_to(run)) {
    remarks.push_back(wants_network(denial)
                          ? "denied: network is off. Installed packages: pip list. No other way "
                            "will work; tell the user if it is needed."
                          : denial.sentence);
  }
  for (const sandbox::SetAside& planted : run.exit.planted) {
    remarks.push_back(
        fmt::format("{} was set aside: files of this name can run commands later. "
                    "Tell the user if it is needed.",
                    planted.path));
  }
  return remarks;
}

Status status_of(const Run& run) {
  if (run.exit.by == By::time || run.waited_for_input) return Status::timeout;
  return run.exit.code == 0 && run.exit.by == By::command ? Status::ok : Status::failed;
}

Outcome run_command_of(Desk::State& desk, const Arguments& arguments, const OutputCallback& output,
                       std::stop_token stop) {
  const auto request = read_request(desk, arguments);
  if (!request) return request.error();
  const Run run = execute(desk, *request, output, std::move(stop));

  Outcome outcome{.status = status_of(run), .exit = run.exit.code, .seconds = run.exit.seconds};
  outcome.denied = denials_of(run);
  std::vector<std::string> parts = remarks_on(run, *request);
  parts.insert(parts.begin(), header_of(run, request->command));
  const std::string readable = readable_output(run.output);
  const Shortened shown = shorten_middle(readable, kTokensMax, desk.options.count_tokens);
  if (shown.whole()) {
    parts.push_back(readable.empty() ? "(no output)" : readable);
  } else {
    outcome.full = join(parts, "\n") + "\n" + readable;
    const auto taken = [&](const std::string& name) {
      return desk.workspace.stat(name).has_value();
    };
    outcome.omitted = Omitted{.lines = shown.lines_left_out,
                              .tokens = shown.tokens_left_out,
                              .kept_in = desk.kept.keep(readable, taken)};
    const std::string note =
        left_out_note(shown.lines_left_out, shown.tokens_left_out, outcome.omitted->kept_in);
    for (const std::string& part : {shown.head, note, shown.tail}) {
      if (!part.empty()) parts.push_back(part);
    }
  }
  outcome.text = join(parts, "\n");
  return outcome;
}

}  // namespace

Tool run_command(Desk::State& desk) {
  return {.name = "run_command",
          .schema = std::string(kSchema),
          .effect = Effect::writes,
          .run = [&desk](const Arguments& arguments, const OutputCallback& output,
                         std::stop_token stop) {
            return run_command_of(desk, arguments, output, std::move(stop));
          }};
}

}  // namespace fathom::tools
