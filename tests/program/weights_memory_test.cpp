// Weights larger than the memory they may take, as people meet them: the embedded model, held
// short.
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/program.h"

namespace fathom::tests {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

class WeightsMemory : public testing::Test {
 protected:
  Finished fathom(const std::vector<std::string>& arguments) const {
    return program_.run(arguments);
  }

  Json plan(const std::string& bytes) const {
    return Json::parse(fathom({"model", "info", "--json", "--weights-memory", bytes}).output)
        .at("memory")
        .at("weights_memory");
  }

  // The step event of a one-step run.
  Json step(std::vector<std::string> more) const {
    std::vector<std::string> words = {"run", "--json",      "--ephemeral", "--seed",
                                      "3",   "--max-steps", "1",           "Say hello."};
    words.insert(words.end(), more.begin(), more.end());
    const Finished run = fathom(words);
    std::istringstream lines(run.output);
    for (std::string line; std::getline(lines, line);) {
      Json event = Json::parse(line);
      if (event["type"] == "step") return event;
    }
    ADD_FAILURE() << run.output << run.error;
    return {};
  }

  Program program_;
};

TEST_F(WeightsMemory, IsPlannedByModelInfo) {
  const std::int64_t least = plan("1")["least"];
  EXPECT_FALSE(plan(std::to_string(least - 1)).contains("experts_in_memory"));

  const Json all = plan("64G");
  EXPECT_EQ(all["experts_in_memory"], all["experts"]);
  EXPECT_EQ(all["in_memory"],
            all["dense"].get<std::int64_t>() +
                all["experts"].get<std::int64_t>() * all["expert"].get<std::int64_t>());
}

TEST_F(WeightsMemory, IsRefusedBelowTheLeastThatModelInfoNames) {
  const std::int64_t least = plan("1")["least"];
  const Finished run =
      fathom({"bench", "-p", "8", "-n", "0", "--weights-memory", std::to_string(least - 1)});

  EXPECT_EQ(run.exit, 9);
  EXPECT_THAT(run.error, HasSubstr("at least " + std::to_string(least)));
}

TEST_F(WeightsMemory, ChangesNothingButTheNumbersOfAStep) {
  const std::string least = std::to_string(plan("1")["least"].get<std::int64_t>());
  const Json few = step({"--weights-memory", least});
  const Json all = step({});

  EXPECT_EQ(few["sampled"], all["sampled"]);
  EXPECT_EQ(few["prefilled"], all["prefilled"]);
  EXPECT_FALSE(all.contains("experts"));
  EXPECT_GT(few["experts"]["needed"], few["experts"]["hits"]);
  EXPECT_GT(few["experts"]["hit_rate"], 0);
  EXPECT_GT(few["experts"]["read_bytes"], 0);
}

}  // namespace
}  // namespace fathom::tests
