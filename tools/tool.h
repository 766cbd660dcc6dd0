// Tool: one thing a model may call; Outcome: what came of a call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace fathom::tools {

// What a call can do to the world. It decides whether a call may start before its block is closed,
// and whether somebody is asked first.
enum class Effect { reads, writes, leaves };  // leaves: talks to other machines

// ok: done. failed: tried, and it did not work (exit code 1 of a command, no such file).
// denied: the sandbox said no. timeout: stopped by the clock. invalid: the call itself was wrong.
enum class Status { ok, failed, denied, timeout, invalid };

// One file a call created, modified or deleted; the texts are for diffs and undo.
struct FileChange {
  std::string path;    // relative to the workspace
  std::string change;  // created, modified, deleted
  std::string before;  // empty for created
  std::string after;   // empty for deleted
};

// Something the sandbox refused, for people; the model reads it in the outcome's text.
struct Denial {
  std::string what;    // write, read, network, plant, or the name of a system call
  std::string target;  // path; empty where it is not known
  std::string rule;    // outside, protected, read-only, network off, system calls
  std::string say;     // one sentence
  int count = 1;
};

// What the model did not get to see of an outcome.
struct Omitted {
  std::int64_t lines = 0;
  std::int64_t tokens = 0;
  std::string kept_in;  // path for read_file, as "out/17.txt"
};

struct Outcome {
  Status status = Status::ok;
  std::string text = {};         // as the model sees it: header line, newline, body; valid UTF-8
  std::optional<int> exit = {};  // of a command
  double seconds = 0;
  std::optional<Omitted> omitted = {};
  std::vector<FileChange> files = {};
  std::vector<Denial> denied = {};
  std::string full = {};  // everything, for the store; empty: `text` is everything
};

// "ok", "failed", … and "reads", …: the words of the event stream.
std::string_view name(Status status) noexcept;
std::string_view name(Effect effect) noexcept;

// The arguments of a call that has passed its tool's schema: what it declares has its type.
class Arguments {
 public:
  // `object` must be a JSON object.
  explicit Arguments(const nlohmann::ordered_json& object);

  // The value, or nothing when the call does not give it. Asserts that the type is right.
  std::optional<std::string> text(std::string_view name) const;
  std::optional<std::int64_t> integer(std::string_view name) const;
  std::optional<bool> boolean(std::string_view name) const;

  bool has(std::string_view name) const;

  // "path, old": the names that were given, in their order; "nothing" if there are none.
  std::string names() const;

 private:
  std::shared_ptr<const nlohmann::ordered_json> object_;
};

// Receives output while a call runs: whole UTF-8 characters without terminal escapes, on the
// thread of the call. `\r` is left in. The outcome repeats all of it.
using OutputCallback = std::function<void(std::string_view text)>;

struct Tool {
  std::string name;
  std::string schema;  // the `function` object as rendered to the model: compact JSON
  Effect effect = Effect::reads;

  // Does it. Arguments are valid for the schema. May throw: Toolbox turns a failure into text.
  std::function<Outcome(const Arguments& arguments, const OutputCallback& output,
                        std::stop_token stop)>
      run;
};

}  // namespace fathom::tools
