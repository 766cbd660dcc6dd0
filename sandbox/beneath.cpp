// The one place where file tools resolve a path.
#include "sandbox/beneath.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

namespace fathom::sandbox {

Descriptor open_beneath(int folder, const std::string& path, int flags) noexcept {
  open_how how{};
  how.flags = static_cast<__u64>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  // The kernel answers EAGAIN when a rename elsewhere races with "..": 64 tries, then it is an
  // attack or a very busy disk, and refusing is right for both.
  for (int tries = 0; tries < 64; ++tries) {
    const char* name = path.empty() ? "." : path.c_str();
    const long number = ::syscall(SYS_openat2, folder, name, &how, sizeof how);
    if (number >= 0) return Descriptor(static_cast<int>(number));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return Descriptor();
}

tl::unexpected<Refusal> refuse(Refusal::Kind kind, std::string text) {
  return tl::unexpected(Refusal{kind, std::move(text)});
}

Refusal refusal(int error, std::string_view path) {
  using Kind = Refusal::Kind;
  switch (error) {
    case ENOENT:
      return {Kind::not_found, fmt::format("There is no file {}.", path)};
    case EXDEV:
    case ELOOP:
      return {Kind::outside, fmt::format("{} leads outside the workspace.", path)};
    case ENOTDIR:
      return {Kind::not_directory, fmt::format("A part of {} is a file, not a folder.", path)};
    case EISDIR:
      return {Kind::is_directory, fmt::format("{} is a folder, not a file.", path)};
    case ENOTEMPTY:
      return {Kind::not_empty, fmt::format("The folder {} is not empty.", path)};
    case ENAMETOOLONG:
      return {Kind::bad_path, fmt::format("The path {:.80}… is too long.", path)};
    case ENXIO:  // a socket, or a fifo without a reader
      return {Kind::not_regular, fmt::format("{} is not a regular file.", path)};
    default:
      return {Kind::failed, fmt::format("{}: {}.", path, std::strerror(error))};
  }
}

}  // namespace fathom::sandbox
