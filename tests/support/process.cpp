// Runs a program to its end, or until a test ends it.
#include "support/process.h"

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/temp_dir.h"

namespace fathom::tests {
namespace {

int open_or_die(const std::filesystem::path& file, int flags) {
  const int descriptor = ::open(file.c_str(), flags | O_CLOEXEC, 0600);
  if (descriptor < 0) throw std::runtime_error("cannot open " + file.string());
  return descriptor;
}

[[noreturn]] void become(const Start& start, int input, int output, int error) {
  ::dup2(input, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(error, STDERR_FILENO);
  for (const std::string& setting : start.environment) {
    ::putenv(const_cast<char*>(setting.c_str()));
  }
  std::vector<char*> argv;
  for (const std::string& word : start.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  if (::chdir(start.folder.c_str()) == 0) ::execvp(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace

Finished run_process(const Start& start) {
  const TempDir files;
  files.write("input", start.input);
  const int input = open_or_die(files.path() / "input", O_RDONLY);
  const int error = open_or_die(files.path() / "error", O_WRONLY | O_CREAT);
  std::array<int, 2> ends = {};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  const pid_t child = ::fork();
  if (child == 0) become(start, input, ends[1], error);
  for (const int ours : {input, error, ends[1]}) ::close(ours);

  Finished finished;
  std::array<char, 4096> buffer = {};
  for (ssize_t count = 0; (count = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    finished.output.append(buffer.data(), static_cast<std::size_t>(count));
    if (start.on_output) start.on_output(child, finished.output);
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  finished.exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  finished.error = files.read("error");
  return finished;
}

}  // namespace fathom::tests
