// The table of Host × Origin × token × role, and what a refused request is told.
#include "ui/server/trust.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "scripted_turn.h"
#include "ui/hub.h"
#include "ui/server/routes.h"
#include "ui/server/tokens.h"

namespace fathom::ui {
namespace {

using std::chrono::seconds;

const std::string kControl(43, 'c');
const std::string kView(43, 'v');

ServerOptions options() {
  ServerOptions options;
  options.hosts = {"build.example"};
  options.origins = {"https://build.example"};
  options.tokens = {.control = kControl, .view = kView};
  return options;
}

struct Case {
  std::string host;
  const char* origin;  // nullptr: none
  std::string bearer;
  std::string subprotocol;
  int status;
};

constexpr const char* kOurs = "http://127.0.0.1:7777";

TEST(Trust, AdmitsByHostThenOriginThenToken) {
  const std::vector<Case> cases = {
      {"127.0.0.1:7777", kOurs, kControl, "", 200},
      {"localhost:7777", "http://localhost:7777", kControl, "", 200},
      {"[::1]:7777", "http://[::1]:7777", kControl, "", 200},
      {"build.example", "https://build.example", kControl, "", 200},
      {"127.0.0.1:7777", nullptr, kControl, "", 200},
      {"127.0.0.1:7777", kOurs, "", "fathom.v1, k." + kControl, 200},
      {"127.0.0.1:7777", nullptr, "", "fathom.v1, k." + kControl, 403},  // no Origin, no Bearer
      // Names that were made to resolve here, and other ports' pages.
      {"evil.example:7777", kOurs, kControl, "", 403},
      {"127.0.0.1.evil.example:7777", kOurs, kControl, "", 403},
      {"127.0.0.1", kOurs, kControl, "", 403},
      {"", kOurs, kControl, "", 403},
      {"127.0.0.1:7777", "http://evil.example", kControl, "", 403},
      {"127.0.0.1:7777", "http://127.0.0.1:8080", kControl, "", 403},
      {"127.0.0.1:7777", "https://127.0.0.1:7777", kControl, "", 403},
      {"127.0.0.1:7777", "null", kControl, "", 403},
      {"127.0.0.1:7777", "", kControl, "", 403},
      {"127.0.0.1:7777", kOurs, "", "", 401},
      {"127.0.0.1:7777", kOurs, kControl + "x", "", 401},
      {"127.0.0.1:7777", kOurs, kControl.substr(1), "", 401},
      {"127.0.0.1:7777", kOurs, "", "fathom.v1, k.", 401},
      {"127.0.0.1:7777", kOurs, "", kControl, 401},
  };
  for (const Case& one : cases) {
    Trust trust(options(), 7777);
    const std::string authorization = one.bearer.empty() ? "" : "Bearer " + one.bearer;
    Credentials credentials{.host = one.host,
                            .origin = std::nullopt,
                            .authorization = authorization,
                            .subprotocols = one.subprotocol};
    if (one.origin != nullptr) credentials.origin = one.origin;

    EXPECT_EQ(trust.admit(credentials, {}).status, one.status)
        << one.host << " " << (one.origin != nullptr ? one.origin : "-") << " " << one.bearer << " "
        << one.subprotocol;
  }
}

Credentials with(const std::string& authorization) {
  return {.host = "127.0.0.1:7777",
          .origin = std::nullopt,
          .authorization = authorization,
          .subprotocols = {}};
}

TEST(Trust, GivesEachTokenItsRole) {
  Trust trust(options(), 7777);
  EXPECT_EQ(trust.admit(with("Bearer " + kControl), {}).role, Role::control);
  EXPECT_EQ(trust.admit(with("Bearer " + kView), {}).role, Role::view);
}

TEST(Trust, ClosesForAMinuteAfterTenWrongTokens) {
  Trust trust(options(), 7777);
  const Clock::time_point start = Clock::time_point() + seconds(1'000);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(trust.admit(with("Bearer wrong"), start + seconds(i)).status, 401);
  }

  EXPECT_EQ(trust.admit(with("Bearer " + kControl), start + seconds(10)).status, 429);
  EXPECT_EQ(trust.admit(with("Bearer " + kControl), start + seconds(70)).status, 200);
}

TEST(Trust, ForgetsWrongTokensAfterAMinute) {
  Trust trust(options(), 7777);
  const Clock::time_point start = Clock::time_point() + seconds(1'000);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(trust.admit(with("Bearer wrong"), start + seconds(7 * i)).status, 401);
  }
}

TEST(EqualSecrets, NeverTakesAnEmptyToken) {
  EXPECT_FALSE(equal_secrets("", ""));
  EXPECT_FALSE(equal_secrets("a", "ab"));
  EXPECT_FALSE(equal_secrets("ab", "aB"));
  EXPECT_TRUE(equal_secrets("ab", "ab"));
}

struct RoutesTest : testing::Test {
  Hub hub{scripted_source({})};
  Trust trust{options(), 7777};

  Response get(std::string_view target, bool with_token, std::string_view method = "GET") {
    const std::string authorization = "Bearer " + kControl;
    Request request{.method = method,
                    .target = target,
                    .credentials = with(authorization),
                    .if_none_match = if_none_match,
                    .range = {}};
    if (!with_token) request.credentials.authorization = {};
    return respond(request, trust, hub, {});
  }

  std::string if_none_match;
};

TEST_F(RoutesTest, AnswersThePageAndHealthWithoutAToken) {
  for (const char* path : {"/", "/c/01C", "/ui.css", "/ui.js", "/health"}) {
    EXPECT_EQ(get(path, false).status, 200) << path;
  }
}

TEST_F(RoutesTest, AnswersNothingElseWithoutAToken) {
  for (const char* path : {"/v1/conversations", "/v1/conversations/01C/index", "/v1/items/x", "/ws",
                           "/metrics", "/nothing", "/c", "//", "/../etc/passwd"}) {
    EXPECT_EQ(get(path, false).status, 403) << path;
  }
}

TEST_F(RoutesTest, TakesNoTokenFromTheQuery) {
  EXPECT_EQ(get("/v1/conversations?k=" + kControl, false).status, 403);
}

TEST_F(RoutesTest, AnswersGetAlone) {
  EXPECT_EQ(get("/", true, "POST").status, 405);
  EXPECT_EQ(get("/v1/conversations", true, "DELETE").status, 405);
  EXPECT_EQ(get("/v1/conversations", true, "HEAD").status, 200);
}

TEST_F(RoutesTest, SendsThePageOnce) {
  const Response first = get("/ui.js", false);
  if_none_match = first.etag;

  const Response second = get("/ui.js", false);

  EXPECT_EQ(first.gzip.substr(0, 2), "\x1f\x8b");
  EXPECT_EQ(second.status, 304);
  EXPECT_TRUE(second.gzip.empty());
}

TEST_F(RoutesTest, NamesWhatIsNotThere) {
  EXPECT_EQ(get("/v1/conversations/none/events", true).status, 404);
  EXPECT_EQ(get("/v1/items/t1.s1.text?conversation=none", true).status, 404);
  EXPECT_EQ(get("/v1/nothing", true).status, 404);
}

struct TokensTest : testing::Test {
  std::filesystem::path folder = [] {
    std::string name = testing::TempDir() + "fathom-tokens-XXXXXX";
    return std::filesystem::path(::mkdtemp(name.data()));
  }();
  std::filesystem::path file = folder / "state" / "serve-tokens";
  ~TokensTest() override { std::filesystem::remove_all(folder); }
};

TEST_F(TokensTest, SurviveARestartAndAreOurs) {
  const Tokens first = load_tokens(file, /*renew=*/false);
  const Tokens second = load_tokens(file, /*renew=*/false);

  EXPECT_EQ(first.control.size(), 44U);
  EXPECT_EQ(first.control, second.control);
  EXPECT_EQ(first.view, second.view);
  EXPECT_NE(first.control, first.view);
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(file).permissions(), perms::owner_read | perms::owner_write);
}

TEST_F(TokensTest, AreReplacedWhenAsked) {
  const Tokens first = load_tokens(file, /*renew=*/false);

  const Tokens second = load_tokens(file, /*renew=*/true);

  EXPECT_NE(first.control, second.control);
  EXPECT_EQ(load_tokens(file, /*renew=*/false).control, second.control);
}

TEST_F(TokensTest, AreMadeAgainFromADamagedFile) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << "control short\n";

  EXPECT_EQ(load_tokens(file, /*renew=*/false).control.size(), 44U);
}

}  // namespace
}  // namespace fathom::ui
