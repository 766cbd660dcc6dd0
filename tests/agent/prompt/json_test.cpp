// JSON as the prompt spells it.
#include "agent/prompt/json.h"

#include <gtest/gtest.h>

namespace fathom::agent::prompt {
namespace {

std::string respelled(std::string_view text) {
  const auto value = read_json(text);
  return value ? python_spelling(*value) : "error: " + value.error().what;
}

TEST(Json, SpellsNumbersAsPythonDoes) {
  EXPECT_EQ(respelled("[1.0,1e30,0.1,-0.0,1e-7,1E+16,100000000000000000.0,1.50,2e0]"),
            "[1.0, 1e+30, 0.1, -0.0, 1e-07, 1e+16, 1e+17, 1.5, 2.0]");
  EXPECT_EQ(respelled("[0.0001,0.00001,1234567890123456.0,12345678901234567.0,123.456e2]"),
            "[0.0001, 1e-05, 1234567890123456.0, 1.2345678901234568e+16, 12345.6]");
  EXPECT_EQ(respelled("[5e-324,1e400,-1e400,1e-400]"), "[5e-324, Infinity, -Infinity, 0.0]");
}

TEST(Json, KeepsIntegersExact) {
  EXPECT_EQ(respelled("[12345678901234567890123,-7,0,-0]"), "[12345678901234567890123, -7, 0, 0]");
}

TEST(Json, KeepsTheOrderOfMembersAndTheLastOfTwo) {
  EXPECT_EQ(respelled(R"({"b":1,"a":2,"b":{"c":[]}})"), R"({"b": {"c": []}, "a": 2})");
}

TEST(Json, EscapesWhatPythonEscapes) {
  EXPECT_EQ(respelled(R"("\u0001\u001f\t\n\r\b\f\"\\\/\u007f\u2028é😀")"),
            "\"\\u0001\\u001f\\t\\n\\r\\b\\f\\\"\\\\/\x7f\u2028é😀\"");
  EXPECT_EQ(respelled(R"("\ud83d\ude00 \ud83d!")"), "\"😀 \uFFFD!\"");
}

TEST(Json, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(respelled("\"a\xFF\""), "\"a\uFFFD\"");
}

TEST(Json, AcceptsNothingButJson) {
  for (const char* text : {"", "NaN", "{a: 1}", "[1,]", "01", "1.", "\"\n\"", "tru", "[1] 2", "'a'",
                           "+1", "\"\\x\"", "{\"a\"}", "-"}) {
    EXPECT_FALSE(read_json(text)) << text;
  }
  EXPECT_FALSE(read_json(std::string(100000, '[')));
}

}  // namespace
}  // namespace fathom::agent::prompt
