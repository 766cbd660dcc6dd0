// One record per message, so neither side ever sees half of one.
#include "sandbox/linux/messages.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace fathom::sandbox {

bool send_message(int socket, const Message& message, const int* passed, int count) noexcept {
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int) * kPassedMax)] = {};
  Message copy = message;
  iovec part{&copy, sizeof copy};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (count > 0) {
    const std::size_t bytes = sizeof(int) * static_cast<std::size_t>(count);
    header.msg_control = space;
    header.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(first), passed, bytes);
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == sizeof copy;
}

bool receive_message(int socket, Message& message, int* passed, int* count) noexcept {
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int) * kPassedMax)] = {};
  iovec part{&message, sizeof message};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = space;
  header.msg_controllen = sizeof space;
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got != sizeof message) return false;
  int found = 0;
  const cmsghdr* first = CMSG_FIRSTHDR(&header);
  if (first != nullptr && first->cmsg_type == SCM_RIGHTS && passed != nullptr) {
    found = static_cast<int>((first->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(passed, CMSG_DATA(first), sizeof(int) * static_cast<std::size_t>(found));
  }
  if (count != nullptr) *count = found;
  return true;
}

}  // namespace fathom::sandbox
