// JSON from anywhere: nesting is bounded before anything is copied or printed level by level.
#include "shards/parse_json.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace tessera {
namespace {

std::string nested(int levels) { return std::string(levels, '[') + std::string(levels, ']'); }

TEST(ParseJson, TakesAsManyLevelsAsItSays) { EXPECT_TRUE(parse_json(nested(kMostJsonLevels)).is_array()); }

TEST(ParseJson, RefusesOneLevelMore) { EXPECT_TRUE(parse_json(nested(kMostJsonLevels + 1)).is_discarded()); }

TEST(ParseJson, RefusesWhatIsNotJson) {
  for (const char* text : {"", "{", "]", "\"", "\"\\", "nothing"}) EXPECT_TRUE(parse_json(text).is_discarded()) << text;
}

TEST(ParseJson, CountsNoBracketsInStrings) {
  const std::string brackets(1000, '[');
  EXPECT_EQ(parse_json("\"" + brackets + "\"").get<std::string>(), brackets);
  EXPECT_EQ(parse_json("\"\\\"" + brackets + "\"").get<std::string>(), "\"" + brackets);
  EXPECT_TRUE(parse_json("[\"\\\\\"," + nested(kMostJsonLevels) + "]").is_discarded());
}

}  // namespace
}  // namespace tessera
