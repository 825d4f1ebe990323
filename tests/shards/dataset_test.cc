// Checks the data set reader.
#include "shards/dataset.h"

#include <cstdio>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

const std::vector<std::string> kNames = {"negative", "positive"};

Result<Dataset> read(const std::string& text) {
  const std::string path =
      testing::TempDir() + "dataset_test_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".tsv";
  std::ofstream(path, std::ios::binary) << text;
  auto data = read_tsv(path, kNames);
  std::remove(path.c_str());
  return data;
}
std::string error_of(const std::string& text) {
  const auto data = read(text);
  return data.ok() ? "" : data.error().message;
}

TEST(Dataset, ReadsSentencesAndKeepsQuotes) {
  const auto data = read("\xEF\xBB\xBFsentence\tlabel\r\na \"b\t1\r\n\"c\t0\n");
  ASSERT_TRUE(data.ok()) << data.error().message;
  ASSERT_EQ(data->examples.size(), 2u);
  EXPECT_FALSE(data->pairs);
  EXPECT_EQ(data->examples[0].a, "a \"b");
  EXPECT_EQ(data->examples[0].label, 1);
  EXPECT_EQ(data->examples[1].a, "\"c");
}

TEST(Dataset, ReadsPairsAndLabelNamesInAnyColumnOrder) {
  const auto data = read("index\tlabel\tsentence2\tsentence1\n7\tpositive\tb\ta\n");
  ASSERT_TRUE(data.ok()) << data.error().message;
  EXPECT_TRUE(data->pairs);
  EXPECT_EQ(data->examples[0].a, "a");
  EXPECT_EQ(data->examples[0].b, "b");
  EXPECT_EQ(data->examples[0].label, 1);
}

TEST(Dataset, DoesWithoutLabelsAndWithoutRows) {
  const auto data = read("sentence\nhello");
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(data->examples[0].label, -1);
  EXPECT_EQ(read("sentence\tlabel\n")->examples.size(), 0u);
}

TEST(Dataset, NamesTheLineAndWhatWasExpected) {
  EXPECT_THAT(error_of(""), testing::HasSubstr("header line"));
  EXPECT_THAT(error_of("text\n"), testing::HasSubstr("expected 'sentence'"));
  EXPECT_THAT(error_of("sentence1\tlabel\n"), testing::HasSubstr("expected 'sentence'"));
  EXPECT_THAT(error_of("sentence\tlabel\na\t0\nb\n"), testing::HasSubstr(":3: has 1 columns, the header has 2"));
  EXPECT_THAT(error_of("sentence\tlabel\na\t2\n"), testing::HasSubstr(":2: label '2' is not one of 0 to 1"));
  EXPECT_THAT(error_of("sentence\tlabel\na\t0x\n"), testing::HasSubstr("negative, positive"));
  EXPECT_THAT(read_tsv("/none.tsv", kNames).error().message, testing::HasSubstr("/none.tsv: cannot be opened"));
  EXPECT_FALSE(read_tsv(testing::TempDir(), kNames).ok());
}

TEST(Dataset, ReadsTheWholeDevelopmentSet) {
  const std::string path = std::string(TESSERA_SOURCE_DIR) + "/../shared/data/glue/SST-2/dev.tsv";
  if (!std::ifstream(path)) GTEST_SKIP() << "SKIPPED: no SST-2 data at " << path;
  const auto data = read_tsv(path, kNames);
  ASSERT_TRUE(data.ok()) << data.error().message;
  EXPECT_EQ(data->examples.size(), 872u);
}

}  // namespace
}  // namespace tessera
