// `fathom debug logits`: feeds token ids and writes the logits of chosen positions.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <stdlib.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/engine.h"
#include "engine/error.h"
#include "engine/session.h"
#include "ui/commands/debug.h"
#include "ui/commands/engine_options.h"
#include "ui/commands/model_path.h"
#include "ui/commands/usage_error.h"

namespace fathom::ui {
namespace {

using engine::Token;

std::vector<int> parse_numbers(std::string_view text, std::string_view separators,
                               std::string_view what) {
  std::vector<int> numbers;
  std::size_t at = 0;
  while ((at = text.find_first_not_of(separators, at)) != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(separators, at), text.size());
    int number = 0;
    const auto [stop, failed] = std::from_chars(text.data() + at, text.data() + end, number);
    if (failed != std::errc() || stop != text.data() + end || number < 0) {
      throw UsageError(fmt::format("{}: expected a decimal number, found '{}'", what,
                                   text.substr(at, end - at)));
    }
    numbers.push_back(number);
    at = end;
  }
  return numbers;
}

std::vector<Token> read_ids(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw UsageError(fmt::format("{}: cannot be read", path));
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  std::vector<Token> ids = parse_numbers(text, " \t\r\n", path);
  if (ids.empty()) throw UsageError(fmt::format("{}: holds no token ids", path));
  return ids;
}

// Rows of the asked positions, in the order of asking.
class Rows {
 public:
  Rows(std::vector<int> positions, int limit, std::string_view flag)
      : positions_(std::move(positions)) {
    for (const int position : positions_) {
      if (position >= limit) {
        throw UsageError(
            fmt::format("{}: position {} is not among the first {}", flag, position, limit));
      }
      rows_[position];
    }
  }

  void keep(int position, std::span<const float> logits) {
    if (const auto row = rows_.find(position); row != rows_.end()) {
      row->second.assign(logits.begin(), logits.end());
    }
  }

  const std::vector<int>& positions() const noexcept { return positions_; }

  void write(const std::string& path) const {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    for (const int position : positions_) {
      const std::vector<float>& row = rows_.at(position);
      out.write(reinterpret_cast<const char*>(row.data()),
                static_cast<std::streamsize>(row.size() * sizeof(float)));
    }
    out.close();
    if (!out) throw std::runtime_error(fmt::format("{}: cannot be written", path));
  }

 private:
  std::vector<int> positions_;
  std::map<int, std::vector<float>> rows_;
};

std::vector<int> asked_positions(const std::string& list, int tokens, std::string_view flag) {
  if (list != "all") return parse_numbers(list, ",", flag);
  std::vector<int> all(static_cast<std::size_t>(tokens));
  for (int i = 0; i < tokens; ++i) all[static_cast<std::size_t>(i)] = i;
  return all;
}

void feed(engine::Session& session, const DebugLogitsOptions& options, std::span<const Token> ids,
          Rows& rows) {
  if (options.step) {
    for (const Token id : ids) {
      const int position = static_cast<int>(session.tokens().size());
      rows.keep(position, session.append(id));
    }
    return;
  }
  const std::size_t chunk =
      options.chunk > 0 ? static_cast<std::size_t>(options.chunk) : ids.size();
  for (std::size_t begin = 0; begin < ids.size(); begin += chunk) {
    session.extend(
        ids.subspan(begin, std::min(chunk, ids.size() - begin)),
        [&](int position, std::span<const float> logits) { rows.keep(position, logits); });
  }
}

// Through a file and a fresh session, as a restart of the program would.
engine::Session save_and_restore(engine::Session session,
                                 const std::shared_ptr<const engine::Engine>& model) {
  std::string name = (std::filesystem::temp_directory_path() / "fathom-session-XXXXXX").string();
  const int descriptor = ::mkstemp(name.data());
  if (descriptor < 0) throw engine::Error(fmt::format("{}: cannot be created", name));
  ::close(descriptor);
  try {
    session.save(name);
    session = engine::Session(model);
    engine::Session restored = engine::Session::restore(model, name);
    std::filesystem::remove(name);
    return restored;
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(name, ignored);
    throw;
  }
}

}  // namespace

int debug_logits(const DebugLogitsOptions& options) {
  const std::vector<Token> ids = read_ids(options.ids);
  const auto count = static_cast<int>(ids.size());
  const bool wants_mtp = !options.mtp_out.empty();
  Rows rows(asked_positions(options.positions, count, "--positions"), count, "--positions");
  Rows mtp_rows(parse_numbers(options.mtp_positions, ",", "--mtp-positions"), count - 1,
                "--mtp-positions");
  if (options.restore_at < 0 || options.restore_at > count) {
    throw UsageError(
        fmt::format("--restore-at {}: there are {} tokens", options.restore_at, count));
  }
  const auto model = load_engine(
      find_model(options.model.path),
      engine_options(options.model, options.rounding, options.activations), options.model);

  const auto start = std::chrono::steady_clock::now();
  engine::Session session(model);
  session.record_streams(wants_mtp);
  const std::span<const Token> all = ids;
  const auto before = static_cast<std::size_t>(options.restore_at);
  feed(session, options, all.first(before), rows);
  if (before > 0) session = save_and_restore(std::move(session), model);
  feed(session, options, all.subspan(before), rows);
  if (wants_mtp) {
    session.mtp(mtp_rows.positions(), [&](int position, std::span<const float> logits) {
      mtp_rows.keep(position, logits);
    });
    mtp_rows.write(options.mtp_out);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  rows.write(options.out);
  fmt::print("{{\"tokens\":{},\"vocab_size\":{},\"kernels\":\"{}\",\"seconds\":{:.3f}}}\n", count,
             model->config().vocab_size, model->kernels(), seconds.count());
  return 0;
}

}  // namespace fathom::ui
