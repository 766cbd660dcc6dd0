// posix_spawn, never fork: the agent has threads and may hold a GPU's memory.
#include "sandbox/helper_process.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

#include "sandbox/error.h"

namespace fathom::sandbox {
namespace {

constexpr char kHelper[] = "fathom-sandbox";

// Above every number the helper expects something at, so that no dup2 overwrites a later source.
constexpr int kNumberMin = 16;

[[noreturn]] void throw_system(const char* what, int error) {
  throw Error(fmt::format("starting {}: {}: {}", kHelper, what, std::strerror(error)));
}

Descriptor raised(int number, const char* what) {
  const int copy = ::fcntl(number, F_DUPFD_CLOEXEC, kNumberMin);
  if (copy < 0) throw_system(what, errno);
  return Descriptor(copy);
}

Descriptor sealed_plan(const Plan& plan) {
  const std::string bytes = encode(plan);
  const Descriptor file(::memfd_create("fathom-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) throw_system("memfd_create", errno);
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(file.get(), rest.data(), rest.size());
    if (wrote < 0) throw_system("writing the plan", errno);
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  return raised(file.get(), "plan");
}

struct Ends {
  Descriptor read, write;
};

Ends make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_system("pipe", errno);
  const Descriptor read(ends[0]);
  const Descriptor write(ends[1]);
  return {raised(read.get(), "pipe"), raised(write.get(), "pipe")};
}

// Frees what posix_spawn was told.
struct Actions {
  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};
  Actions() {
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawnattr_init(&attributes);
  }
  ~Actions() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
};

}  // namespace

std::filesystem::path find_helper() {
  std::error_code failed;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failed);
  const std::filesystem::path beside = program.parent_path();
  for (const std::filesystem::path& place :
       {beside / kHelper, beside / "../libexec/fathom" / kHelper,
        beside / "../lib/fathom" / kHelper, std::filesystem::path(FATHOM_LIBEXEC) / kHelper}) {
    if (::access(place.c_str(), X_OK) == 0) return place;
  }
  throw Error(
      fmt::format("{} is missing: expected it beside {} or in ../libexec/fathom; "
                  "reinstall the program",
                  kHelper, program.string()));
}

HelperProcess start_helper(const Plan& plan, const Streams& streams) {
  const std::string helper = find_helper();
  const Descriptor blob = sealed_plan(plan);
  Ends status = make_pipe();
  Ends lifeline = make_pipe();
  const std::array<Descriptor, 3> given = {raised(streams.input, "input"),
                                           raised(streams.output, "output"),
                                           raised(streams.error, "error")};
  Actions actions;
  const std::array<int, 6> sources = {given[0].get(),     given[1].get(), given[2].get(),
                                      status.write.get(), blob.get(),     lifeline.read.get()};
  for (int number = 0; const int source : sources) {
    ::posix_spawn_file_actions_adddup2(&actions.files, source, number++);
  }
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&actions.attributes, &none);
  ::posix_spawnattr_setsigdefault(&actions.attributes, &all);
  ::posix_spawnattr_setflags(&actions.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  // Nothing of the agent's environment; the one exception can only make the helper refuse.
  const char* missing = std::getenv("FATHOM_TEST_MISSING");
  std::string missing_variable = fmt::format("FATHOM_TEST_MISSING={}", missing ? missing : "");
  const std::array<char*, 2> environment = {missing ? missing_variable.data() : nullptr, nullptr};
  std::string name = kHelper;
  const std::array<char*, 2> arguments = {name.data(), nullptr};
  HelperProcess process;
  const int error = ::posix_spawn(&process.pid, helper.c_str(), &actions.files, &actions.attributes,
                                  arguments.data(), environment.data());
  if (error != 0) throw_system(helper.c_str(), error);
  process.status = std::move(status.read);
  process.lifeline = std::move(lifeline.write);
  return process;
}

}  // namespace fathom::sandbox
