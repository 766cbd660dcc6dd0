// `fathom model convert`.
#include <algorithm>
#include <cctype>
#include <chrono>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/convert_model.h"
#include "ui/commands/interrupt.h"
#include "ui/commands/model.h"
#include "ui/commands/size_text.h"

namespace fathom::ui {
namespace {

using nlohmann::json;

constexpr int kExitSignal = 128;
constexpr std::chrono::seconds kInterval{2};  // between lines about progress

// Says on stderr how far it has come and how fast it goes, every two seconds.
class Progress {
 public:
  void tell(std::int64_t bytes, std::int64_t total) {
    const auto now = Clock::now();
    if (first_ < 0) first_ = bytes;  // what an earlier call has written
    if (now < next_) return;
    next_ = now + kInterval;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const auto rate = static_cast<std::int64_t>(static_cast<double>(bytes - first_) / seconds);
    fmt::print(stderr, "wrote {} of {}, {}/s\n", size_text(bytes), size_text(total),
               size_text(rate));
  }

 private:
  using Clock = std::chrono::steady_clock;

  Clock::time_point start_ = Clock::now();
  Clock::time_point next_ = start_ + kInterval;
  std::int64_t first_ = -1;
};

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::vector<std::string> names_of(const engine::ConvertReport& report) {
  std::vector<std::string> names;
  for (const auto& file : report.files) names.push_back(file.string());
  return names;
}

void print_report(const engine::ConvertReport& report, bool as_json) {
  if (as_json) {
    const json object = {{"finished", report.finished},
                         {"files", names_of(report)},
                         {"bytes", report.bytes},
                         {"resumed_bytes", report.resumed_bytes},
                         {"notes", report.notes}};
    fmt::print("{}\n", object.dump(-1, ' ', false, json::error_handler_t::replace));
    return;
  }
  for (const std::string& note : report.notes) fmt::print("{}\n", note);
  if (report.resumed_bytes > 0) {
    fmt::print("went on after {}\n", size_text(report.resumed_bytes));
  }
  for (const std::string& name : names_of(report)) fmt::print("{}\n", name);
  if (report.finished) {
    fmt::print("{} in {} file{}\n", size_text(report.bytes), report.files.size(),
               report.files.size() == 1 ? "" : "s");
  } else {
    fmt::print("stopped; the same call goes on from here\n");
  }
}

}  // namespace

int convert_model(const ConvertModelOptions& options) {
  Interrupt interrupt;
  Progress progress;
  const engine::ConvertReport report = engine::convert_model(
      {.source = options.source,
       .target = options.target,
       .experts = lower(options.type),
       .projections = lower(options.projections),
       .overwrite = options.force,
       .threads = options.threads},
      [&](std::int64_t bytes, std::int64_t total) { progress.tell(bytes, total); },
      interrupt.token());
  print_report(report, options.json);
  return report.finished ? 0 : kExitSignal + interrupt.signal();
}

}  // namespace fathom::ui
