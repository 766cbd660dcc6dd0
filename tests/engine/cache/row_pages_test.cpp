// Pages of long timelines: what they hold, and what becomes of their memory.
#include "engine/cache/row_pages.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

using Page = std::shared_ptr<std::byte[]>;

constexpr std::size_t kBytes = 43'210;  // no multiple of anything

std::vector<Page> make_pages(RowPages& from, int count) {
  std::vector<Page> pages;
  for (int i = 0; i < count; ++i) pages.push_back(from.make());
  return pages;
}

bool holds(const Page& page, int value) {
  return std::all_of(page.get(), page.get() + kBytes,
                     [&](std::byte byte) { return byte == static_cast<std::byte>(value); });
}

void fill(const std::vector<Page>& pages) {
  for (std::size_t i = 0; i < pages.size(); ++i) {
    std::memset(pages[i].get(), static_cast<int>(i % 251) + 1, kBytes);
  }
}

std::int64_t resident() {
  std::ifstream file("/proc/self/statm");
  std::int64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// On both sides of the first region's start and of its end.
TEST(RowPages, AreZerosAndApart) {
  RowPages from(kBytes);
  const std::vector<Page> pages = make_pages(from, 1200);
  for (const Page& page : pages) ASSERT_TRUE(holds(page, 0));
  fill(pages);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    ASSERT_TRUE(holds(pages[i], static_cast<int>(i % 251) + 1)) << i;
  }
}

TEST(RowPages, StayWhenTheirNeighboursGo) {
  RowPages from(kBytes);
  std::vector<Page> pages = make_pages(from, 1200);
  fill(pages);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (i % 7 != 3) pages[i].reset();
  }
  for (std::size_t i = 3; i < pages.size(); i += 7) {
    ASSERT_TRUE(holds(pages[i], static_cast<int>(i % 251) + 1)) << i;
  }
}

TEST(RowPages, OutliveWhoMadeThem) {
  Page last;
  {
    RowPages from(kBytes);
    last = make_pages(from, 600).back();
  }
  std::memset(last.get(), 5, kBytes);
  EXPECT_TRUE(holds(last, 5));
}

TEST(RowPages, GiveTheirMemoryBackWhileOthersOfTheRegionLive) {
  RowPages from(kBytes);
  const std::vector<Page> first = make_pages(from, 400);  // before regions
  std::vector<Page> pages = make_pages(from, 1500);
  fill(pages);
  const std::int64_t before = resident();
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (i % 100 != 50) pages[i].reset();
  }
  const auto released = static_cast<std::int64_t>(1485 * kBytes);
  EXPECT_GT(before - resident(), released * 9 / 10);
}

TEST(RowPages, BeginAnewInACopy) {
  RowPages from(kBytes);
  std::vector<Page> pages = make_pages(from, 500);
  RowPages copy = from;
  const std::vector<Page> of_copy = make_pages(copy, 500);
  pages.insert(pages.end(), of_copy.begin(), of_copy.end());
  fill(pages);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    ASSERT_TRUE(holds(pages[i], static_cast<int>(i % 251) + 1)) << i;
  }
}

}  // namespace
}  // namespace fathom::engine
