// What a session takes from the heap while it decodes. Counts every allocation of this program, so
// it is a program of its own.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include "engine/session.h"
#include "test_paths.h"

namespace {

std::atomic<std::int64_t> allocations{0};

}  // namespace

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCounts = false;  // sanitizers have operators of their own
#else
constexpr bool kCounts = true;

void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  ++allocations;
  const auto step = static_cast<std::size_t>(alignment);
  if (void* memory = std::aligned_alloc(step, (bytes + step - 1) / step * step)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
#endif

namespace fathom::engine {
namespace {

constexpr int kPage = 128;  // tokens; a new page is memory that the context needs

std::vector<Token> some_tokens(int count) {
  std::vector<Token> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(i * 37 % 300);
  return tokens;
}

// Both kinds of files, several threads, and a depth at which rows are chosen. Without drafts: how
// many are made follows measured times, and their buffers take memory until the longest was made.
TEST(Decode, AllocatesOnlyWhereThePageIsFull) {
  if (!kCounts) GTEST_SKIP() << "sanitizers allocate themselves";
  for (const char* file : {"hf", "gb.official.gguf"}) {
    const auto engine = Engine::load(std::filesystem::path(FATHOM_SHARED) / "golden" / "gb" / file,
                                     {.threads = 2, .draft_tokens = 0});
    Session session(engine);
    const std::vector<Token> prompt = some_tokens(5 * kPage + 1);
    session.sync(prompt, {}, {});
    session.append(1);

    const std::int64_t before = allocations;
    for (int i = 2; i < kPage; ++i) session.append(static_cast<Token>(i));
    const std::int64_t within = allocations - before;
    session.append(7);

    EXPECT_EQ(within, 0) << file;
    EXPECT_GT(allocations, before) << "the count sees what the session takes";
    ASSERT_EQ(session.tokens().size(), prompt.size() + kPage);
  }
}

}  // namespace
}  // namespace fathom::engine
