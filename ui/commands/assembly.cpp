// Builds every part that a conversation works with.
#include "ui/commands/assembly.h"

#include <algorithm>
#include <mutex>
#include <random>
#include <utility>

#include <fmt/format.h>

#include "engine/prefix_cache.h"
#include "sandbox/error.h"
#include "sandbox/run.h"
#include "tools/desk.h"
#include "tools/error.h"
#include "tools/toolbox.h"
#include "ui/commands/branches.h"
#include "ui/commands/engine_options.h"
#include "ui/commands/model_path.h"
#include "ui/commands/usage_error.h"
#include "ui/version.h"

namespace fathom::ui {
namespace {

namespace fs = std::filesystem;

// A verification may build and test a whole project.
constexpr double kVerifySeconds = 1800;

// Enough to see why it failed; the last lines say it.
constexpr std::size_t kVerifyTextMax = 16 << 10;

sandbox::Policy policy_for(const AssemblyOptions& options, const fs::path& workspace) {
  sandbox::Policy policy;
  policy.profile = options.sandbox == "read-only" ? sandbox::Profile::read_only
                                                  : sandbox::Profile::workspace_write;
  policy.workspace = workspace;
  policy.write_roots = options.writable_folders;
  return policy;
}

// What confines a command here, or why nothing does.
struct Confinement {
  std::string tier;     // "user-namespace+landlock+seccomp"
  std::string trouble;  // empty: commands can run
};

Confinement confinement_of(const sandbox::Policy& policy) {
  using State = sandbox::Layer::State;
  const std::vector<sandbox::Layer> layers = sandbox::examine(policy);
  Confinement found;
  std::string missing;
  for (const sandbox::Layer& layer : layers) {
    if (layer.state == State::missing) missing = layer.why;
    // Layers behind one that could not be built were not reached.
    if (layer.state == State::not_reached && found.trouble.empty()) found.trouble = missing;
    if (layer.state == State::works) found.tier += (found.tier.empty() ? "" : "+") + layer.name;
  }
  if (!found.trouble.empty() || found.tier.empty()) found.tier = "none";
  return found;
}

// The end of a text, cut at a line.
std::string last_lines(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.size() <= kVerifyTextMax) return text;
  const std::size_t cut = text.find('\n', text.size() - kVerifyTextMax);
  return "…" +
         (cut == std::string::npos ? text.substr(text.size() - kVerifyTextMax) : text.substr(cut));
}

agent::Verdict verify(const std::string& command, sandbox::Policy policy, std::stop_token stop) {
  policy.limits.seconds = kVerifySeconds;
  std::string text;
  const sandbox::Exit exit = sandbox::run(
      {.argv = {"bash", "-c", command}, .directory = {}}, policy,
      [&text](std::string_view bytes) { text += bytes; }, std::move(stop));
  if (!exit.sentence.empty()) text += "\n" + exit.sentence;
  return {.exit = exit.code,
          .text = last_lines(std::move(text)),
          .cancelled = exit.by == sandbox::Exit::By::cancel};
}

// A text that is left by one thread and taken once by another.
class Word {
 public:
  void leave(const std::string& text) {
    const std::lock_guard lock(mutex_);
    text_ = text;
  }
  std::string take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(text_, {});
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

std::shared_ptr<engine::PrefixCache> cache_for(const AssemblyOptions& options,
                                               const engine::Engine& engine,
                                               const std::shared_ptr<Word>& trouble) {
  engine::PrefixCacheOptions cache;
  cache.memory_bytes = static_cast<std::int64_t>(options.cache.memory_bytes);
  cache.disk_bytes = static_cast<std::int64_t>(options.cache.disk_bytes);
  if (!options.ephemeral && cache.disk_bytes > 0) {
    cache.folder =
        options.cache.folder.empty() ? engine::PrefixCache::default_folder() : options.cache.folder;
  }
  cache.on_trouble = [trouble](const std::string& why) { trouble->leave(why); };
  return std::make_shared<engine::PrefixCache>(engine, std::move(cache));
}

// Known before minutes of loading, as a misspelt flag is.
void check_tool_names(const AssemblyOptions& options, const sandbox::Policy& policy) {
  if (options.tools.empty()) return;
  tools::Desk desk({.workspace = policy.workspace}, policy);
  tools::Toolbox toolbox(tools::standard_tools(desk));
  try {
    toolbox.keep(options.tools);
  } catch (const tools::Error& unknown) {
    throw UsageError(fmt::format("--tools: {}", unknown.what()));
  }
}

std::uint64_t seed_or_random(std::uint64_t seed) {
  if (seed != 0) return seed;
  std::random_device random;  // 32 bits a call; small enough for every reader of JSON numbers
  return random();
}

}  // namespace

struct Assembly::Parts {
  AssemblyOptions options;
  fs::path workspace;
  fs::path model_path;
  std::string model_name;
  memory::Store store;
  std::shared_ptr<const engine::Engine> engine;
  std::shared_ptr<const engine::Tokenizer> tokenizer;
  std::shared_ptr<Word> cache_trouble;
  std::shared_ptr<engine::PrefixCache> cache;
  sandbox::Policy policy;
  std::string vocabulary;
  Confinement confinement;

  fs::path kept_folder(const std::string& conversation) const;
  std::unique_ptr<tools::Toolbox> toolbox(const agent::Profile& profile,
                                          const agent::Conversation& conversation,
                                          tools::Desk& desk) const;
  agent::Profile profile() const;
  agent::AgentOptions agent_options(const agent::Profile& profile,
                                    const sandbox::Policy& commands) const;
  std::unique_ptr<agent::Agent> agent(agent::Conversation conversation, agent::EventSink& sink);
};

// Texts too long for an outcome stay readable when the conversation is resumed.
fs::path Assembly::Parts::kept_folder(const std::string& conversation) const {
  if (options.ephemeral) return {};
  return kept_texts(options.store, conversation);
}

// Those that are asked for, else those that the conversation began with.
std::unique_ptr<tools::Toolbox> Assembly::Parts::toolbox(const agent::Profile& profile,
                                                         const agent::Conversation& conversation,
                                                         tools::Desk& desk) const {
  auto toolbox = std::make_unique<tools::Toolbox>(tools::standard_tools(desk));
  std::vector<std::string> names = options.tools.empty() ? profile.tools : options.tools;
  if (options.tools.empty() && conversation.opening()) {
    names = conversation.opening()->tools;
    // One that another version of the program had.
    std::erase_if(names, [&](const std::string& name) { return toolbox->find(name) == nullptr; });
  }
  if (options.no_tools) names.clear();
  toolbox->keep(names);
  return toolbox;
}

agent::Profile Assembly::Parts::profile() const {
  agent::Profile profile = agent::load_profile(model_path);
  if (!options.system.empty()) profile.system = options.system;
  if (!options.append_system.empty()) profile.system += "\n\n" + options.append_system;
  if (!options.bare) profile.instructions = agent::read_instructions(workspace);
  return profile;
}

agent::AgentOptions Assembly::Parts::agent_options(const agent::Profile& profile,
                                                   const sandbox::Policy& commands) const {
  agent::AgentOptions agent;
  agent.budget = options.budget;
  agent.sampling.temperature = options.temperature.value_or(profile.temperature);
  agent.seed = seed_or_random(options.seed);
  agent.workspace = workspace;
  agent.program_version = version();
  agent.sandbox = {{"profile", sandbox::profile_name(commands.profile)},
                   {"tier", confinement.tier},
                   {"network", "off"}};
  agent.stop_signal = options.stop_signal;
  agent.replaces_system = !options.system.empty() || !options.append_system.empty() || options.bare;
  agent.replaces_tools = options.no_tools || !options.tools.empty();
  agent.cache_trouble = [word = cache_trouble] { return word->take(); };
  if (!options.verify.empty()) {
    agent.verify = [command = options.verify, commands](std::stop_token stop) {
      return verify(command, commands, std::move(stop));
    };
  }
  return agent;
}

std::unique_ptr<agent::Agent> Assembly::Parts::agent(agent::Conversation conversation,
                                                     agent::EventSink& sink) {
  const agent::Profile shape = profile();
  sandbox::Policy commands = policy;
  commands.environment["FATHOM_CONVERSATION"] = conversation.id();
  const auto desk = std::make_shared<tools::Desk>(
      tools::DeskOptions{.workspace = workspace,
                         .count_tokens =
                             [words = tokenizer](std::string_view text) {
                               return static_cast<int>(
                                   words->encode(text, engine::AddedTokens::plain).size());
                             },
                         .kept = kept_folder(conversation.id())},
      commands);
  return std::make_unique<agent::Agent>(
      agent::AgentParts{.model = agent::engine_model(engine, model_name, cache, conversation.id()),
                        .borrowed = desk,
                        .toolbox = toolbox(shape, conversation, *desk),
                        .store = store,
                        .sink = sink,
                        .profile = shape},
      std::move(conversation), agent_options(shape, commands));
}

Assembly::Assembly(const AssemblyOptions& options) {
  const fs::path workspace = fs::canonical(options.workspace);
  const sandbox::Policy policy = policy_for(options, workspace);
  check_tool_names(options, policy);
  const fs::path model_path = find_model(options.model.path);
  engine::EngineOptions chosen = engine_options(options.model);
  chosen.on_progress = options.on_progress;
  // The store first: a damaged one is known before minutes of loading.
  memory::Store store = options.ephemeral       ? memory::Store::in_memory()
                        : options.store.empty() ? memory::Store(memory::Store::default_path())
                                                : memory::Store(options.store);
  auto engine = load_engine(model_path, chosen, options.model);
  auto tokenizer = engine->tokenizer();
  auto trouble = std::make_shared<Word>();
  auto cache = cache_for(options, *engine, trouble);
  parts_ = std::make_unique<Parts>(
      Parts{.options = options,
            .workspace = workspace,
            .model_path = model_path,
            .model_name = model_path.has_filename() ? model_path.filename().string()
                                                    : model_path.parent_path().filename().string(),
            .store = std::move(store),
            .engine = std::move(engine),
            .tokenizer = tokenizer,
            .cache_trouble = std::move(trouble),
            .cache = std::move(cache),
            .policy = policy,
            .vocabulary = agent::vocabulary_of(*tokenizer),
            .confinement = confinement_of(policy)});
}

Assembly::~Assembly() = default;

memory::Store& Assembly::store() noexcept {
  return parts_->store;
}
const engine::Engine& Assembly::engine() const noexcept {
  return *parts_->engine;
}
const fs::path& Assembly::workspace() const noexcept {
  return parts_->workspace;
}
const std::string& Assembly::model_name() const noexcept {
  return parts_->model_name;
}

void Assembly::require_sandbox() const {
  const Parts& parts = *parts_;
  if (parts.confinement.trouble.empty()) return;
  const std::vector<std::string> tools = parts.options.no_tools        ? std::vector<std::string>()
                                         : parts.options.tools.empty() ? parts.profile().tools
                                                                       : parts.options.tools;
  const bool runs_commands = std::ranges::find(tools, "run_command") != tools.end();
  if (runs_commands || !parts.options.verify.empty()) {
    throw sandbox::Error(parts.confinement.trouble);
  }
}

std::unique_ptr<agent::Agent> Assembly::start(agent::EventSink& sink, const std::string& cause) {
  return parts_->agent(
      agent::Conversation(parts_->store, {.workspace = parts_->workspace.string(),
                                          .model = parts_->model_name,
                                          .fingerprint = std::string(parts_->engine->fingerprint()),
                                          .vocabulary = parts_->vocabulary,
                                          .cause = cause}),
      sink);
}

std::unique_ptr<agent::Agent> Assembly::resume(std::string_view conversation,
                                               agent::EventSink& sink) {
  return parts_->agent(agent::Conversation::resume(parts_->store, conversation, parts_->vocabulary),
                       sink);
}

}  // namespace fathom::ui
