// Counts memory and processes of a call where no cgroup does, by reading /proc inside.
//
// Resident pages, summed, count a shared page once per process: an upper bound that is cheap. Only
// when it exceeds the limit are the proportional sizes read, which count each page once.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dirent.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/linux/messages.h"
#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

struct KernelEntry {  // linux_dirent64, which no header offers
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t length;
  std::uint8_t type;
  char name[256];
};

// Reads /proc/PROCESS/FILE into `text`; false if it cannot be read.
bool read_about(const char* process, const char* file, char* text, std::size_t size) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%.20s/%s", process, file);
  const int number = ::open(path, O_RDONLY | O_CLOEXEC);
  if (number < 0) return false;
  const ssize_t got = ::read(number, text, size - 1);
  ::close(number);
  if (got <= 0) return false;
  text[got] = '\0';
  return true;
}

struct Usage {
  std::int64_t bytes = 0;
  std::int64_t threads = 0;
};

// Fields 20 (threads) and 24 (resident pages) of /proc/PROCESS/stat, counted after the name, which
// may hold anything.
Usage resident(const char* process) noexcept {
  static const long page = ::sysconf(_SC_PAGESIZE);
  char text[1024];
  if (!read_about(process, "stat", text, sizeof text)) return {};
  const char* rest = std::strrchr(text, ')');
  if (rest == nullptr) return {};
  Usage usage;
  int field = 2;
  for (const char* at = rest + 1; *at != '\0' && field < 24; ++at) {
    if (*at != ' ') continue;
    ++field;
    if (field == 20) usage.threads = std::strtoll(at, nullptr, 10);
    if (field == 24) usage.bytes = std::strtoll(at, nullptr, 10) * page;
  }
  return usage;
}

// The process's share of its pages; what it hides is taken at its upper bound.
std::int64_t proportional(const char* process) noexcept {
  char text[2048];
  if (!read_about(process, "smaps_rollup", text, sizeof text)) return resident(process).bytes;
  std::int64_t bytes = 0;
  for (const char* key : {"\nPss_Anon:", "\nPss_Shmem:"}) {
    const char* found = std::strstr(text, key);
    if (found == nullptr) return resident(process).bytes;
    bytes += std::strtoll(found + std::strlen(key), nullptr, 10) * 1024;
  }
  return bytes;
}

template <typename Count>
void each_process(Count count) noexcept {
  const int folder = ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  alignas(KernelEntry) char space[16384];
  long got = 0;
  while ((got = ::syscall(SYS_getdents64, folder, space, sizeof space)) > 0) {
    for (long at = 0; at < got;) {
      const auto* entry = reinterpret_cast<const KernelEntry*>(space + at);
      if (entry->name[0] >= '0' && entry->name[0] <= '9') count(entry->name);
      at += entry->length;
    }
  }
  ::close(folder);
}

// Of HOME, /tmp and /dev/shm, which are one file system.
std::int64_t scratch_bytes() noexcept {
  struct statfs status {};
  if (::statfs("/tmp", &status) != 0) return 0;
  return static_cast<std::int64_t>(status.f_blocks - status.f_bfree) * status.f_bsize;
}

[[noreturn]] void end(const Jail& jail, Message::Kind reason) noexcept {
  send_message(jail.control, {.kind = reason});
  ::_exit(0);
}

}  // namespace

void watch(const Jail& jail) noexcept {
  Usage sum;
  each_process([&](const char* process) {
    const Usage usage = resident(process);
    sum.bytes += usage.bytes;
    sum.threads += usage.threads;
  });
  // The kernel refuses more than the limit; a call that stands at it is at its end. Init is one.
  if (jail.watch_processes && sum.threads > jail.plan.limits.processes) {
    end(jail, Message::Kind::processes);
  }
  if (!jail.watch_memory) return;
  const std::int64_t left = jail.plan.limits.memory_bytes - scratch_bytes();
  if (sum.bytes <= left) return;
  std::int64_t exact = 0;
  each_process([&](const char* process) { exact += proportional(process); });
  if (exact > left) end(jail, Message::Kind::memory);
}

}  // namespace fathom::sandbox
