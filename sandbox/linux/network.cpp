// What a call wanted of the network, as the kernel counted it: with loopback alone there is no
// route to another machine, and every attempt to find one is counted per network namespace.
#include <cctype>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "sandbox/linux/steps.h"

namespace fathom::sandbox {
namespace {

// Reads all of a file of /proc that fits; empty if it cannot be read.
template <std::size_t size>
void read_text(const char* path, char (&text)[size]) noexcept {
  std::size_t filled = 0;
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  while (file >= 0 && filled + 1 < size) {
    const ssize_t got = ::read(file, text + filled, size - 1 - filled);
    if (got <= 0) break;
    filled += static_cast<std::size_t>(got);
  }
  ::close(file);
  text[filled] = '\0';
}

// The next word of `at`, which moves behind it; the word's length is 0 at the end of the line.
std::size_t next_word(const char*& at, const char*& word) noexcept {
  while (*at == ' ') ++at;
  word = at;
  while (*at != '\0' && std::isspace(static_cast<unsigned char>(*at)) == 0) ++at;
  return static_cast<std::size_t>(at - word);
}

// /proc/net/snmp has two lines of each protocol: "Ip: " and names, "Ip: " and numbers.
int unreachable_4() noexcept {
  constexpr char kName[] = "OutNoRoutes";
  char text[4096];
  read_text("/proc/net/snmp", text);
  const char* names = std::strstr(text, "Ip: ");
  const char* numbers = names == nullptr ? nullptr : std::strstr(names + 1, "\nIp: ");
  if (numbers == nullptr) return 0;
  ++numbers;
  const char* name = nullptr;
  const char* number = nullptr;
  while (const std::size_t length = next_word(names, name)) {
    if (next_word(numbers, number) == 0) return 0;
    if (length == sizeof kName - 1 && std::strncmp(name, kName, length) == 0) {
      return static_cast<int>(std::strtol(number, nullptr, 10));
    }
  }
  return 0;
}

// /proc/net/snmp6 has a line for each number.
int unreachable_6() noexcept {
  constexpr char kName[] = "Ip6OutNoRoutes";
  char text[8192];
  read_text("/proc/net/snmp6", text);
  const char* found = std::strstr(text, kName);
  return found == nullptr ? 0
                          : static_cast<int>(std::strtol(found + sizeof kName - 1, nullptr, 10));
}

}  // namespace

int count_unreachable() noexcept {
  return unreachable_4() + unreachable_6();
}

}  // namespace fathom::sandbox
