// The program: reads flags, hands them to the command that was named, and turns failures into
// exit codes.
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <malloc.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "engine/convert_model.h"
#include "engine/error.h"
#include "engine/kernel_sets.h"
#include "sandbox/error.h"
#include "sandbox/policy.h"
#include "ui/commands/bench.h"
#include "ui/commands/bench_verify.h"
#include "ui/commands/cache.h"
#include "ui/commands/complaint.h"
#include "ui/commands/conversation.h"
#include "ui/commands/debug.h"
#include "ui/commands/model.h"
#include "ui/commands/option_values.h"
#include "ui/commands/run.h"
#include "ui/commands/sandbox.h"
#include "ui/commands/serve.h"
#include "ui/commands/tool.h"
#include "ui/commands/usage_error.h"
#include "ui/version.h"

namespace {

namespace ui = fathom::ui;

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int kExitNoSandbox = 8;
constexpr int kExitNoEngine = 9;

// The command that was named on the command line; set by the callback of its subcommand.
using Chosen = std::function<int()>;

void add_weights_memory(CLI::App& app, std::uint64_t& bytes) {
  app.add_option("--weights-memory", bytes,
                 "Keep so much of the weights in memory, read experts beyond it from disk; 24G")
      ->transform(ui::bytes_from(0));
}

void add_threads(CLI::App& app, int& threads) {
  app.add_option("--threads", threads, "0: one per core")->check(CLI::Range(0, ui::kThreadsMax));
}

void add_model_flags(CLI::App& app, ui::ModelOptions& model) {
  app.add_option(
      "-m,--model", model.path,
      "GGUF file or Hugging Face folder (default: FATHOM_MODEL, else the embedded model)");
  std::vector<std::string> kernels = fathom::engine::kernel_sets();
  kernels.insert(kernels.begin(), "auto");
  app.add_option("--kernels", model.kernels, "a set of kernels, or auto")
      ->envname("FATHOM_KERNELS")
      ->check(CLI::IsMember(kernels));
  add_threads(app, model.threads);
  app.add_option("--mtp", model.mtp,
                 "Drafts tokens ahead, which changes no result: auto (the model's own MTP block), "
                 "off, or a file that holds the block");
  app.add_option("--draft", model.draft,
                 "Tokens that are drafted each time, 1 to 3 (default: as many as pay)")
      ->check(CLI::Range(1, 3));
  add_weights_memory(app, model.weights_memory);
}

void add_cache_flags(CLI::App& app, ui::CacheOptions& cache) {
  app.add_option("--cache", cache.folder,
                 "Folder of computed tokens (default: $XDG_CACHE_HOME/fathom/kv)")
      ->envname("FATHOM_CACHE");
  app.add_option("--cache-memory", cache.memory_bytes, "Bytes beyond running conversations; 4G")
      ->transform(ui::bytes_from(0));
  app.add_option("--cache-disk", cache.disk_bytes, "Bytes of the folder; 64G, 0: none")
      ->transform(ui::bytes_from(0));
}

void add_run(CLI::App& program, ui::RunOptions& run, Chosen& chosen) {
  CLI::App& app = *program.add_subcommand("run", "Do one task here and end with its result");
  app.alias("exec");
  app.add_option("prompt", run.prompt, "The task; - reads it from standard input");
  add_model_flags(app, run.model);
  add_cache_flags(app, run.cache);
  app.add_flag("--explain-cache", run.explain_cache,
               "Say at every prefill what was reused, and why not more");
  app.add_option("-C,--cd", run.workspace, "Workspace (default: this directory)")
      ->check(ui::folder());
  app.add_option("--add-dir", run.writable_folders, "Further writable folder")
      ->allow_extra_args(false)
      ->check(ui::folder());
  app.add_flag("-c,--continue", run.continue_latest, "Go on with the latest conversation here");
  app.add_option("-r,--resume", run.resume,
                 "Go on with this conversation: its id, how that begins, or words of a message");
  app.add_flag("--fork", run.fork, "With -c or -r: go on with a copy");
  app.add_option("--at", run.at,
                 "With -c or -r: from this step (7, or TURN.STEP); what followed is kept")
      ->check(ui::step());
  app.add_option("--mode", run.mode,
                 "auto chooses per step whether to think; high and max ask for more of it, which "
                 "in a conversation that is resumed costs computing all of it again")
      ->check(CLI::IsMember({"auto", "fast", "think", "high", "max"}));
  app.add_option("--think-budget", run.think_budget, "Thinking tokens per step, 0: no limit")
      ->check(ui::count_from(0));
  app.add_option("--max-steps", run.steps_max, "0: no limit")->check(ui::count_from(0));
  app.add_option("--max-tokens", run.tokens_max, "Sampled tokens in all, 0: no limit")
      ->check(ui::count_from(0));
  app.add_option("--max-seconds", run.seconds_max, "0: no limit")->check(ui::not_negative());
  app.add_option("--seed", run.seed, "Makes sampling repeatable, 0: another one each time")
      ->check(ui::seed());
  app.add_option("--temperature", run.temperature, "0: always the likeliest token")
      ->check(ui::not_negative());
  app.add_option("--verify", run.verify,
                 "Command that must succeed after the answer (else exit 3)");
  app.add_option("--sandbox", run.sandbox, "What commands may do")
      ->check(CLI::IsMember({"read-only", "workspace"}));
  app.add_option("--network", run.network, "off is what this version offers")
      ->check(CLI::IsMember({"off"}));
  // One word each, or the task behind them would be taken for another one.
  app.add_option("--tools", run.tools, "Only these tools, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_flag("--no-tools", run.no_tools, "Answer without tools");
  app.add_option("--system", run.system, "Replaces the system text");
  app.add_option("--append-system", run.append_system, "Follows the system text");
  app.add_flag("--bare", run.bare, "Do not read AGENTS.md");
  app.add_option("--output-format", run.output_format, "What standard output carries")
      ->check(CLI::IsMember({"text", "json", "stream-json"}));
  app.add_flag_callback(
      "--json", [&run] { run.output_format = "stream-json"; },
      "Same as --output-format stream-json");
  app.add_flag("--include-deltas", run.include_deltas, "stream-json: also text as it grows");
  app.add_option("--trajectory", run.trajectory, "Also write the event stream to this file");
  app.add_option("--store", run.store, "Database of conversations");
  app.add_flag("--ephemeral", run.ephemeral, "Keep nothing");
  app.add_flag("--plain", run.plain, "Show all of the turn as plain lines, also into a pipe");
  app.add_flag("--no-color", run.no_color, "Plain text (also: NO_COLOR)");
  app.add_flag("-q,--quiet", run.quiet, "Only the answer");
  app.add_flag("-v,--verbose", run.verbose, "Also the output of calls that succeed");
  app.callback([&] { chosen = [&run] { return ui::run(run); }; });
}

void add_serve(CLI::App& program, ui::ServeOptions& serve, Chosen& chosen) {
  CLI::App& app = *program.add_subcommand("serve", "Serve the web page on loopback");
  add_model_flags(app, serve.model);
  add_cache_flags(app, serve.cache);
  app.add_option("-C,--cd", serve.workspace, "Workspace (default: this directory)")
      ->check(ui::folder());
  app.add_option("--listen", serve.listen, "Address and port; port 0 takes a free one");
  app.add_option("--host", serve.hosts, "Further name the page may be reached by");
  app.add_option("--origin", serve.origins, "Further allowed origin");
  app.add_option("--store", serve.store, "Database of conversations");
  app.add_flag("--new-token", serve.new_token, "Replace the access token");
  app.add_flag("--print-view-url", serve.print_view_url, "Also print a URL that may only watch");
  app.add_flag("--insecure-plain-http", serve.insecure_plain_http,
               "Allow --listen on an address that is not loopback");
  app.add_option("--sandbox", serve.sandbox, "What commands may do")
      ->check(CLI::IsMember({"read-only", "workspace"}));
  app.callback([&] { chosen = [&serve] { return ui::serve(serve); }; });
}

void add_conversation(CLI::App& program, ui::ConversationOptions& options, Chosen& chosen) {
  CLI::App& app =
      *program.add_subcommand("conversation", "List, show, export and branch conversations");
  app.require_subcommand(1);
  const auto add = [&](const char* action, const char* about) -> CLI::App& {
    CLI::App& sub = *app.add_subcommand(action, about);
    if (std::string_view(action) != "list") {
      sub.add_option("id", options.id, "Conversation, or a unique beginning of its id")->required();
    }
    sub.add_option("--store", options.store, "Database of conversations");
    sub.add_flag("--json", options.json, "JSON lines");
    sub.callback([&, action] {
      options.action = action;
      chosen = [&options] { return ui::conversation(options); };
    });
    return sub;
  };
  add("list", "Latest first")
      .add_option("--limit", options.limit, "Rows at most")
      ->check(ui::count_from(1));
  add("show", "As a terminal showed it");
  add("export", "The event stream");
  const char* step = "Step: its number in the conversation (7), or TURN.STEP (2.3)";
  add("fork", "Copy, all of it or up to a step")
      .add_option("--at", options.at, step)
      ->check(ui::step());
  add("rewind", "Go back to a step; what followed is kept as a conversation of its own")
      .add_option("--at", options.at, step)
      ->required()
      ->check(ui::step());
  add_model_flags(add("replay", "Sample again against the recorded outcomes, and compare ids"),
                  options.model);
}

void add_cache(CLI::App& program, ui::CacheCommandOptions& options, Chosen& chosen) {
  CLI::App& app = *program.add_subcommand("cache", "What is kept of computed tokens");
  app.require_subcommand(1);
  const auto add = [&](const char* action, const char* about) -> CLI::App& {
    CLI::App& sub = *app.add_subcommand(action, about);
    sub.add_option("--cache", options.cache.folder, "Folder (default: $XDG_CACHE_HOME/fathom/kv)")
        ->envname("FATHOM_CACHE");
    sub.add_flag("--json", options.json, "JSON lines");
    sub.callback([&, action] {
      options.action = action;
      chosen = [&options] { return ui::cache(options); };
    });
    return sub;
  };
  add("list", "Where timelines can be taken up, last used first");
  add("stat", "Tokens and bytes of each model");
  add("verify", "Check every byte (exit 1 if any is damaged)");
  CLI::App& prune = add("prune", "Remove what nothing can reach");
  prune.add_flag("--all", options.all, "Remove everything");
  prune.add_option("--to", options.keep, "Keep at most so many bytes; 8G")
      ->transform(ui::bytes_from(0));
}

void add_tool(CLI::App& program, ui::ToolOptions& tool, Chosen& chosen) {
  CLI::App& app = *program.add_subcommand("tool", "Run one tool by hand");
  app.add_option("name", tool.name, "Which tool; without it: lists them");
  app.add_option("values", tool.values, "key=value, key=@FILE, or key=@- for standard input");
  app.add_option("--arguments", tool.arguments, "All arguments as one JSON object");
  app.add_option("-C,--workspace", tool.workspace, "Workspace (default: this directory)");
  app.add_option("--sandbox", tool.sandbox, "What commands may do")
      ->check(CLI::IsMember({"read-only", "workspace"}));
  app.add_flag("--schema", tool.schema, "Print the schema");
  app.callback([&] { chosen = [&tool] { return ui::tool(tool); }; });
}

void add_convert(CLI::App& app, ui::ConvertModelOptions& options, Chosen& chosen) {
  CLI::App& sub = *app.add_subcommand(
      "convert",
      "Write a Hugging Face folder as GGUF; a second call goes on where one was stopped");
  sub.add_option("folder", options.source, "Hugging Face folder")->required();
  sub.add_option("output", options.target,
                 "NAME.gguf; the MTP block, if there is one, goes to NAME.mtp.gguf")
      ->required()
      ->check(ui::gguf_name());
  const std::vector<std::string> types = fathom::engine::convertible_types();
  sub.add_option("--type", options.type,
                 "Of the routed experts (default: FP4 as mxfp4, FP8 as q8_0, others as they are)")
      ->check(CLI::IsMember(types, CLI::ignore_case));
  sub.add_option("--projections", options.projections,
                 "Of attention and shared experts (default: likewise; bf16 holds FP8 exactly)")
      ->check(CLI::IsMember(types, CLI::ignore_case));
  add_threads(sub, options.threads);
  sub.add_flag("--force", options.force, "Replace files that are there");
  sub.add_flag("--json", options.json, "One JSON object");
  sub.callback([&] { chosen = [&options] { return ui::convert_model(options); }; });
}

void add_model(CLI::App& program, ui::ModelFileOptions& options, ui::ConvertModelOptions& convert,
               Chosen& chosen) {
  CLI::App& app = *program.add_subcommand("model", "Look at a model's files, or convert them");
  app.require_subcommand(1);
  for (const char* action : {"info", "check"}) {
    CLI::App& sub = *app.add_subcommand(action);
    sub.add_option("path", options.path, "File or folder (default: the embedded model)");
    sub.add_option("--context", options.context, "Tokens to plan memory for")
        ->check(ui::count_from(1));
    add_weights_memory(sub, options.weights_memory);
    sub.add_flag("--json", options.json, "One JSON object");
    sub.callback([&, action] {
      options.action = action;
      chosen = [&options] { return ui::model(options); };
    });
  }
  add_convert(app, convert, chosen);
}

void add_bench(CLI::App& program, ui::BenchOptions& bench, Chosen& chosen) {
  CLI::App& app = *program.add_subcommand("bench", "Measure tokens per second");
  add_model_flags(app, bench.model);
  app.add_option("-p", bench.prefill_tokens, "Prefill of so many tokens")
      ->delimiter(',')
      ->check(ui::count_from(0));
  app.add_option("-n", bench.decode_tokens, "Decode of so many tokens")
      ->delimiter(',')
      ->check(ui::count_from(0));
  app.add_option("-d", bench.depths, "After so many tokens")
      ->delimiter(',')
      ->check(ui::count_from(0));
  app.add_option("-r", bench.rounds, "Rounds; the median counts")->check(ui::count_from(1));
  app.add_option("--sessions", bench.sessions,
                 "Sessions that work together; rates are of all of them")
      ->check(ui::count_from(1));
  app.add_flag("--greedy", bench.greedy,
               "Decode the model's own likeliest tokens instead of random ones");
  app.add_option("--verify", bench.verify,
                 "Time of passes over so many tokens, as drafts are checked, beside one of 1")
      ->delimiter(',')
      ->check(CLI::Range(1, ui::kVerifyMax));
  app.add_option("--fill", bench.fill,
                 "How -d is reached: compute (default to 16384) or random rows")
      ->check(CLI::IsMember({"compute", "random"}));
  app.add_option("--every", bench.every,
                 "Print the speed of filling every so many tokens, then save, restore and compare")
      ->check(ui::count_from(0));
  app.add_option("--kv", bench.rounding, "Cache rounding")
      ->check(CLI::IsMember({"exact", "f16", "official"}));
  app.add_option("--activations", bench.activations, "f32 or native")
      ->check(CLI::IsMember({"f32", "native"}));
  app.add_flag(
      "--waits", bench.waits,
      "Also the longest waits: in a prefill for its progress and for it to stop, in decoding "
      "for a token while another session reads a prompt");
  app.add_flag("--peaks", bench.peaks,
               "What the machine reaches at best: memory, f32, 8-bit, bf16");
  app.add_flag("--json", bench.json, "JSON lines");
  app.callback([&] { chosen = [&bench] { return ui::bench(bench); }; });
}

void add_debug_logits(CLI::App& debug, ui::DebugLogitsOptions& options, Chosen& chosen) {
  CLI::App& app = *debug.add_subcommand("logits", "Logits of given token ids");
  add_model_flags(app, options.model);
  app.add_option("--ids", options.ids, "File of decimal ids")->required()->check(CLI::ExistingFile);
  app.add_option("--out", options.out, "Receives float32 rows")->required();
  app.add_option("--positions", options.positions, "all, or a list such as 0,5,9");
  app.add_option("--kv", options.rounding, "Cache rounding")
      ->check(CLI::IsMember({"exact", "f16", "official"}));
  app.add_option("--activations", options.activations, "f32 or native")
      ->check(CLI::IsMember({"f32", "native"}));
  app.add_option("--chunk", options.chunk, "Feed in chunks of so many tokens")
      ->check(ui::count_from(1));
  app.add_flag("--step", options.step, "Feed token by token");
  app.add_option("--restore-at", options.restore_at, "Save, drop and restore after so many tokens")
      ->check(ui::count_from(0));
  app.add_option("--mtp-positions", options.mtp_positions, "Positions such as 0,5,9");
  app.add_option("--mtp-out", options.mtp_out, "Receives float32 rows of the MTP block");
  app.callback([&] { chosen = [&options] { return ui::debug_logits(options); }; });
}

void add_debug(CLI::App& program, ui::DebugLogitsOptions& logits, std::string& tokenizer,
               Chosen& chosen) {
  CLI::App& app = *program.add_subcommand("debug", "Logits, rendering, parsing, tokens by hand");
  app.require_subcommand(1);
  add_debug_logits(app, logits, chosen);
  const auto add = [&](const char* name, const char* about, int (*command)(const std::string&)) {
    CLI::App& sub = *app.add_subcommand(name, about);
    sub.add_option("--tokenizer", tokenizer, "tokenizer.json, model folder or GGUF");
    sub.callback([&chosen, &tokenizer, command] {
      chosen = [&tokenizer, command] { return command(tokenizer); };
    });
  };
  add("render", "Conversation to prompt (JSON lines)", ui::debug_render);
  add("tokenize", "Text to ids (JSON lines)", ui::debug_tokenize);
  add("detokenize", "Ids to text (JSON lines)", ui::debug_detokenize);
  app.add_subcommand("parse", "Reply to calls (JSON lines)")->callback([&chosen] {
    chosen = [] { return ui::debug_parse(); };
  });
}

void add_limits(CLI::App& app, fathom::sandbox::Limits& limits) {
  app.add_option("--memory", limits.memory_bytes, "Bytes; K, M and G are understood")
      ->transform(ui::bytes_from(1));
  app.add_option("--pids", limits.processes, "Processes and threads")->check(ui::count_from(1));
  app.add_option("--fsize", limits.file_bytes, "Largest file")->transform(ui::bytes_from(1));
  app.add_option("--disk", limits.disk_bytes, "Growth of the disk")->transform(ui::bytes_from(1));
  app.add_option("--timeout", limits.seconds, "Seconds")->check(ui::positive());
  app.add_option("--output", limits.output_bytes, "Bytes of output kept")
      ->transform(ui::bytes_from(1));
}

void add_sandbox_exec(CLI::App& sandbox, ui::SandboxOptions& options, Chosen& chosen) {
  CLI::App& app = *sandbox.add_subcommand("exec", "Run a command in the sandbox");
  app.alias("run");
  app.add_option("command", options.command, "The command, after --")->required();
  app.add_option("--workspace", options.workspace, "Writable folder (default: this directory)");
  app.add_option("--profile", options.profile, "What the command may write")
      ->check(CLI::IsMember({"read-only", "workspace-write"}));
  app.add_option_function<std::string>(
         "--sandbox",
         [&options](const std::string& name) {
           options.profile = name == "workspace" ? "workspace-write" : name;
         },
         "Same as --profile, as fathom run spells it")
      ->check(CLI::IsMember({"read-only", "workspace"}));
  app.add_option("--net,--network", options.network, "off is what this version offers")
      ->check(CLI::IsMember({"off"}));
  app.add_option("--read", options.read_folders, "Further readable folder");
  app.add_option("--write", options.write_folders, "Further writable folder");
  add_limits(app, options.limits);
  app.add_option("--status-fd", options.status_fd, "Descriptor that receives status lines")
      ->check(ui::open_descriptor());
  app.add_flag("--explain", options.explain, "Say in words what ended the command");
  app.callback([&] {
    options.action = "exec";
    chosen = [&options] { return ui::sandbox(options); };
  });
}

void add_sandbox(CLI::App& program, ui::SandboxOptions& options, Chosen& chosen) {
  CLI::App& app = *program.add_subcommand("sandbox", "The tools' sandbox by hand");
  app.require_subcommand(1);
  add_sandbox_exec(app, options, chosen);
  for (const char* action : {"doctor", "policy"}) {
    CLI::App& sub = *app.add_subcommand(action);
    if (std::string(action) == "doctor") sub.alias("check");
    sub.add_option("--workspace", options.workspace, "Workspace (default: this directory)");
    sub.add_option("--profile", options.profile, "What commands may write")
        ->check(CLI::IsMember({"read-only", "workspace-write"}));
    sub.add_flag("--json", options.json, "One JSON object");
    sub.callback([&, action] {
      options.action = action;
      chosen = [&options] { return ui::sandbox(options); };
    });
  }
}

int dispatch(int count, char** values) {
  CLI::App program{
      "Fathom: a DeepSeek-V4 model and the agent that uses it in one process.\n"
      "Try: fathom run \"The tests fail. Fix them.\""};
  program.name("fathom");
  program.set_version_flag("--version", fmt::format("fathom {}", ui::version()));
  program.require_subcommand(1);
  program.get_formatter()->column_width(30);

  ui::RunOptions run;
  ui::ServeOptions serve;
  ui::ConversationOptions conversation;
  ui::CacheCommandOptions cache;
  ui::ToolOptions tool;
  ui::ModelFileOptions model;
  ui::ConvertModelOptions convert;
  ui::BenchOptions bench;
  ui::DebugLogitsOptions logits;
  std::string tokenizer;
  ui::SandboxOptions sandbox;
  Chosen chosen;
  add_run(program, run, chosen);
  add_serve(program, serve, chosen);
  add_conversation(program, conversation, chosen);
  add_cache(program, cache, chosen);
  add_tool(program, tool, chosen);
  add_model(program, model, convert, chosen);
  add_bench(program, bench, chosen);
  add_debug(program, logits, tokenizer, chosen);
  add_sandbox(program, sandbox, chosen);
  // `fathom -p PROMPT`, as other agents spell it, is `fathom run PROMPT`.
  std::string run_command = "run";
  if (count > 1 &&
      (std::string_view(values[1]) == "-p" || std::string_view(values[1]) == "--print")) {
    values[1] = run_command.data();
  }
  try {
    program.parse(count, values);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
    ui::complain(program, error);
    return kExitUsage;
  }
  return chosen();
}

// Buffers of a megabyte and more go back to the system when they are freed. Left alone, glibc takes
// the size of every freed one for what to keep in its heap from then on, up to 32 MiB.
void return_large_buffers() {
  constexpr int kLargeBytes = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, kLargeBytes);
}

}  // namespace

int main(int count, char** values) {
  return_large_buffers();
  try {
    return dispatch(count, values);
  } catch (const ui::UsageError& error) {
    fmt::print(stderr, "fathom: {}\n", error.what());
    return kExitUsage;
  } catch (const fathom::engine::Error& error) {
    fmt::print(stderr, "fathom: {}\n", error.what());
    return kExitNoEngine;
  } catch (const fathom::sandbox::Error& error) {
    fmt::print(stderr, "fathom: {}\n", error.what());
    return kExitNoSandbox;
  } catch (const std::exception& error) {
    fmt::print(stderr, "fathom: {}\n", error.what());
    return kExitFailure;
  }
}
