// Holds Schema against the draft 7 suite of json-schema.org that Debian packages.
#include "tools/schema.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tools/error.h"

namespace fathom::tools {
namespace {

using nlohmann::json;

const std::filesystem::path kSuite = "/usr/share/json-schema-test-suite/tests/draft7";
const std::filesystem::path kRemotes = "/usr/share/json-schema-test-suite/remotes";

// They want the standard's own schema, which the suite does not carry and Schema never fetches.
const std::set<std::string> kNeedMetaschema = {"definitions.json: valid definition",
                                               "definitions.json: invalid definition",
                                               "ref.json: remote ref, containing refs itself"};

// A schema with the documents that the suite expects on a server bundled into it: "$id" names them.
json bundled(const json& schema) {
  json definitions = json::object();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kRemotes)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = entry.path().lexically_relative(kRemotes);
    definitions[name] = json::parse(std::ifstream(entry.path()));
    definitions[name]["$id"] = "http://localhost:1234/" + name;
  }
  return {{"allOf", json::array({schema})}, {"definitions", definitions}};
}

TEST(Schema, AgreesWithTheDraft7Suite) {
  if (!std::filesystem::exists(kSuite)) GTEST_SKIP() << "json-schema-test-suite is not installed";
  int checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSuite)) {
    const std::string file = entry.path().filename();
    if (entry.is_directory()) continue;  // optional/: formats and numbers beyond 64 bits
    for (const json& group : json::parse(std::ifstream(entry.path()))) {
      const std::string name = file + ": " + group["description"].get<std::string>();
      if (kNeedMetaschema.contains(name)) {
        std::printf("left out, needs the standard's own schema: %s\n", name.c_str());
        continue;
      }
      const json& given = group["schema"];
      const Schema schema(file == "refRemote.json" ? bundled(given) : given);
      for (const json& test : group["tests"]) {
        EXPECT_EQ(schema.check(test["data"]).empty(), test["valid"].get<bool>())
            << name << ": " << test["description"];
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 415);
}

TEST(Schema, NamesThePlaceAndTheRule) {
  const Schema schema(
      json::parse(R"({"properties":{"from":{"type":"integer"},"text":{}},"required":["text"]})"));

  const auto faults = schema.check(json::parse(R"({"from":"12"})"));

  ASSERT_EQ(faults.size(), 2U);
  EXPECT_EQ(faults[0].keyword + " " + faults[0].wanted, "required text");
  EXPECT_EQ(faults[1].place + " " + faults[1].wanted, "/from integer");
}

TEST(Schema, RefusesReferencesThatLeadNowhere) {
  EXPECT_THROW(Schema(json{{"$ref", "#/definitions/none"}}), Error);
  EXPECT_THROW(Schema(json{{"$ref", "http://localhost/other.json"}}), Error);
}

TEST(Schema, EndsCirclesOfReferences) {
  const Schema schema(json{{"$ref", "#"}});

  EXPECT_FALSE(schema.check(1).empty());
}

}  // namespace
}  // namespace fathom::tools
