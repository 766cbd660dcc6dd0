// Says what was wrong with a command line.
#include "ui/commands/complaint.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "ui/commands/spelling.h"

namespace fathom::ui {
namespace {

// What may stand at the place of `word` in a command: its flags, or the commands below it.
std::vector<std::string> known_words(const CLI::App& app, std::string_view word) {
  std::vector<std::string> known;
  if (!word.starts_with('-')) {
    for (const CLI::App* sub : app.get_subcommands({})) known.push_back(sub->get_name());
    return known;
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    for (const std::string& name : option->get_snames()) known.push_back("-" + name);
  }
  return known;
}

}  // namespace

void complain(const CLI::App& program, const CLI::ParseError& error) {
  const CLI::App* app = &program;
  std::string command = program.get_name();
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    command += " " + app->get_name();
  }
  // A wrong value ends the reading, and what stands behind it was not looked at.
  const bool about_value = dynamic_cast<const CLI::ValidationError*>(&error) != nullptr ||
                           dynamic_cast<const CLI::ConversionError*>(&error) != nullptr;
  const std::vector<std::string> rest =
      about_value ? std::vector<std::string>() : app->remaining(/*recurse=*/true);
  const auto flag = std::ranges::find_if(rest, [](const auto& w) { return w.starts_with('-'); });
  if (rest.empty()) {
    fmt::print(stderr, "{}: {}\n", command, error.what());
  } else {
    const std::string& word = flag != rest.end() ? *flag : rest.front();
    const std::string meant = nearest(word.substr(0, word.find('=')), known_words(*app, word));
    fmt::print(stderr, "{}: {} is not known here{}\n", command, word,
               !meant.empty()                     ? fmt::format("; did you mean {}?", meant)
               : app->get_subcommands({}).empty() ? "; a text of several words needs quotes"
                                                  : "");
  }
  fmt::print(stderr, "{} --help says what there is.\n", command);
}

}  // namespace fathom::ui
