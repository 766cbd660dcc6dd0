// Reads and writes session files. Counts in the header are checked against the file's size and the
// model's shape before anything is allocated.
#include "engine/cache/session_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <span>
#include <string>

#include <fmt/format.h>

#include "engine/cache/checksum.h"
#include "engine/cache/lost_rows.h"
#include "engine/error.h"

namespace fathom::engine {
namespace {

constexpr std::array<char, 8> kMagic = {'F', 'A', 'T', 'H', 'O', 'M', 'S', 'E'};
constexpr std::uint32_t kVersion = 3;

[[noreturn]] void refuse(const std::filesystem::path& file, std::string_view why) {
  throw Error(fmt::format("session file {}: {}", file.string(), why));
}

class Writer {
 public:
  explicit Writer(const std::filesystem::path& file)
      : file_(file), out_(file, std::ios::binary | std::ios::trunc) {
    check();
  }

  template <class T>
  void values(std::span<const T> list) {
    const auto bytes = std::as_bytes(list);
    sum_.add(bytes);
    out_.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    check();
  }

  template <class T>
  void value(const T& one) {
    values(std::span<const T>(&one, 1));
  }

  void finish() {
    const std::uint64_t sum = sum_.value();
    out_.write(reinterpret_cast<const char*>(&sum), sizeof sum);
    out_.close();
    check();
  }

 private:
  void check() const {
    if (!out_) refuse(file_, fmt::format("cannot be written ({})", std::strerror(errno)));
  }

  std::filesystem::path file_;
  std::ofstream out_;
  Checksum sum_;
};

class Reader {
 public:
  explicit Reader(const std::filesystem::path& file) : file_(file), in_(file, std::ios::binary) {
    if (!in_) refuse(file_, fmt::format("cannot be read ({})", std::strerror(errno)));
    std::error_code failed;
    left_ = static_cast<std::int64_t>(std::filesystem::file_size(file, failed));
    if (failed) refuse(file_, "is no regular file");
  }

  template <class T>
  void values(std::span<T> list) {
    const auto bytes = std::as_writable_bytes(list);
    if (std::ssize(bytes) > left_) refuse(file_, "is truncated");
    in_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!in_) refuse(file_, "is truncated");
    left_ -= std::ssize(bytes);
    sum_.add(bytes);
  }

  template <class T>
  T value() {
    T one{};
    values(std::span<T>(&one, 1));
    return one;
  }

  // A count of entries of `size` bytes, of which the file must hold all.
  std::int64_t count(std::int64_t size) {
    const auto found = value<std::int64_t>();
    if (found < 0 || found > left_ / size) refuse(file_, "is truncated or altered");
    return found;
  }

  void finish() {
    const std::uint64_t expected = sum_.value();
    if (value<std::uint64_t>() != expected || left_ != 0) refuse(file_, "is altered");
  }

 private:
  std::filesystem::path file_;
  std::ifstream in_;
  std::int64_t left_ = 0;
  Checksum sum_;
};

void check_header(const std::filesystem::path& file, Reader& reader, std::string_view fingerprint) {
  std::array<char, kMagic.size()> magic{};
  reader.values(std::span<char>(magic));
  if (magic != kMagic) refuse(file, "is not a session");
  if (const auto version = reader.value<std::uint32_t>(); version != kVersion) {
    refuse(file, fmt::format("has version {}, this program reads {}", version, kVersion));
  }
  std::string found(static_cast<std::size_t>(reader.count(1)), '\0');
  reader.values(std::span(found));
  if (found != fingerprint) {
    refuse(file, fmt::format("belongs to another model, rounding or kernel set (found {}, expected "
                             "{})",
                             found, fingerprint));
  }
}

void read_pages(const std::filesystem::path& file, Reader& reader, std::int64_t tokens,
                KvCache& cache) {
  const auto pages = reader.value<std::int64_t>();
  if (pages != (tokens + kPageTokens - 1) / kPageTokens) refuse(file, "is altered");
  for (int page = 0; page < pages; ++page) {
    cache.reserve(std::int64_t{page + 1} * kPageTokens);  // grows with what the file really holds
    reader.values(cache.page_for_writing(page));
  }
}

void check_tokens(const std::filesystem::path& file, std::span<const Token> tokens, int vocab) {
  const auto outside = [vocab](Token token) { return token < 0 || token >= vocab; };
  if (std::ranges::any_of(tokens, outside)) refuse(file, "is altered");
}

}  // namespace

void write_session(const std::filesystem::path& file, std::string_view fingerprint,
                   const KvCache& cache, const SessionContents& contents) {
  std::filesystem::path part = file;
  part += ".part";
  try {
    Writer writer(part);
    writer.values(std::span<const char>(kMagic));
    writer.value(kVersion);
    writer.value(static_cast<std::int64_t>(fingerprint.size()));
    writer.values(std::span<const char>(fingerprint));
    writer.value(static_cast<std::int64_t>(contents.tokens.size()));
    writer.values(std::span<const Token>(contents.tokens));
    Snapshot now;
    cache.capture(now);
    writer.value(static_cast<std::int64_t>(now.bytes.size()));
    writer.values(std::span<const std::byte>(now.bytes));
    writer.value(std::int64_t{cache.page_count()});
    for (int page = 0; page < cache.page_count(); ++page) writer.values(cache.page(page));
    writer.value(static_cast<std::int64_t>(contents.logits.size()));
    writer.values(std::span<const float>(contents.logits));
    writer.finish();
    if (cache.has_lost_rows()) throw LostRows();
    std::error_code failed;
    std::filesystem::rename(part, file, failed);
    if (failed) refuse(file, fmt::format("cannot be written ({})", failed.message()));
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(part, ignored);
    throw;
  }
}

SessionContents read_session(const std::filesystem::path& file, std::string_view fingerprint,
                             int vocab_size, KvCache& cache) {
  Reader reader(file);
  check_header(file, reader, fingerprint);
  SessionContents contents;
  contents.tokens.resize(static_cast<std::size_t>(reader.count(sizeof(Token))));
  reader.values(std::span(contents.tokens));
  check_tokens(file, contents.tokens, vocab_size);
  const auto tokens = static_cast<std::int64_t>(contents.tokens.size());

  Snapshot now;
  now.tokens = static_cast<int>(tokens);
  const auto fixed = reader.count(1);
  if (fixed != cache.shape().state_bytes(now.tokens)) refuse(file, "is altered");
  now.bytes.resize(static_cast<std::size_t>(fixed));
  reader.values(std::span(now.bytes));
  read_pages(file, reader, tokens, cache);
  const auto logits = reader.count(sizeof(float));
  if (logits != 0 && logits != vocab_size) refuse(file, "is altered");
  contents.logits.resize(static_cast<std::size_t>(logits));
  reader.values(std::span(contents.logits));
  reader.finish();
  cache.go_back(now);
  return contents;
}

}  // namespace fathom::engine
