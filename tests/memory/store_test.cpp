// What the store promises: durable, contiguous, private, never destroying what it does not know.
#include "memory/store.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <thread>

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "memory/error.h"
#include "memory/sqlite.h"
#include "support/temp_dir.h"

namespace fathom::memory {
namespace {

using testing::HasSubstr;
using tests::TempDir;

const NewConversation kAbout{
    .workspace = "/w", .model = "pocket", .fingerprint = "f", .vocabulary = "v"};

Entry entry(std::int64_t n, std::string type = "note") {
  Entry entry;
  entry.event = {.n = n, .t = 5, .type = std::move(type), .json = "{}"};
  return entry;
}

std::string failure(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Store, GivesBackWhatWasAppendedInOrder) {
  Store store = Store::in_memory();
  const std::string id = store.create(kAbout);

  Entry first = entry(0, "turn");
  first.tokens = TokensRecord{.turn = 1, .tokens = {0, 5, -1}};
  first.title = "fix it";
  store.append(id, first);
  Entry second = entry(1, "step");
  second.tokens = TokensRecord{
      .turn = 1, .step = 1, .source = TokensRecord::Source::sampled, .tokens = {7}, .calls = 2};
  second.outcome = OutcomeRecord{.turn = 1, .step = 1, .call = 1, .text = "a\0b", .full = "whole"};
  store.append(id, second);

  const auto record = store.conversation(id);
  EXPECT_EQ(record->title, "fix it");
  EXPECT_EQ(record->events, 2);
  EXPECT_EQ(record->turns, 1);
  EXPECT_EQ(record->steps, 1);
  const auto tokens = store.tokens(id);
  ASSERT_EQ(tokens.size(), 2U);
  EXPECT_THAT(tokens[0].tokens, testing::ElementsAre(0, 5, -1));
  EXPECT_EQ(tokens[1].source, TokensRecord::Source::sampled);
  EXPECT_EQ(tokens[1].calls, 2);
  EXPECT_EQ(store.outcomes(id).at(0).full, "whole");
  EXPECT_EQ(store.events(id, 1).at(0).type, "step");
}

TEST(Store, RefusesAnEventThatDoesNotFollowAndChangesNothing) {
  Store store = Store::in_memory();
  const std::string id = store.create(kAbout);
  store.append(id, entry(0));

  Entry again = entry(0);
  again.tokens = TokensRecord{.turn = 1, .tokens = {1}};
  EXPECT_THAT(failure([&] { store.append(id, again); }), HasSubstr("another process"));
  EXPECT_THAT(failure([&] { store.append(id, entry(2)); }), HasSubstr("another process"));

  EXPECT_EQ(store.conversation(id)->events, 1);
  EXPECT_TRUE(store.tokens(id).empty());
}

TEST(Store, KeepsTheFileForItsOwnerAlone) {
  const TempDir dir;
  const auto file = dir.path() / "new" / "memory.sqlite";

  Store store(file);
  store.create(kAbout);

  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat about = {};
    ASSERT_EQ(::stat((file.string() + suffix).c_str(), &about), 0) << suffix;
    EXPECT_EQ(about.st_mode & 0777, 0600U) << suffix;
  }
  struct stat folder = {};
  ASSERT_EQ(::stat(file.parent_path().c_str(), &folder), 0);
  EXPECT_EQ(folder.st_mode & 0777, 0700U);
}

TEST(Store, LeavesAForeignFileAsItIs) {
  const TempDir dir;
  const std::string text = "This is a letter, and long enough to be mistaken for something else. " +
                           std::string(4096, '.');
  const auto file = dir.write("memory.sqlite", text);

  EXPECT_THAT(failure([&] { Store store(file); }), HasSubstr(file.string()));

  EXPECT_EQ(dir.read("memory.sqlite"), text);
}

TEST(Store, RefusesTheDatabaseOfAnotherProgram) {
  const TempDir dir;
  const auto file = (dir.path() / "other.sqlite").string();
  Database(file).execute("CREATE TABLE song (title TEXT)");

  EXPECT_THAT(failure([&] { Store store(file); }), HasSubstr("another program"));

  EXPECT_EQ(Database(file).integer("SELECT count(*) FROM sqlite_schema"), 1);
}

TEST(Store, RefusesANewerVersion) {
  const TempDir dir;
  const auto file = (dir.path() / "memory.sqlite").string();
  Store{file}.create(kAbout);
  Database(file).execute("PRAGMA user_version = 99");

  EXPECT_THAT(failure([&] { Store store(file); }), HasSubstr("version 99"));
}

TEST(Store, MakesOneConversationForACommand) {
  Store store = Store::in_memory();
  NewConversation about = kAbout;
  about.cause = "01A";
  const std::string id = store.create(about);
  store.create(kAbout);
  store.create(kAbout);

  EXPECT_EQ(store.made_by("01A"), id);
  EXPECT_EQ(store.made_by("01B"), std::nullopt);
  EXPECT_EQ(store.made_by(""), std::nullopt);
  EXPECT_THAT(failure([&] { store.create(about); }), HasSubstr("UNIQUE"));
  store.append(id, entry(0));
  store.fork(id);
  EXPECT_EQ(store.made_by("01A"), id);
}

TEST(Store, BringsAFileOfVersion1UpToDate) {
  const TempDir dir;
  const auto file = (dir.path() / "memory.sqlite").string();
  const std::string id = Store{file}.create(kAbout);
  Database(file).execute(
      "DROP INDEX conversation_by_cause; ALTER TABLE conversation DROP COLUMN cause;"
      "PRAGMA user_version = 1");

  Store store(file);
  NewConversation about = kAbout;
  about.cause = "01A";

  EXPECT_EQ(store.made_by("01A"), std::nullopt);
  const std::string made = store.create(about);
  EXPECT_EQ(store.made_by("01A"), made);
  EXPECT_EQ(store.find(id), id);
  EXPECT_EQ(Database(file).integer("PRAGMA user_version"), 2);
}

TEST(Store, SaysWhichFileIsDamaged) {
  const TempDir dir;
  const auto file = dir.path() / "memory.sqlite";
  std::string id;
  {
    Store store(file);
    id = store.create(kAbout);
    for (int n = 0; n < 200; ++n) store.append(id, entry(n));
  }
  std::string bytes = dir.read("memory.sqlite");
  ASSERT_GT(bytes.size(), 8192U);
  std::fill(bytes.begin() + 4096, bytes.end(), 'x');
  dir.write("memory.sqlite", bytes);

  const std::string said = failure([&] {
    Store store(file);
    store.create(kAbout);
  });

  EXPECT_THAT(said, HasSubstr(file.string()));
  EXPECT_THAT(said, HasSubstr("damaged"));
  EXPECT_EQ(dir.read("memory.sqlite"), bytes);
}

TEST(Store, FindsAConversationByWordsOfItsMessages) {
  Store store = Store::in_memory();
  const auto said = [&](const std::string& workspace, const std::string& text) {
    const std::string id =
        store.create({.workspace = workspace, .model = "m", .fingerprint = "f", .vocabulary = "v"});
    Entry message;
    message.event = {.n = 0, .t = 0, .type = "turn", .json = "{\"text\":\"" + text + "\"}"};
    store.append(id, message);
    return id;
  };
  const std::string kettle = said("/w", "Mend the Kettle 100%.");
  const std::string elsewhere = said("/other", "the kettle again");

  EXPECT_EQ(store.find_or_search("kettle", "/w"), kettle);
  EXPECT_EQ(store.find_or_search("100%", "/w"), kettle);
  EXPECT_EQ(store.find_or_search("KETTLE again", "/other"), elsewhere);
  EXPECT_EQ(store.find_or_search(elsewhere.substr(0, 25), "/w"), elsewhere);
  EXPECT_THAT(failure([&] { store.find_or_search("teapot", "/w"); }), HasSubstr("teapot"));
  EXPECT_THAT(failure([&] { store.find_or_search("", "/w"); }), HasSubstr("no conversation"));
}

TEST(Store, FindsAConversationByTheBeginningOfItsId) {
  Store store = Store::in_memory();
  const std::string one = store.create(kAbout);
  const std::string two = store.create(kAbout);
  std::string lower = two;
  for (char& c : lower) c = static_cast<char>(std::tolower(c));

  EXPECT_EQ(store.find(lower), two);
  EXPECT_THAT(failure([&] { store.find(one.substr(0, 2)); }), HasSubstr("several"));
  EXPECT_THAT(failure([&] { store.find("%"); }), HasSubstr("no conversation"));
  EXPECT_THAT(failure([&] { store.find(""); }), HasSubstr("no conversation"));
}

TEST(Store, ListsTheLatestOfAWorkspaceFirst) {
  Store store = Store::in_memory();
  const std::string here = store.create(kAbout);
  NewConversation about = kAbout;
  about.workspace = "/elsewhere";
  const std::string there = store.create(about);
  Entry later = entry(0, "result");
  later.status = "answered";
  store.append(there, later);

  EXPECT_EQ(store.list(10).size(), 2U);
  EXPECT_EQ(store.list(1, "/w").at(0).id, here);
  EXPECT_EQ(store.list(1, "/elsewhere").at(0).status, "answered");
}

TEST(Store, IsSharedByManyWritersAtOnce) {
  const TempDir dir;
  const auto file = dir.path() / "memory.sqlite";
  constexpr int kWriters = 4;
  constexpr int kEvents = 25;

  std::vector<std::jthread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    // A connection each, from the first creation on: as processes do.
    writers.emplace_back([&file] {
      Store store(file);
      const std::string id = store.create(kAbout);
      for (int n = 0; n < kEvents; ++n) store.append(id, entry(n));
    });
  }
  writers.clear();

  const Store store(file);
  const auto all = store.list(100);
  ASSERT_EQ(all.size(), static_cast<std::size_t>(kWriters));
  for (const ConversationRecord& one : all) EXPECT_EQ(one.events, kEvents);
}

}  // namespace
}  // namespace fathom::memory
