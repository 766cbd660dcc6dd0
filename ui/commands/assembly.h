// Builds every part that a conversation works with from options; shared by `run` and `serve`.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "engine/engine.h"
#include "memory/store.h"
#include "ui/commands/run.h"

namespace fathom::ui {

struct AssemblyOptions {
  ModelOptions model;
  CacheOptions cache;
  std::filesystem::path workspace = ".";
  std::vector<std::filesystem::path> writable_folders;
  std::string sandbox = "workspace";  // read-only, workspace
  std::vector<std::string> tools;     // empty: those of the prompt profile
  bool no_tools = false;
  std::string system;         // replaces the system text
  std::string append_system;  // follows it
  bool bare = false;          // no AGENTS.md

  agent::Budget budget;
  std::optional<double> temperature;
  std::uint64_t seed = 0;
  std::string verify;
  std::function<int()> stop_signal;  // agent::AgentOptions::stop_signal

  std::filesystem::path store;  // database; empty: memory::Store::default_path()
  bool ephemeral = false;       // in memory, gone with the assembly

  std::function<void(std::int64_t bytes, std::int64_t total)> on_progress;  // of loading
};

// One loaded engine, one store and one workspace; any number of conversations over them, each with
// an engine session, tools and a sandbox of its own. Safe to use from several threads.
class Assembly {
 public:
  // Loads the model. Throws engine::Error, sandbox::Error, memory::Error, agent::Error, or
  // UsageError if a tool is named that does not exist.
  explicit Assembly(const AssemblyOptions& options);
  ~Assembly();
  Assembly(const Assembly&) = delete;
  Assembly& operator=(const Assembly&) = delete;

  memory::Store& store() noexcept;
  const engine::Engine& engine() const noexcept;
  const std::filesystem::path& workspace() const noexcept;  // absolute
  const std::string& model_name() const noexcept;

  // Throws sandbox::Error if commands may have to run and cannot be isolated here.
  void require_sandbox() const;

  // Agents over a new conversation, and over one of the store (whole id). The agent is used by one
  // thread at a time; `sink` and this assembly outlive it. `cause`: memory::NewConversation::cause.
  std::unique_ptr<agent::Agent> start(agent::EventSink& sink, const std::string& cause = {});
  std::unique_ptr<agent::Agent> resume(std::string_view conversation, agent::EventSink& sink);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace fathom::ui
