// The protocol between a hub with scripted turns and one connection, without a socket.
#include "ui/server/connection.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "scripted_turn.h"
#include "ui/hub.h"

namespace fathom::ui {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct ConnectionTest : testing::Test {
  Hub hub{scripted_source({})};
  Clock::time_point now = Clock::time_point() + seconds(100);
  Connection connection{hub, Role::control, "epoch", now};
  std::mutex mutex;
  std::condition_variable changed;
  int changes = 0;
  std::shared_ptr<Hub::Watch> watch = hub.watch([this] {
    const std::lock_guard lock(mutex);
    ++changes;
    changed.notify_all();
  });

  std::vector<Json> frames() {
    std::vector<Json> all;
    while (auto frame = connection.next_frame(now)) all.push_back(Json::parse(*frame));
    now += milliseconds(300);
    return all;
  }

  void say(const std::string& frame) {
    const auto refusal = connection.receive(frame, now);
    ASSERT_FALSE(refusal.has_value()) << refusal->message;
  }

  // Reads on until a frame satisfies `wanted`.
  template <typename Predicate>
  Json await(Predicate wanted) {
    const auto give_up = Clock::now() + seconds(20);
    while (Clock::now() < give_up) {
      int seen = 0;
      {
        const std::lock_guard lock(mutex);
        seen = changes;
      }
      for (Json& frame : frames()) {
        if (wanted(frame)) return frame;
      }
      std::unique_lock lock(mutex);
      changed.wait_for(lock, milliseconds(200), [&] { return changes != seen; });
    }
    ADD_FAILURE() << "the frame did not come";
    return Json::object();
  }

  Json ack(const std::string& id) {
    return await([&](const Json& frame) { return frame["f"] == "ack" && frame["id"] == id; });
  }
};

const char* const kHello = R"({"f":"hello","v":1})";

TEST_F(ConnectionTest, GreetsFirst) {
  const auto first = frames();

  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0]["f"], "hello");
  EXPECT_EQ(first[0]["v"], Json::array({1}));
  EXPECT_EQ(first[0]["role"], "control");
  EXPECT_EQ(first[0]["epoch"], "epoch");
  EXPECT_FALSE(first[0]["server"]["version"].get<std::string>().empty());
  EXPECT_FALSE(first[0]["server"]["build"].get<std::string>().empty());
}

TEST_F(ConnectionTest, WantsHelloFirstAndInTime) {
  EXPECT_EQ(connection.receive(R"({"f":"unsub"})", now)->close, CloseCode::not_understood);
  EXPECT_FALSE(connection.overdue(now + seconds(4)).has_value());
  EXPECT_EQ(connection.overdue(now + seconds(5))->close, CloseCode::silent);
}

TEST_F(ConnectionTest, BeatsWhenThereIsNothingToSay) {
  say(kHello);
  frames();

  EXPECT_FALSE(connection.next_frame(now + seconds(1)).has_value());
  const auto beat = connection.next_frame(now + seconds(5));

  ASSERT_TRUE(beat.has_value());
  EXPECT_EQ(Json::parse(*beat)["f"], "beat");
  EXPECT_LE(connection.due(now + seconds(6)), now + seconds(10));
}

TEST_F(ConnectionTest, RunsATurnInANewConversation) {
  hub.start();
  say(kHello);
  say(R"({"f":"cmd","id":"01A","do":"turn","text":"fix it"})");

  const Json done = await([](const Json& frame) {
    return frame["f"] == "ack" && frame["id"] == "01A" && frame["n"].is_number();
  });
  EXPECT_EQ(done["status"], "done");
  EXPECT_EQ(done["n"], 1);
  say(R"({"f":"sub","conversation":")" + done["conversation"].get<std::string>() + "\"}");
  const Json events = await([](const Json& frame) {
    return frame["f"] == "ev" && frame["list"].back()["type"] == "result";
  });
  EXPECT_EQ(events["list"].back()["status"], "answered");
}

TEST_F(ConnectionTest, CarriesACommandOutOnce) {
  hub.start();
  say(kHello);
  const std::string turn = R"({"f":"cmd","id":"01A","do":"turn","text":"fix it"})";
  say(turn);
  const Json first =
      await([](const Json& frame) { return frame["f"] == "ack" && frame["n"].is_number(); });

  say(turn);

  const Json again = ack("01A");
  EXPECT_EQ(again["status"], "duplicate");
  EXPECT_EQ(again["n"], first["n"]);
  EXPECT_EQ(Json::parse(hub.list("", 0, 10))["total"], 1);
}

TEST_F(ConnectionTest, CarriesACommandOutOnceAlsoAcrossARestart) {
  AgentSource source = scripted_source({});
  source.list = [] {
    return std::vector<ConversationRow>{{.id = "01C", .title = "fix it", .workspace = ""}};
  };
  source.events = [](const std::string&) {
    return std::vector<std::string>{R"({"v":1,"n":0,"t":0,"type":"start"})",
                                    R"({"v":1,"n":1,"t":0,"type":"turn","turn":1,"cause":"01A"})"};
  };
  Hub later(source);

  const Ack again = later.command({.id = "01A",
                                   .conversation = "01C",
                                   .action = "turn",
                                   .text = "fix it",
                                   .mode = "",
                                   .think_budget = 0,
                                   .expected_n = std::nullopt});

  EXPECT_EQ(again.status, Ack::Status::duplicate);
  EXPECT_EQ(again.n, 1);
}

// A source whose store holds what another process left: a conversation that command 01A made.
AgentSource later_source(std::vector<std::string> events) {
  AgentSource source = scripted_source({});
  source.list = [] {
    return std::vector<ConversationRow>{{.id = "01C", .title = "fix it", .workspace = ""}};
  };
  source.events = [events = std::move(events)](const std::string&) { return events; };
  source.made_by = [](const std::string& cause) {
    return cause == "01A" ? std::optional<std::string>("01C") : std::nullopt;
  };
  return source;
}

const Command kNewTurn{.id = "01A",
                       .conversation = "",
                       .action = "turn",
                       .text = "fix it",
                       .mode = "",
                       .think_budget = 0,
                       .expected_n = std::nullopt};

TEST_F(ConnectionTest, StartsAConversationOnceAlsoAcrossARestart) {
  Hub later(later_source({R"({"v":1,"n":0,"t":0,"type":"start"})",
                          R"({"v":1,"n":1,"t":0,"type":"turn","turn":1,"cause":"01A"})"}));

  const Ack again = later.command(kNewTurn);

  EXPECT_EQ(again.status, Ack::Status::duplicate);
  EXPECT_EQ(again.conversation, "01C");
  EXPECT_EQ(again.n, 1);
}

TEST_F(ConnectionTest, RunsATurnThatWasNeverBegunInTheConversationThatWasMadeForIt) {
  Hub later(later_source({}));

  const Ack again = later.command(kNewTurn);

  EXPECT_EQ(again.status, Ack::Status::queued);
  EXPECT_EQ(again.conversation, "01C");
}

TEST_F(ConnectionTest, RefusesACommandThatTheStoreCannotTake) {
  AgentSource source = scripted_source({});
  source.made_by = [](const std::string&) -> std::optional<std::string> {
    throw std::runtime_error("memory.sqlite: the disk is full");
  };
  Hub full(source);
  Connection refused(full, Role::control, "epoch", now);
  ASSERT_FALSE(refused.receive(kHello, now));

  ASSERT_FALSE(refused.receive(R"({"f":"cmd","id":"01A","do":"turn","text":"x"})", now));

  std::string last;
  while (const auto frame = refused.next_frame(now)) last = *frame;
  EXPECT_EQ(Json::parse(last)["status"], "refused");
  EXPECT_EQ(Json::parse(last)["error"]["code"], "store.failed");
}

TEST_F(ConnectionTest, QueuesATurnWhileTheEngineLoads) {
  say(kHello);
  say(R"({"f":"cmd","id":"01A","do":"turn","text":"fix it"})");

  EXPECT_EQ(ack("01A")["status"], "queued");
  hub.start();
  EXPECT_EQ(await([](const Json& frame) {
              return frame["f"] == "ack" && frame["n"].is_number();
            })["status"],
            "done");
}

TEST_F(ConnectionTest, TakesAWaitingTurnBack) {
  say(kHello);
  say(R"({"f":"cmd","id":"01A","do":"turn","text":"fix it"})");
  say(R"({"f":"cmd","id":"01B","do":"unqueue","text":"01A"})");

  EXPECT_EQ(ack("01B")["status"], "done");
  hub.start();
  EXPECT_EQ(Json::parse(hub.list("", 0, 10))["total"], 0);
}

TEST_F(ConnectionTest, RefusesWhatItCannotDo) {
  say(kHello);
  say(R"({"f":"cmd","id":"01A","do":"stop","conversation":"01C"})");
  say(R"({"f":"cmd","id":"01B","do":"rewind","conversation":"01C"})");
  say(R"({"f":"cmd","id":"01D","do":"turn","conversation":"none","text":"x"})");

  EXPECT_EQ(ack("01A")["error"]["code"], "not_running");
}

TEST_F(ConnectionTest, OnlyWatchesWithTheRoleView) {
  Connection view(hub, Role::view, "epoch", now);
  view.next_frame(now);
  ASSERT_FALSE(view.receive(kHello, now).has_value());
  ASSERT_FALSE(view.receive(R"({"f":"cmd","id":"01A","do":"turn","text":"x"})", now).has_value());

  const Json ack = Json::parse(*view.next_frame(now));

  EXPECT_EQ(ack["status"], "refused");
  EXPECT_EQ(ack["error"]["code"], "forbidden");
  EXPECT_EQ(Json::parse(hub.list("", 0, 10))["total"], 0);
}

TEST_F(ConnectionTest, LimitsTheRateOfCommandsWithoutClosing) {
  say(kHello);
  for (int i = 0; i < 60; ++i) {
    say(R"({"f":"cmd","id":"01)" + std::to_string(i) + R"(","do":"stop","conversation":"c"})");
  }
  say(R"({"f":"cmd","id":"one-too-many","do":"stop","conversation":"c"})");

  EXPECT_EQ(ack("one-too-many")["error"]["code"], "rate");
}

TEST_F(ConnectionTest, FollowsAtMostEightConversations) {
  hub.start();
  say(kHello);
  for (int i = 0; i < 9; ++i) {
    const std::string id = "01A" + std::to_string(i);
    say(R"({"f":"cmd","id":")" + id + R"(","do":"turn","text":"x"})");
    const Json done = await([&](const Json& frame) {
      return frame["f"] == "ack" && frame["id"] == id && frame["n"].is_number();
    });
    say(R"({"f":"sub","conversation":")" + done["conversation"].get<std::string>() + "\"}");
  }

  EXPECT_EQ(await([](const Json& frame) { return frame["f"] == "error"; })["code"], "sub.too_many");
}

TEST_F(ConnectionTest, EndsOneThatOnlyTalks) {
  say(kHello);
  std::optional<Refusal> refusal;
  for (int i = 0; i < 1'000 && !refusal; ++i) refusal = connection.receive(R"({"f":"x"})", now);

  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->close, CloseCode::too_many);
}

}  // namespace
}  // namespace fathom::ui
