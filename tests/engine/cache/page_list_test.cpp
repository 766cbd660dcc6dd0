// Lists of pages that copies share until one side changes.
#include "engine/cache/page_list.h"

#include <vector>

#include <gtest/gtest.h>

namespace fathom::engine {
namespace {

PageList::Owner page() {
  return std::make_shared<std::byte[]>(8);
}

PageList list_of(int count) {
  PageList list;
  for (int i = 0; i < count; ++i) list.append(page());
  return list;
}

std::vector<std::byte*> pages_of(const PageList& list) {
  return {list.addresses(), list.addresses() + list.size()};
}

TEST(PageList, HoldsWhatWasAppended) {
  PageList list = list_of(200);
  const PageList::Owner last = page();
  list.append(last);

  EXPECT_EQ(list.size(), 201);
  EXPECT_EQ(list[200], last.get());
  for (int i = 0; i < list.size(); ++i) EXPECT_EQ(list[i], list.owner(i).get());
}

TEST(PageList, CountsNoPageUpForACopy) {
  const PageList list = list_of(1000);
  const PageList copy = list;
  EXPECT_EQ(pages_of(copy), pages_of(list));
  EXPECT_EQ(list.owner(500).use_count(), 1);
}

TEST(PageList, ChangesOneSideAlone) {
  for (const int count : {63, 64, 65, 130}) {
    PageList list = list_of(count);
    PageList copy = list;
    const auto before = pages_of(list);
    copy.replace(count / 2, page());
    copy.append(page());
    copy.shorten(count - 1);
    copy.append(page());
    EXPECT_EQ(pages_of(list), before) << count;
    for (int i = 0; i < count; ++i) EXPECT_EQ(list[i], list.owner(i).get());
    for (int i = 0; i < copy.size(); ++i) EXPECT_EQ(copy[i], copy.owner(i).get());
    EXPECT_NE(copy[count / 2], list[count / 2]) << count;
    EXPECT_NE(copy[count - 1], list[count - 1]) << count;

    // And the one that was copied.
    const auto copied = pages_of(copy);
    list.replace(0, page());
    list.append(page());
    EXPECT_EQ(pages_of(copy), copied) << count;
  }
}

TEST(PageList, KeepsPagesAsLongAsOneOfTwoHasThem) {
  PageList list = list_of(100);
  const std::weak_ptr<std::byte[]> gone = list.owner(70), kept = list.owner(10);
  PageList copy = list;
  list.shorten(20);
  EXPECT_FALSE(gone.expired());
  copy = PageList();
  list.append(page());
  EXPECT_TRUE(gone.expired());
  EXPECT_FALSE(kept.expired());
}

TEST(PageList, LetsGoOfWhatIsCutOff) {
  PageList list = list_of(130);
  const std::weak_ptr<std::byte[]> first = list.owner(70), second = list.owner(129);
  list.shorten(70);
  EXPECT_EQ(list.size(), 70);
  EXPECT_TRUE(first.expired());
  EXPECT_TRUE(second.expired());
}

}  // namespace
}  // namespace fathom::engine
