// Control groups by their files, version 1 (a hierarchy per controller) and version 2 (one).
#include "sandbox/linux/cgroup.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fathom::sandbox {
namespace {

constexpr char kMount[] = "/sys/fs/cgroup";

std::string read_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  std::array<char, 8192> text{};
  const ssize_t got = ::read(file, text.data(), text.size());
  ::close(file);
  return got > 0 ? std::string(text.data(), static_cast<std::size_t>(got)) : std::string();
}

bool write_file(const std::string& path, const std::string& text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool done = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(file);
  return done;
}

bool has_word(std::string_view words, std::string_view word, std::string_view between) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find_first_of(between), words.size());
    if (words.substr(0, end) == word) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

// Our own group in the hierarchy whose controllers satisfy `chosen`: lines "ID:CONTROLLERS:PATH".
template <typename Chosen>
std::optional<std::string> own_group(Chosen chosen) {
  const std::string groups = read_file("/proc/self/cgroup");
  for (std::size_t begin = 0; begin < groups.size();) {
    const std::size_t end = std::min(groups.find('\n', begin), groups.size());
    const std::string line = groups.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    if (chosen(line.substr(first + 1, second - first - 1))) {
      const std::string path = line.substr(second + 1);
      return path == "/" ? "" : path;
    }
  }
  return std::nullopt;
}

// The folder in which a group with the controller can be made; empty if there is none.
std::string place_for(const char* controller, bool& version_2) {
  version_2 = false;
  if (const auto group = own_group(
          [&](const std::string& controllers) { return has_word(controllers, controller, ","); })) {
    return std::string(kMount) + "/" + controller + *group;
  }
  // In version 2 a group holds either processes or groups: ours goes beside the agent's.
  version_2 = true;
  const auto group = own_group([](const std::string& controllers) { return controllers.empty(); });
  if (!group) return {};
  const std::string beside = kMount + group->substr(0, group->rfind('/'));
  const std::string enabled = read_file(beside + "/cgroup.subtree_control");
  return has_word(enabled, controller, " \n") ? beside : std::string();
}

}  // namespace

Cgroup::Cgroup(const char* controller, std::int64_t limit) {
  bool version_2 = false;
  const std::string place = place_for(controller, version_2);
  if (place.empty()) return;
  const bool memory = std::strcmp(controller, "memory") == 0;
  const std::string folder = place + "/fathom-call-" + std::to_string(::getpid());
  if (::mkdir(folder.c_str(), 0755) != 0) return;
  const char* setting = version_2 ? "memory.max" : "memory.limit_in_bytes";
  if (!write_file(folder + "/" + (memory ? setting : "pids.max"), std::to_string(limit))) {
    ::rmdir(folder.c_str());
    return;
  }
  folder_ = folder;
  if (memory) {
    // Swap would only hide the limit; not every kernel counts it.
    write_file(folder + (version_2 ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes"),
               version_2 ? "0" : std::to_string(limit));
    if (version_2) write_file(folder + "/memory.oom.group", "1");
    events_ = folder + (version_2 ? "/memory.events" : "/memory.oom_control");
    counter_ = "oom_kill ";
  } else {
    events_ = folder + "/pids.events";
    counter_ = "max ";
  }
}

Cgroup::~Cgroup() {
  if (!folder_.empty()) ::rmdir(folder_.c_str());
}

bool Cgroup::add(pid_t process) const {
  return write_file(folder_ + "/cgroup.procs", std::to_string(process));
}

bool Cgroup::exceeded() const {
  if (folder_.empty()) return false;
  const std::string events = "\n" + read_file(events_);
  const std::size_t found = events.find(std::string("\n") + counter_);
  if (found == std::string::npos) return false;
  return std::strtoll(events.c_str() + found + 1 + std::strlen(counter_), nullptr, 10) > 0;
}

}  // namespace fathom::sandbox
