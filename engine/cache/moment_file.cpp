// Writes and reads moments.
#include "engine/cache/moment_file.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/cache/checksum.h"

namespace fathom::engine {
namespace {

std::uint64_t sum_of_head(const MomentHead& head) noexcept {
  const auto* begin = reinterpret_cast<const std::byte*>(&head);
  return sum_of({begin, reinterpret_cast<const std::byte*>(&head.head_sum)});
}

std::optional<MomentHead> read_head(int file) noexcept {
  MomentHead head;
  if (!read_all(file, std::as_writable_bytes(std::span(&head, 1)), 0)) return std::nullopt;
  const bool whole = head.mark == kMomentMark && head.tokens > 0 && head.state_bytes >= 0 &&
                     head.head_sum == sum_of_head(head);
  if (!whole || size_of(file) != static_cast<std::int64_t>(sizeof head) + head.state_bytes) {
    return std::nullopt;
  }
  return head;
}

}  // namespace

void write_moment(const std::filesystem::path& file, BlockKey root, BlockKey after,
                  const Moment& moment) {
  const auto state = std::as_bytes(std::span(moment.state->bytes));
  MomentHead head{.mark = kMomentMark,
                  .named = moment.origin.named ? 1U : 0U,
                  .root = root,
                  .after = after,
                  .tokens = moment.tokens,
                  .owner = moment.origin.owner,
                  .state_bytes = std::ssize(state),
                  .state_sum = sum_of(state)};
  std::ranges::copy(moment.open, head.open.begin());
  head.head_sum = sum_of_head(head);

  std::filesystem::path part = file;
  part += fmt::format(".{}.part", ::getpid());
  const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
  const Descriptor out(::open(part.c_str(), flags, 0600));
  if (!out || !write_all(out.get(), std::as_bytes(std::span(&head, 1)), 0) ||
      !write_all(out.get(), state, sizeof head) || ::rename(part.c_str(), file.c_str()) != 0) {
    const int why = errno;
    ::unlink(part.c_str());
    throw std::system_error(why, std::generic_category(), file.string());
  }
}

std::optional<MomentHead> read_moment_head(const std::filesystem::path& file) {
  const Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  return in ? read_head(in.get()) : std::nullopt;
}

std::shared_ptr<const Snapshot> read_moment(const std::filesystem::path& file) {
  const Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!in) return nullptr;
  const auto head = read_head(in.get());
  if (!head) return nullptr;
  auto state = std::make_shared<Snapshot>();
  state->tokens = static_cast<int>(head->tokens);
  state->bytes.resize(static_cast<std::size_t>(head->state_bytes));
  const bool whole =
      read_all(in.get(), state->bytes, sizeof *head) && sum_of(state->bytes) == head->state_sum;
  return whole ? state : nullptr;
}

Moment moment_of(const MomentHead& head, const std::filesystem::path& file) {
  return {.tokens = static_cast<int>(head.tokens),
          .open = {head.open.begin(), head.open.begin() + head.tokens % kPageTokens},
          .state = nullptr,
          .file = file,
          .origin = {.owner = head.owner, .named = head.named != 0}};
}

}  // namespace fathom::engine
