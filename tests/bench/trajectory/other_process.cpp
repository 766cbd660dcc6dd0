// Children talk over a pipe at standard output; the parent's clock starts before fork.
#include "trajectory/other_process.h"

#include <array>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/session.h"
#include "trajectory/computed.h"
#include "trajectory/table.h"

namespace fathom::bench {
namespace {

using namespace engine;

constexpr const char* kFirstToken = "--first-token-of";
constexpr const char* kGoOn = "--go-on-with";

class Child {
 public:
  explicit Child(const std::vector<std::string>& words) {
    std::array<int, 2> ends = {};
    if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
    std::vector<char*> arguments = {const_cast<char*>("trajectory")};
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    process_ = ::fork();
    if (process_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::execv("/proc/self/exe", arguments.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ends[0];
  }
  ~Child() {
    ::close(output_);
    ::waitpid(process_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Until a line ends, or the child does.
  std::string line() const {
    std::string line;
    for (char byte = 0; ::read(output_, &byte, 1) == 1 && byte != '\n';) line += byte;
    return line;
  }
  void kill() const { ::kill(process_, SIGKILL); }

 private:
  pid_t process_ = -1;
  int output_ = -1;
};

std::vector<Token> tokens_for(const Engine& engine, const std::string& length) {
  return some_tokens(std::atoi(length.c_str()), engine.config().vocab_size);
}

void tell_first_token(const std::string& model, const std::string& folder,
                      const std::string& length) {
  const auto start = Clock::now();
  const auto engine = Engine::load(model, {});
  const double loaded = seconds_since(start);
  const auto cache = open_cache(*engine, folder);
  Session session(engine, cache, kName);
  const Prefill prefill = session.sync(tokens_for(*engine, length), {}, {});
  fmt::print("{} {} {} {} {}\n", loaded, prefill.prefilled, prefill.reused_disk, session.bytes(),
             bits_of(session.logits()));
  std::fflush(stdout);
}

// Waits to be killed, at the latest when the turn is over.
void go_on(const std::string& model, const std::string& folder, const std::string& from,
           const std::string& end) {
  const auto engine = Engine::load(model, {});
  const auto cache = open_cache(*engine, folder);
  Session session(engine, cache, kName);
  const std::vector<Token> tokens = tokens_for(*engine, end);
  session.sync(std::span(tokens).first(static_cast<std::size_t>(std::atoi(from.c_str()))), {}, {});
  fmt::print("+\n");
  std::fflush(stdout);
  session.sync(tokens, {}, {});
  ::pause();
}

}  // namespace

FirstToken first_token_of_another(const std::string& model, const std::filesystem::path& folder,
                                  int length) {
  const auto start = Clock::now();
  const Child child({kFirstToken, model, folder.string(), std::to_string(length)});
  std::istringstream line(child.line());
  FirstToken told{.seconds = seconds_since(start)};
  line >> told.loaded_seconds >> told.prefilled >> told.reused_disk >> told.state_bytes >>
      told.bits;
  if (!line) throw std::runtime_error("the process that was to take up the trajectory failed");
  return told;
}

void kill_another_in_a_turn(const std::string& model, const std::filesystem::path& folder, int from,
                            int end) {
  const Child child({kGoOn, model, folder.string(), std::to_string(from), std::to_string(end)});
  if (child.line() != "+") throw std::runtime_error("the process that was to be killed failed");
  child.kill();
}

bool is_another(const std::vector<std::string>& words) {
  if (words.size() == 4 && words[0] == kFirstToken) {
    tell_first_token(words[1], words[2], words[3]);
    return true;
  }
  if (words.size() == 5 && words[0] == kGoOn) {
    go_on(words[1], words[2], words[3], words[4]);
    return true;
  }
  return false;
}

}  // namespace fathom::bench
