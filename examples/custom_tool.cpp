// Adds a tool of one's own and calls it the way the agent does: by name, with JSON arguments.
//
//   custom_tool '{"text":"three short words"}'
#include <algorithm>
#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "tools/toolbox.h"

namespace tools = fathom::tools;

namespace {

tools::Tool count_words() {
  return {
      .name = "count_words",
      .schema = R"({"name":"count_words","description":"Counts the words of a text.","parameters":)"
                R"({"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}})",
      .effect = tools::Effect::reads,
      .run =
          [](const tools::Arguments& arguments, const tools::OutputCallback&, std::stop_token) {
            const std::string text = arguments.text("text").value_or("");
            bool inside = false;
            const auto words = std::ranges::count_if(text, [&inside](char c) {
              const bool starts = c != ' ' && !inside;
              inside = c != ' ';
              return starts;
            });
            tools::Outcome outcome;
            outcome.text = fmt::format("count_words\n{}", words);
            return outcome;
          },
  };
}

}  // namespace

int main(int count, char** values) try {
  if (count != 2) {
    fmt::print(stderr, "usage: custom_tool '{{\"text\":\"three short words\"}}'\n");
    return 2;
  }
  const tools::Toolbox toolbox({count_words()});
  const tools::Outcome outcome = toolbox.run("count_words", values[1]);
  fmt::print("{}\n", outcome.text);
  return outcome.status == tools::Status::ok ? 0 : 1;
} catch (const std::exception& error) {
  fmt::print(stderr, "custom_tool: {}\n", error.what());
  return 1;
}
