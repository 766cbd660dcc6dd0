// Filling by computing or with random rows; memory and restoring at depth.
#include "ui/commands/bench_fill.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/model_files.h"

namespace fathom::ui {
namespace {

using engine::Session;
using engine::Token;
using Clock = std::chrono::steady_clock;

constexpr int kComputedMax = 16384;     // deeper fills take minutes to hours
constexpr int kTokensCompared = 8;      // decoded on both sides of a save
constexpr double kQuietSeconds = 2;     // shorter waits need no word
constexpr double kProgressSeconds = 1;  // between words on a longer one

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void print_line(const nlohmann::ordered_json& fields, const std::string& text, bool json) {
  fmt::print("{}\n", json ? fields.dump() : text);
  std::fflush(stdout);
}

void fill_in_pieces(Session& session, std::span<const Token> tokens, const BenchOptions& options) {
  const auto start = Clock::now();
  const auto piece = static_cast<std::size_t>(options.every);
  for (std::size_t done = 0; done < tokens.size();) {
    const auto piece_start = Clock::now();
    const std::size_t end = std::min(done + piece, tokens.size());
    session.sync(tokens.first(end), {}, {});
    const double rate = static_cast<double>(end - done) / seconds_since(piece_start);
    done = end;
    print_line({{"filled", done}, {"tokens_per_s", rate}, {"seconds", seconds_since(start)}},
               fmt::format("{:<14} {:>8} {:>12.1f}  after {:.0f} s", "filling", done, rate,
                           seconds_since(start)),
               options.json);
  }
}

std::vector<float> decode(Session& session, Token token) {
  const std::span<const float> logits = session.append(token);
  return {logits.begin(), logits.end()};
}

// Pages of this process that are in memory now, mapped weights included.
std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  if (!(statm >> total >> resident)) throw engine::Error("bench: cannot read /proc/self/statm");
  return resident * ::sysconf(_SC_PAGESIZE);
}

engine::Rounding rounding_of(const BenchOptions& options) {
  return options.rounding == "f16"        ? engine::Rounding::f16
         : options.rounding == "official" ? engine::Rounding::official
                                          : engine::Rounding::exact;
}

// A file name of this process that is removed whatever happens.
class TemporaryFile {
 public:
  TemporaryFile()
      : path_(std::filesystem::temp_directory_path() /
              fmt::format("fathom-bench-{}.session", ::getpid())) {}
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

bool is_random_fill(const BenchOptions& options, int depth) noexcept {
  if (depth == 0) return false;
  return options.fill == "random" || (options.fill.empty() && depth > kComputedMax);
}

void fill_to_depth(Session& session, std::span<const Token> tokens, const BenchOptions& options) {
  if (is_random_fill(options, static_cast<int>(tokens.size()))) {
    session.fill_random(tokens);
  } else if (options.every > 0) {
    fill_in_pieces(session, tokens, options);
  } else {
    BenchProgress progress("filling the context");
    session.sync(tokens, [&](int done, int total) { progress.at(done, total); }, {});
  }
}

void check_restoring(const std::shared_ptr<const engine::Engine>& model, const Session& filled,
                     const BenchOptions& options) {
  const TemporaryFile file;
  const auto start = Clock::now();
  filled.save(file.path());
  const double saved = seconds_since(start);
  Session restored = Session::restore(model, file.path());
  const double restoring = seconds_since(start) - saved;
  Session original = filled.fork();
  for (Token token = 1; token <= kTokensCompared; ++token) {
    if (decode(original, token) != decode(restored, token)) {
      throw engine::Error(
          fmt::format("bench: after {} tokens a restored session computes other logits",
                      filled.tokens().size()));
    }
  }
  print_line({{"restored", filled.tokens().size()},
              {"same_bits", true},
              {"save_s", saved},
              {"restore_s", restoring}},
             fmt::format("{:<14} {:>8} the same bits in {} tokens; saved in {:.1f} s, restored in "
                         "{:.1f} s",
                         "restored", filled.tokens().size(), kTokensCompared, saved, restoring),
             options.json);
}

void print_memory_use(const std::filesystem::path& model, const Session& filled,
                      const BenchOptions& options) {
  const engine::ModelSummary summary = engine::summarize_model(model);
  const std::int64_t session =
      engine::kv_bytes(summary.config, rounding_of(options), std::ssize(filled.tokens())).total();
  const auto bound = static_cast<std::int64_t>(options.model.weights_memory);
  const std::int64_t weights = bound == 0 ? summary.file_bytes : summary.offload.bytes(bound);
  const std::int64_t predicted = weights + session;
  const std::int64_t resident = resident_bytes();
  print_line({{"depth", filled.tokens().size()},
              {"resident_bytes", resident},
              {"predicted_bytes", predicted},
              {"predicted_session_bytes", session},
              {"session_bytes", filled.bytes()}},
             fmt::format("{:<14} {:>8} {:.3f} GB resident; predicted {:.3f} GB of weights + {:.3f} "
                         "GB of session: {:+.1f} %",
                         "memory", filled.tokens().size(), static_cast<double>(resident) / 1e9,
                         static_cast<double>(weights) / 1e9, static_cast<double>(session) / 1e9,
                         100.0 * static_cast<double>(resident - predicted) /
                             static_cast<double>(predicted)),
             options.json);
}

BenchProgress::BenchProgress(std::string what)
    : what_(std::move(what)), shown_(::isatty(STDERR_FILENO) == 1) {}

BenchProgress::~BenchProgress() {
  if (written_) fmt::print(stderr, "\r\033[K");
}

void BenchProgress::at(int done, int total) {
  if (!shown_ || seconds_since(start_) < kQuietSeconds) return;
  if (written_ && seconds_since(last_) < kProgressSeconds) return;
  last_ = Clock::now();
  written_ = true;
  fmt::print(stderr, "\r\033[K{} {}/{}", what_, done, total);
  std::fflush(stderr);
}

}  // namespace fathom::ui
