// What the parser of TOML could not answer is refused before it sees it; what it can is not.
#include "configs/toml_text.h"

#include <gtest/gtest.h>

namespace tessera::configs {
namespace {

std::string refused(const std::string& text) {
  const Status status = check_toml_text("x.toml", text);
  return status.ok() ? "" : status.error().message;
}

std::string key_of(int parts) {
  std::string key = "a";
  for (int part = 1; part < parts; ++part) key += ".a";
  return key;
}

TEST(TomlText, TakesAnyCharacterInQuotesAndComments) {
  EXPECT_EQ(refused("\xEF\xBB\xBFname = \"Zürich, 30 W – passiv\"  # bei 25 °C\n# größer\n\"clé\" = 'é'\n"), "");
  EXPECT_EQ(refused("quoted = \"\\\"#é\" # é\n"), "");
  EXPECT_EQ(refused("path = 'C:\\' # é, for a backslash escapes nothing here\n"), "");
  EXPECT_EQ(refused(""), "");
  EXPECT_EQ(refused("\n\n"), "");
}

TEST(TomlText, NamesTheLineOfOtherCharacters) {
  const std::string wrong = "a character that is not ASCII stands outside of quotes";
  EXPECT_EQ(refused("é = 1"), "x.toml:1: " + wrong);
  EXPECT_EQ(refused("a = 1\nb = é\n"), "x.toml:2: " + wrong);
  EXPECT_EQ(refused("a = \"#\" é\n"), "x.toml:1: " + wrong);
  EXPECT_EQ(refused("a = \"\\\\\" é\n"), "x.toml:1: " + wrong);
  EXPECT_EQ(refused("a = '\\' é\n"), "x.toml:1: " + wrong);
  EXPECT_EQ(refused("a = 1\n\xEF\xBB\xBF"
                    "b = 1\n"),
            "x.toml:2: " + wrong);  // a mark that is not at the start
  EXPECT_EQ(refused("\xEF\xBB\xBF\xEF\xBB\xBF"
                    "b = 1\n"),
            "x.toml:1: " + wrong);
  EXPECT_EQ(refused("a = \"is not closed, é\nb = é\n"), "x.toml:2: " + wrong);
}

TEST(TomlText, BoundsThePartsOfKeys) {
  const std::string wrong = "a key has more than 32 parts";
  EXPECT_EQ(refused(key_of(32) + " = 1\n[" + key_of(32) + "]\n"), "");
  EXPECT_EQ(refused(key_of(33) + " = 1\n"), "x.toml:1: " + wrong);
  EXPECT_EQ(refused("\n[[" + key_of(500'000) + "]]\n"), "x.toml:2: " + wrong);
  EXPECT_EQ(refused("a = { " + key_of(2) + " = 1, \"b#\".'='." + key_of(32) + " = 1 }\n"), "x.toml:1: " + wrong);
}

TEST(TomlText, TakesManyNumbersInALine) {
  std::string list = "a = [0.5";
  for (int i = 0; i < 1000; ++i) list += ", 0.5";
  EXPECT_EQ(refused(list + "]\n# " + std::string(100, '.') + "\nb = \"" + std::string(100, '.') + "\"\n"), "");
}

TEST(TomlText, RefusesTextsOfSeveralLines) {
  const std::string wrong = "texts of several lines are not read; write one line, in one quote";
  EXPECT_EQ(refused("a = \"\"\"\none\"\"\"\n"), "x.toml:1: " + wrong);
  EXPECT_EQ(refused("\na = '''one'''\n"), "x.toml:2: " + wrong);
  EXPECT_EQ(refused("a = \"\"  # empty\nb = ''\n"), "");
}

}  // namespace
}  // namespace tessera::configs
