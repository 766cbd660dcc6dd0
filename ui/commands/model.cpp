// `fathom model`.
#include "ui/commands/model.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "engine/model_files.h"
#include "ui/commands/model_path.h"
#include "ui/commands/size_text.h"

namespace fathom::ui {
namespace {

using engine::ModelConfig;
using engine::ModelSummary;
using engine::Rounding;
using nlohmann::json;

constexpr int kExitDamaged = 9;
constexpr std::size_t kNamesShown = 10;
constexpr std::chrono::seconds kInterval{2};  // between lines about progress

constexpr std::pair<const char*, Rounding> kRoundings[] = {
    {"exact", Rounding::exact}, {"f16", Rounding::f16}, {"official", Rounding::official}};

std::string count_text(std::int64_t count) {
  const auto value = static_cast<double>(count);
  if (count >= 1'000'000'000) return fmt::format("{:.2f} B", value / 1e9);
  if (count >= 1'000'000) return fmt::format("{:.2f} M", value / 1e6);
  return fmt::format("{}", count);
}

// "1 file", "2 files".
std::string plural(std::int64_t count, std::string_view word) {
  return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

std::vector<int> trunk_ratios(const ModelConfig& config) {
  return {config.compress_ratios.begin(),
          config.compress_ratios.begin() + config.num_hidden_layers};
}

// Names in files are bytes; what is not UTF-8 must not make the output malformed.
void print_object(const json& object) {
  fmt::print("{}\n", object.dump(-1, ' ', false, json::error_handler_t::replace));
}

json config_json(const ModelConfig& c) {
  return {{"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"layers", c.num_hidden_layers},
          {"compress_ratios", trunk_ratios(c)},
          {"hash_layers", c.num_hash_layers},
          {"heads", c.num_attention_heads},
          {"head_dim", c.head_dim},
          {"sliding_window", c.sliding_window},
          {"index_topk", c.index_topk},
          {"experts", c.n_routed_experts},
          {"experts_per_token", c.num_experts_per_tok},
          {"max_context", c.max_position_embeddings}};
}

// What --weights-memory needs at least, and what it makes of the bytes that were asked for.
json weights_json(const ModelSummary& summary, std::int64_t bytes) {
  const engine::OffloadNeeds& needs = summary.offload;
  json plan = {{"dense", needs.dense_bytes},
               {"experts", needs.experts},
               {"expert", needs.frame_bytes},
               {"least", needs.least()}};
  if (bytes >= needs.least()) {
    plan["experts_in_memory"] = needs.frames(bytes);
    plan["in_memory"] = needs.bytes(bytes);
  }
  return plan;
}

json memory_json(const ModelSummary& summary, const ModelFileOptions& options,
                 std::int64_t context) {
  json plan = {
      {"context", context},
      {"weights_mapped", summary.file_bytes},
      {"weights_memory", weights_json(summary, static_cast<std::int64_t>(options.weights_memory))}};
  for (const auto& [name, rounding] : kRoundings) {
    if (rounding == Rounding::official && !engine::supports_official(summary.config)) continue;
    const auto bytes = engine::kv_bytes(summary.config, rounding, context);
    plan["kv"][name] = {{"window", bytes.window},
                        {"compressed", bytes.compressed},
                        {"keys", bytes.keys},
                        {"state", bytes.state},
                        {"total", bytes.total()}};
  }
  return plan;
}

void print_json(const std::string& path, const ModelSummary& s, const ModelFileOptions& options,
                std::int64_t context) {
  json formats = json::object();
  for (const auto& format : s.formats) {
    formats[format.name] = {{"tensors", format.tensors}, {"bytes", format.bytes}};
  }
  const json object = {{"path", path},
                       {"container", s.container},
                       {"architecture", "deepseek4"},
                       {"family", engine::family_name(s.config.family)},
                       {"config", config_json(s.config)},
                       {"mtp_blocks", s.config.num_nextn_predict_layers},
                       {"parameters",
                        {{"main", s.parameters},
                         {"mtp", s.mtp_parameters},
                         {"active_per_token", s.active_parameters}}},
                       {"files", s.files},
                       {"file_bytes", s.file_bytes},
                       {"tensors", s.tensors},
                       {"formats", formats},
                       {"tokenizer", s.has_tokenizer},
                       {"drafter_tensors", s.drafter_tensors},
                       {"extra_tensors", s.extra_tensors},
                       {"memory", memory_json(s, options, context)}};
  print_object(object);
}

void print_line(std::string_view label, const std::string& text) {
  fmt::print("{:<11} {}\n", label, text);
}

void print_extras(const ModelSummary& s) {
  if (s.drafter_tensors > 0) {
    print_line("drafter", fmt::format("{}, not used", plural(s.drafter_tensors, "tensor")));
  }
  if (s.extra_tensors.empty()) return;
  const auto shown = std::min(s.extra_tensors.size(), kNamesShown);
  print_line("extra",
             fmt::format("{} that the architecture does not know: {}{}",
                         plural(std::ssize(s.extra_tensors), "tensor"),
                         fmt::join(s.extra_tensors.begin(),
                                   s.extra_tensors.begin() + static_cast<long>(shown), ", "),
                         shown < s.extra_tensors.size() ? ", …" : ""));
}

std::string weights_text(const ModelSummary& s, std::int64_t bytes) {
  const engine::OffloadNeeds& needs = s.offload;
  if (bytes == 0) {
    return fmt::format("{} mapped; with --weights-memory at least {}", size_text(s.file_bytes),
                       size_text(needs.least()));
  }
  if (bytes < needs.least()) {
    return fmt::format("--weights-memory {} is too little, expected at least {} ({})",
                       size_text(bytes), size_text(needs.least()), needs.least());
  }
  return fmt::format("{} = dense {}, {} of {} experts of {}; at least {}",
                     size_text(needs.bytes(bytes)), size_text(needs.dense_bytes),
                     needs.frames(bytes), needs.experts, size_text(needs.frame_bytes),
                     size_text(needs.least()));
}

void print_memory(const ModelSummary& s, const ModelFileOptions& options, std::int64_t context) {
  fmt::print("memory for {} tokens\n", context);
  print_line("  weights", weights_text(s, static_cast<std::int64_t>(options.weights_memory)));
  for (const auto& [name, rounding] : kRoundings) {
    const std::string label = fmt::format("  {}", name);
    if (rounding == Rounding::official && !engine::supports_official(s.config)) {
      print_line(label, "not possible: needs groups of 64 without rotary part, keys of 32");
      continue;
    }
    const auto bytes = engine::kv_bytes(s.config, rounding, context);
    print_line(label, fmt::format("{} = window {}, compressed {}, keys {}, state {}",
                                  size_text(bytes.total()), size_text(bytes.window),
                                  size_text(bytes.compressed), size_text(bytes.keys),
                                  size_text(bytes.state)));
  }
}

void print_text(const std::string& path, const ModelSummary& s, const ModelFileOptions& options,
                std::int64_t context) {
  const ModelConfig& c = s.config;
  print_line("model", fmt::format("{} ({})", path, s.container));
  print_line("family", fmt::format("{}, architecture deepseek4", engine::family_name(c.family)));
  print_line("layers", fmt::format("{}, compression {}", c.num_hidden_layers,
                                   fmt::join(trunk_ratios(c), " ")));
  print_line("routing", fmt::format("{} of {} experts, {} by token id", c.num_experts_per_tok,
                                    c.n_routed_experts, plural(c.num_hash_layers, "layer")));
  print_line("parameters",
             fmt::format("{}, {} active per token{}", count_text(s.parameters),
                         count_text(s.active_parameters),
                         s.mtp_parameters == 0
                             ? std::string(", no MTP block")
                             : fmt::format(", {} more in {}", count_text(s.mtp_parameters),
                                           plural(c.num_nextn_predict_layers, "MTP block"))));
  print_line("tensors", fmt::format("{} in {}, {}", s.tensors, plural(s.files, "file"),
                                    size_text(s.file_bytes)));
  for (const auto& format : s.formats) {
    print_line("  " + format.name,
               fmt::format("{} in {}", size_text(format.bytes), plural(format.tensors, "tensor")));
  }
  print_line("tokenizer", s.has_tokenizer ? "present" : "missing");
  print_extras(s);
  print_memory(s, options, context);
}

int info(const ModelFileOptions& options, const std::string& path) {
  const ModelSummary summary = engine::summarize_model(path);
  const std::int64_t context =
      options.context > 0 ? options.context : summary.config.max_position_embeddings;
  (options.json ? print_json : print_text)(path, summary, options, context);
  return 0;
}

// Says on stderr how far a long read has come, every two seconds.
std::function<void(std::int64_t, std::int64_t)> show_progress() {
  using Clock = std::chrono::steady_clock;
  return [next = Clock::now() + kInterval](std::int64_t bytes, std::int64_t total) mutable {
    if (Clock::now() < next) return;
    next = Clock::now() + kInterval;
    fmt::print(stderr, "read {} of {}\n", size_text(bytes), size_text(total));
  };
}

int check(const ModelFileOptions& options, const std::string& path) {
  const ModelSummary summary = engine::summarize_model(path);
  const auto damage = engine::find_damage(path, show_progress());
  for (const std::string& sentence : damage) fmt::print(stderr, "fathom: {}\n", sentence);
  if (options.json) {
    print_object({{"path", path},
                  {"ok", damage.empty()},
                  {"damage", damage},
                  {"extra_tensors", summary.extra_tensors}});
  } else if (damage.empty()) {
    print_extras(summary);
    fmt::print("ok\n");
  }
  return damage.empty() ? 0 : kExitDamaged;
}

}  // namespace

int model(const ModelFileOptions& options) {
  const std::string path = find_model(options.path).string();
  return options.action == "check" ? check(options, path) : info(options, path);
}

}  // namespace fathom::ui
