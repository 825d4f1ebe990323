// Folders of `tessera compare` that are damaged, or cannot be written: told, mended, never half.
#include <csignal>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/cli/compare_runs.h"
#include "tests/cli/tool.h"
#include "tests/support/tiny_model.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

TEST(Compare, SurvivesDamagedFilesInItsFolder) {
  const TemporaryFolder folder;
  const std::string out = folder / "out";
  ASSERT_EQ(tessera(board(out)).code, 0);
  std::ofstream(out + "/rows.jsonl")
      << "[]\n{\"id\": 3}\n\xff\xfe\n{\"id\":\"x\",\"platform\":\"\",\"policy\":\"\",\"label\":\"\"}\n";
  std::ofstream(out + "/answers.jsonl") << "{\"set\":7}\nnull\n{\"set\":[1,2]}\n";
  EXPECT_EQ(tessera(board(out)).code, 0);
  EXPECT_EQ(results(out)["rows"].size(), 6U);
}

TEST(Compare, NamesADamagedDescriptionAndTheRemedy) {
  const TemporaryFolder folder;
  const std::string out = folder / "out", file = out + "/experiment.json";
  ASSERT_EQ(tessera(board(out)).code, 0);
  std::ifstream in(file);
  const auto whole = nlohmann::json::parse(in);
  auto without_arenas = whole, program = whole;
  without_arenas["platforms"] = 3;
  program["program"] = 5;
  const auto expect_told = [&](const std::vector<std::string>& words, const std::string& text) {
    const ToolRun run = tessera(words);
    EXPECT_EQ(run.code, 4) << text << run.err;
    EXPECT_THAT(run.err, HasSubstr(file));
    EXPECT_THAT(run.err, HasSubstr("remove it"));
  };
  for (const std::string& text : {std::string("{"), std::string("{\"id\": 5}"), program.dump(), without_arenas.dump()}) {
    std::ofstream(file) << text;
    expect_told({"compare", "--merge", out, "--out", folder / "merged"}, text);
    if (text == without_arenas.dump()) continue;
    expect_told(board(out), text);
    expect_told(board(out, {"--update"}), text);
  }
  fs::remove(file);
  const auto before = results(out)["rows"];
  EXPECT_EQ(tessera(board(out)).code, 0);
  EXPECT_EQ(results(out)["rows"], before);  // none was played again
}

// No file that is written meanwhile can be larger.
class FilesOfAtMost {
 public:
  explicit FilesOfAtMost(rlim_t bytes) : ignored_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FilesOfAtMost() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, ignored_);
  }

 private:
  void (*ignored_)(int);
  rlimit before_{};
};

TEST(Compare, AMergeThatCannotCopyAPlanLeavesNoHalfOne) {
  const TemporaryFolder folder;
  const std::string out = folder / "out", merged = folder / "merged";
  ASSERT_EQ(tessera(board(out)).code, 0);
  std::ofstream(out + "/plans/big.json") << std::string(1 << 20, ' ');
  {
    const FilesOfAtMost limit(1 << 19);
    EXPECT_EQ(tessera({"compare", "--merge", out, "--out", merged, "--no-report"}).code, 4);
  }
  EXPECT_FALSE(holds(merged + "/plans", "big"));
  EXPECT_EQ(tessera({"compare", "--merge", out, "--out", merged, "--no-report"}).code, 0);
  EXPECT_EQ(fs::file_size(merged + "/plans/big.json"), 1U << 20);
}

}  // namespace
}  // namespace tessera::testing
