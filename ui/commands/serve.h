// `fathom serve`: the web page and its WebSocket on loopback.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ui/commands/run.h"

namespace fathom::ui {

struct ServeOptions {
  ModelOptions model;
  CacheOptions cache;
  std::filesystem::path workspace = ".";
  std::string listen = "127.0.0.1:7777";
  std::vector<std::string> hosts;    // further names the Host header may carry
  std::vector<std::string> origins;  // further allowed origins
  std::filesystem::path store;       // database; empty: $XDG_DATA_HOME/fathom/memory.sqlite
  bool new_token = false;
  bool print_view_url = false;
  bool insecure_plain_http = false;  // allows binding to anything but loopback
  std::string sandbox = "workspace";
};

// Serves until SIGINT or SIGTERM; the URL with its token is the first line on standard output.
int serve(const ServeOptions& options);

}  // namespace fathom::ui
