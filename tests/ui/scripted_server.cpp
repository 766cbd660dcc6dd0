// The server over scripted turns, for tests that need a whole process: prints the address with
// its key and one that may only watch, serves until SIGTERM.
//   scripted_server [MILLISECONDS_PER_WORD] [WORDS_OF_THINKING]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include "scripted_turn.h"
#include "ui/hub.h"
#include "ui/server.h"

int main(int count, char** values) {
  namespace ui = fathom::ui;
  ui::Script script;
  script.steps = 3;
  if (count > 1) script.per_word = std::chrono::milliseconds(std::atoi(values[1]));
  if (count > 2) {
    script.thinking.clear();
    for (int i = 0; i < std::atoi(values[2]); ++i) script.thinking += fmt::format("thought{} ", i);
  }
  ui::Hub hub(ui::scripted_source(script));
  ui::ServerOptions options;
  options.port = 0;
  options.tokens = {.control = "control-key-of-the-scripted-server-0000",
                    .view = "view-key-of-the-scripted-server-00000000"};
  ui::Server server(options, hub);
  fmt::print("http://127.0.0.1:{}/#k={}\n", server.port(), options.tokens.control);
  fmt::print("http://127.0.0.1:{}/#k={}\n", server.port(), options.tokens.view);
  std::fflush(stdout);
  hub.start();
  server.run();
  return 0;
}
