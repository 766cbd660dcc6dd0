// Memory that cannot be had is an Error, and the process goes on.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "engine/cpu/thread_pool.h"
#include "engine/engine.h"
#include "engine/error.h"
#include "engine/session.h"
#include "test_paths.h"

namespace fathom::engine {
namespace {

constexpr std::int64_t kMillion = 1'048'576;  // about 200 MB of rows in this model

// From here on the process gets only so many bytes more.
void limit_memory(std::int64_t bytes) {
  std::int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const auto limit = static_cast<rlim_t>(pages * ::sysconf(_SC_PAGESIZE) + bytes);
  const rlimit both{.rlim_cur = limit, .rlim_max = RLIM_INFINITY};
  ::setrlimit(RLIMIT_AS, &both);
}

// In a process of its own: ends with 0 if a million tokens fail as they should and the session can
// still be used.
[[noreturn]] void fill_a_million() {
  Session session(Engine::load(FATHOM_SHARED "/golden/gb/hf", {.threads = 1}));
  limit_memory(64 << 20);
  try {
    session.fill_random(std::vector<Token>(kMillion, 5));
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    session.sync(std::vector<Token>{1, 2, 3}, {}, {});
    std::_Exit(session.tokens().size() == 3 ? 0 : 2);
  }
  std::_Exit(1);
}

TEST(MemoryLimitDeathTest, AMillionTokensThatDoNotFitAreAnError) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers take more address space than there would be";
#endif
  EXPECT_EXIT(fill_a_million(), testing::ExitedWithCode(0),
              "not enough memory for a context of 1048576 tokens");
}

// In a process of its own: ends with 0 if threads that do not fit are refused.
[[noreturn]] void start_many_threads() {
  limit_memory(64 << 20);  // a stack takes 8 MiB
  try {
    const cpu::ThreadPool pool(64);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::_Exit(0);
  }
  std::_Exit(1);
}

TEST(MemoryLimitDeathTest, ThreadsThatCannotBeStartedAreAnError) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers take more address space than there would be";
#endif
  EXPECT_EXIT(start_many_threads(), testing::ExitedWithCode(0),
              "64 threads are wanted and [0-9]+ could be started");
}

}  // namespace
}  // namespace fathom::engine
