// The cache over a disk that fails: sessions go on with the right bits, it is told once, and what
// had been written before is there afterwards. The product's code is as it is everywhere: the calls
// into the C library are this program's own, which fail when a test says so.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/prefix_cache.h"
#include "engine/session.h"
#include "test_paths.h"
#include "tests/support/temp_dir.h"

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

enum class Call { pread, pwrite, ftruncate, rename };

// Which calls fail, and how many did.
struct Fault {
  Call call = Call::pread;
  std::string ending = {};  // of the files' names
  int error = 0;            // 0: none fails
  int after = 0;            // calls that work before the first one fails
  bool torn = false;        // a write that fails has written half before
  int failed = 0;
};

std::mutex fault_mutex;
Fault fault;  // guarded by fault_mutex

bool fails(Call call, const std::string& file) {
  const std::lock_guard lock(fault_mutex);
  if (fault.error == 0 || fault.call != call || !file.ends_with(fault.ending)) return false;
  if (fault.after-- > 0) return false;
  ++fault.failed;
  errno = fault.error;
  return true;
}

bool tears() {
  const std::lock_guard lock(fault_mutex);
  return fault.torn;
}

std::string name_of(int file) {
  std::error_code failed;
  return fs::read_symlink("/proc/self/fd/" + std::to_string(file), failed).string();
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

class Failing {
 public:
  explicit Failing(const Fault& how) {
    const std::lock_guard lock(fault_mutex);
    fault = how;
  }
  ~Failing() {
    const std::lock_guard lock(fault_mutex);
    fault = {};
  }
  Failing(const Failing&) = delete;
  Failing& operator=(const Failing&) = delete;

  int failed() const {
    const std::lock_guard lock(fault_mutex);
    return fault.failed;
  }
};

}  // namespace
}  // namespace fathom::engine

using fathom::engine::Call;

extern "C" ssize_t pread(int file, void* to, size_t bytes, off_t at) {
  if (fathom::engine::fails(Call::pread, fathom::engine::name_of(file))) return -1;
  return fathom::engine::next<decltype(pread)>("pread")(file, to, bytes, at);
}

extern "C" ssize_t pwrite(int file, const void* from, size_t bytes, off_t at) {
  auto* const real = fathom::engine::next<decltype(pwrite)>("pwrite");
  if (!fathom::engine::fails(Call::pwrite, fathom::engine::name_of(file))) {
    return real(file, from, bytes, at);
  }
  const int error = errno;
  if (fathom::engine::tears()) real(file, from, bytes / 2, at);
  errno = error;
  return -1;
}

extern "C" int ftruncate(int file, off_t bytes) noexcept {
  if (fathom::engine::fails(Call::ftruncate, fathom::engine::name_of(file))) return -1;
  return fathom::engine::next<decltype(ftruncate)>("ftruncate")(file, bytes);
}

extern "C" int rename(const char* from, const char* to) noexcept {
  if (fathom::engine::fails(Call::rename, to)) return -1;
  return fathom::engine::next<decltype(rename)>("rename")(from, to);
}

namespace fathom::engine {
namespace {

std::shared_ptr<const Engine> engine() {
  static const auto kEngine =
      Engine::load(fs::path(FATHOM_SHARED) / "golden" / "gb" / "hf", {.threads = 1});
  return kEngine;
}

std::vector<Token> some_tokens(int count) {
  std::mt19937 random(1);
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  std::ranges::generate(tokens, [&] { return static_cast<Token>(random() % 300); });
  return tokens;
}

const std::vector<Token> kTokens = some_tokens(400);

std::vector<float> copy(std::span<const float> logits) {
  return {logits.begin(), logits.end()};
}

// Of so many of the tokens.
const std::vector<float>& fresh_logits(int count) {
  static std::map<int, std::vector<float>> known;
  std::vector<float>& logits = known[count];
  if (logits.empty()) {
    Session session(engine());
    session.sync(std::span(kTokens).first(static_cast<std::size_t>(count)), {}, {});
    logits = copy(session.logits());
  }
  return logits;
}

class IoErrors : public testing::Test {
 protected:
  std::shared_ptr<PrefixCache> open() {
    return std::make_shared<PrefixCache>(
        *engine(), PrefixCacheOptions{.folder = dir_.path(), .on_trouble = [this](const auto& why) {
                                        const std::lock_guard lock(mutex_);
                                        troubles_.push_back(why);
                                      }});
  }

  // Turns of a conversation to so many tokens, each with the bits of a fresh run. Returns what the
  // first one computed.
  int talk(int from, int to) {
    const auto cache = open();
    Session session(engine(), cache, "a");
    int first = -1;
    for (int end = from; end <= to; end += 100) {
      const auto prompt = std::span(kTokens).first(static_cast<std::size_t>(end));
      const Prefill prefill = session.sync(prompt, {}, {});
      if (first < 0) first = prefill.prefilled;
      damaged_ += prefill.damaged;
      session.remember();
      cache->flush();
      EXPECT_EQ(copy(session.logits()), fresh_logits(end)) << end;
    }
    return first;
  }

  tests::TempDir dir_;
  std::mutex mutex_;
  std::vector<std::string> troubles_;  // guarded by mutex_
  int damaged_ = 0;
};

struct Case {
  const char* name;
  Fault fault;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name;
}

class WriteErrors : public IoErrors, public testing::WithParamInterface<Case> {};

// Wherever the first error strikes.
TEST_P(WriteErrors, AreToldOnceAndTheRunGoesOn) {
  for (int after = 0;; ++after) {
    SCOPED_TRACE("after " + std::to_string(after) + " calls");
    troubles_.clear();
    fs::remove_all(dir_.path() / "v1");
    Fault how = GetParam().fault;
    how.after = after;
    int failed = 0;
    {
      const Failing failing(how);
      talk(100, 300);
      failed = failing.failed();
    }
    if (failed == 0) {
      EXPECT_GT(after, 0);
      EXPECT_TRUE(troubles_.empty());
      return;
    }
    ASSERT_EQ(troubles_.size(), 1U);
    EXPECT_THAT(troubles_[0], HasSubstr(dir_.path().string()));
    EXPECT_THAT(troubles_[0], HasSubstr(std::strerror(how.error)));

    // The disk is well again: what had been written is taken up, what is torn is not.
    EXPECT_LE(talk(300, 400), 300);
    EXPECT_EQ(troubles_.size(), 1U);
    EXPECT_EQ(damaged_, 0);
    EXPECT_EQ(talk(400, 400), 100);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Calls, WriteErrors,
    testing::Values(Case{"RowsEio", {.call = Call::pwrite, .ending = ".rows", .error = EIO}},
                    Case{"RowsFull", {.call = Call::pwrite, .ending = ".rows", .error = ENOSPC}},
                    Case{"RowsTorn",
                         {.call = Call::pwrite, .ending = ".rows", .error = EIO, .torn = true}},
                    Case{"RowsLength", {.call = Call::ftruncate, .ending = ".rows", .error = EIO}},
                    Case{"MomentEio", {.call = Call::pwrite, .ending = ".part", .error = EIO}},
                    Case{"MomentFull",
                         {.call = Call::pwrite, .ending = ".part", .error = EDQUOT, .torn = true}},
                    Case{"MomentName", {.call = Call::rename, .ending = ".moment", .error = EIO}}),
    [](const auto& one) { return one.param.name; });

// The index only saves time.
TEST_F(IoErrors, OfAnIndexAreMadeUpFor) {
  {
    const Failing failing({.call = Call::pwrite, .ending = ".index", .error = EIO});
    talk(100, 300);
    EXPECT_GT(failing.failed(), 0);
  }
  EXPECT_EQ(talk(400, 400), 100);
  EXPECT_TRUE(troubles_.empty());
}

// Wherever reading fails, what cannot be read is computed again.
TEST_F(IoErrors, OfReadingCostComputingAgain) {
  talk(100, 300);
  for (const char* ending : {".rows", ".moment", ".index"}) {
    for (int after = 0;; ++after) {
      SCOPED_TRACE(std::string(ending) + " after " + std::to_string(after) + " calls");
      const Failing failing({.call = Call::pread, .ending = ending, .error = EIO, .after = after});
      const auto cache = open();
      Session session(engine(), cache);
      const auto prompt = std::span(kTokens).first(350);
      session.sync(prompt, {}, {});
      EXPECT_EQ(copy(session.logits()), fresh_logits(350));
      if (failing.failed() == 0) break;
    }
  }
  EXPECT_EQ(talk(400, 400), 100);
}

}  // namespace
}  // namespace fathom::engine
