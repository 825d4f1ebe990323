// Keys of too many parts are refused before the parser sees them; whatever else has many dots is not.
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

const std::string kWrong = "a key has more than 32 parts";

TEST(TomlText, BoundsThePartsOfKeys) {
  EXPECT_EQ(refused(key_of(32) + " = 1\n[" + key_of(32) + "]\n"), "");
  EXPECT_EQ(refused(key_of(33) + " = 1\n"), "x.toml:1: " + kWrong);
  EXPECT_EQ(refused("\n[[" + key_of(500'000) + "]]\n"), "x.toml:2: " + kWrong);
  EXPECT_EQ(refused("a = { " + key_of(2) + " = 1, \"b#\".'='." + key_of(32) + " = 1 }\n"), "x.toml:1: " + kWrong);
}

TEST(TomlText, CountsAfterQuotesThatAreClosed) {
  const std::string key = "\n" + key_of(33) + " = 1\n";
  for (const std::string text : {"a = \"\\\"\"", "a = '\\'", "a = \"\"\"\n\"\" \\\"\"\"\"\"\"", "a = '''\n'''''", "a = \"\"",
                                 "a = ''", "a = 1 # \"", "a = \"is not closed", "a = \"\\\\\"", "a = \"\"\"\\\\\"\"\""})
    EXPECT_NE(refused(text + key).find(kWrong), std::string::npos) << text;
}

TEST(TomlText, TakesDotsInTextsCommentsAndLists) {
  const std::string dots(100, '.');
  std::string list = "a = [0.5";
  for (int i = 0; i < 1000; ++i) list += ", 0.5";
  EXPECT_EQ(refused(list + "]\n# " + dots + "\nb = \"" + dots + "\" # " + dots + "\nc = '" + dots + "'\n"), "");
  EXPECT_EQ(refused("a = \"\"\"\n" + dots + "\n\\\"\"\"" + dots + "\"\"\"\nb = '''" + dots + "'''\n"), "");
  EXPECT_EQ(refused("a = \"" + dots), "");
  EXPECT_EQ(refused(""), "");
}

}  // namespace
}  // namespace tessera::configs
