// `tessera compare` as a user runs it: rows, files, going on, changing, sharing, refusing.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/compare_runs.h"
#include "tests/cli/tool.h"
#include "tests/support/tiny_model.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

// Rows without what a clock measured.
nlohmann::json timeless(nlohmann::json rows) {
  for (auto& row : rows) row.erase("plan_us");
  return rows;
}

TEST(Compare, GivesARowForEveryCellWithTheFieldsOfTheContract) {
  const TemporaryFolder folder;
  const ToolRun run = tessera(board(folder / "out", {"--format", "json"}));
  ASSERT_EQ(run.code, 0) << run.err;
  const auto json = run.json();
  ASSERT_EQ(json["rows"].size(), 6U);
  for (const auto& row : json["rows"]) {
    for (const char* name : {"platform",
                             "policy",
                             "latency_ms",
                             "memory_bytes",
                             "seed",
                             "feasible",
                             "depth",
                             "width",
                             "mean_bits",
                             "predicted_latency_ms",
                             "latency_ms_achieved",
                             "accuracy_predicted",
                             "accuracy",
                             "peak_bytes",
                             "plan_us",
                             "bound",
                             "gap",
                             "regret",
                             "preload_bytes",
                             "knobs",
                             "label",
                             "model",
                             "workload",
                             "requests",
                             "misses",
                             "io_bytes",
                             "latency_p50_ms",
                             "latency_p95_ms",
                             "latency_p99_ms",
                             "accuracy_low",
                             "accuracy_high",
                             "accuracy_examples",
                             "plan_hash",
                             "accuracy_key",
                             "loss_predicted",
                             "error"})
      EXPECT_TRUE(row.contains(name)) << name;
    EXPECT_TRUE(row["feasible"].get<bool>());
    EXPECT_TRUE(row["memory_bytes"].is_null());
    EXPECT_LE(row["predicted_latency_ms"].get<double>(), row["latency_ms"].get<double>());
    EXPECT_GT(row["loss_predicted"].get<double>(), 0);
    EXPECT_TRUE(row["accuracy"].is_null());  // a shape has no weights
    EXPECT_TRUE(fs::exists(folder / "out" + "/plans/" + row["plan_hash"].get<std::string>() + ".json"));
  }
  EXPECT_EQ(results(folder / "out")["rows"], json["rows"]);
  EXPECT_EQ(lines(folder / "out" + "/rows.jsonl"), 6U);
  EXPECT_EQ(lines(folder / "out" + "/results.csv"), 7U);
  EXPECT_EQ(json["summary"].size(), 6U);  // by place, and over all
}

TEST(Compare, KeepsPlansWithTheirLanes) {
  const TemporaryFolder folder;
  ASSERT_EQ(tessera(board(folder / "out")).code, 0);
  const auto row = results(folder / "out")["rows"][0];
  std::ifstream in(folder / "out" + "/plans/" + row["plan_hash"].get<std::string>() + ".json");
  const auto plan = nlohmann::json::parse(in);
  EXPECT_EQ(plan["depth"], row["depth"]);
  EXPECT_TRUE(plan.contains("explain"));
  ASSERT_FALSE(plan["lanes"].empty());
  for (const char* name : {"device", "name", "kind", "layer", "slices", "bits", "start_ms", "end_ms"})
    EXPECT_TRUE(plan["lanes"][0].contains(name)) << name;
}

TEST(Compare, PrintsATableThatMarksTheBest) {
  const TemporaryFolder folder;
  const ToolRun run = tessera(board(folder / "out"), {"COLUMNS=90"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("sti-board, bert-base"));
  EXPECT_THAT(run.out, HasSubstr("std-pipeline(bits=2)"));
  EXPECT_THAT(run.out, HasSubstr("*"));
  EXPECT_THAT(run.out, HasSubstr("all together"));
  std::istringstream text(run.out);
  for (std::string line; std::getline(text, line);) EXPECT_LE(line.size(), 110U) << line;
}

// A model without a profile has no accuracy to tell: loss in nats, and no empty column of points.
TEST(Compare, TellsNatsWhereThereIsNoAccuracy) {
  const TemporaryFolder folder;
  std::vector<std::string> words = board(folder / "out");
  words[2] = "sti,std-pipeline";
  words.erase(std::find(words.begin(), words.end(), "--reference"), words.end());
  for (const char* word : {"--tokens", "32", "--decide-limit", "120s"}) words.emplace_back(word);
  const ToolRun run = tessera(words);
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("predicted loss, nats"));
  EXPECT_THAT(run.out, HasSubstr("feasible  loss, nats  regret, nats  best"));
  EXPECT_THAT(run.out, HasSubstr("in nats: models without a profile"));
  EXPECT_THAT(run.out, Not(HasSubstr("regret: points")));
}

TEST(Compare, AnInfeasibleCellIsARowOfNullsAndNoError) {
  const TemporaryFolder folder;
  const ToolRun run = tessera(board(folder / "out", {"--latencies", "1ms", "--format", "json"}));
  ASSERT_EQ(run.code, 0) << run.err;
  const auto json = run.json();
  ASSERT_EQ(json["rows"].size(), 9U);  // the flag adds to the others
  for (const auto& row : json["rows"]) {
    if (row["latency_ms"] != 1.0) continue;
    EXPECT_FALSE(row["feasible"].get<bool>());
    EXPECT_TRUE(row["depth"].is_null() && row["error"].is_null() && row["latency_ms_achieved"].is_null());
    EXPECT_GT(row["nearest"]["both"]["latency_ms"].get<double>(), 1);
  }
}

TEST(Compare, ASecondRunPlaysOnlyWhatIsMissing) {
  const TemporaryFolder folder;
  const std::string out = folder / "out";
  ASSERT_EQ(tessera(board(out)).code, 0);
  const auto whole = results(out);
  // As if it had been killed while it wrote its third row.
  std::vector<std::string> rows;
  std::ifstream in(out + "/rows.jsonl");
  for (std::string line; std::getline(in, line);) rows.push_back(line);
  in.close();
  std::ofstream(out + "/rows.jsonl") << rows[0] << '\n' << rows[1] << '\n' << rows[2].substr(0, 100);
  const ToolRun again = tessera(board(out));
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("1 damaged row"));
  const auto resumed = results(out);
  EXPECT_EQ(timeless(resumed["rows"]), timeless(whole["rows"]));
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(resumed["rows"][i]["plan_us"], whole["rows"][i]["plan_us"]);  // not played again
}

TEST(Compare, NoticesThatTheSameCellsWouldBePlayedByOtherRules) {
  const TemporaryFolder folder;
  const std::string out = folder / "out";
  ASSERT_EQ(tessera(board(out)).code, 0);
  const ToolRun refused = tessera(board(out, {"--tokens", "64"}));
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("another experiment"));
  EXPECT_THAT(refused.err, HasSubstr("tokens"));
  EXPECT_THAT(refused.err, HasSubstr("--update"));
  const ToolRun updated = tessera(board(out, {"--tokens", "64", "--update", "--format", "json"}));
  ASSERT_EQ(updated.code, 0) << updated.err;
  EXPECT_EQ(updated.json()["rows"].size(), 6U);
  EXPECT_EQ(lines(out + "/rows.jsonl"), 6U);  // those of 128 tokens are gone
}

// Somebody tries a policy of his own beside one of those that were played before.
TEST(Compare, OtherContendersInTheSameFolderAreAddedAndNoneIsPlayedTwice) {
  const TemporaryFolder folder;
  const std::string out = folder / "out";
  ASSERT_EQ(tessera(board(out)).code, 0);
  const auto before = results(out)["rows"];
  std::vector<std::string> mine = board(out, {"--format", "json"});
  mine[2] = "std-pipeline,std-pipeline(bits=6)";
  const ToolRun second = tessera(mine);
  ASSERT_EQ(second.code, 0) << second.err;
  const auto shown = second.json()["rows"];
  ASSERT_EQ(shown.size(), 4U) << "what is asked for is shown, and nothing else";
  EXPECT_EQ(shown[0], before[0]) << "to the microsecond of its planning: it was not played again";
  EXPECT_EQ(shown[1]["label"], "std-pipeline(bits=6)");
  EXPECT_EQ(lines(out + "/rows.jsonl"), 8U) << "the others' rows are kept";
  const ToolRun third = tessera(board(out, {"--format", "json"}));
  ASSERT_EQ(third.code, 0) << third.err;
  EXPECT_EQ(third.json()["rows"], before) << "and shown as they were when they are asked for again";
  EXPECT_EQ(results(out)["rows"], before);
  const ToolRun wider = tessera(board(out, {"--seeds", "0,5"}));
  ASSERT_EQ(wider.code, 0) << wider.err;
  EXPECT_THAT(wider.out, HasSubstr("2 rows of other contenders or budgets are kept there"));
  EXPECT_EQ(results(out)["rows"].size(), 12U);
}

TEST(Compare, RefusesSettingsThatAPolicyDoesNotUnderstandBeforeItPlays) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& contender) {
    std::vector<std::string> words = board(folder / "out");
    words[2] = "std-pipeline," + contender;
    const ToolRun run = tessera(words);
    EXPECT_EQ(run.code, 2) << contender;
    EXPECT_FALSE(fs::exists(folder / "out")) << contender;
    return run.err;
  };
  EXPECT_THAT(refused("sti(pass1=lowst)"), HasSubstr("knob pass1: unknown value 'lowst'; did you mean 'lowest'?"));
  EXPECT_THAT(refused("sti(pass1=lowst)"), HasSubstr("known: highest, lowest; nothing has been played"));
  EXPECT_THAT(refused("knapsack(rounds=0)"), HasSubstr("'0' is not a whole number from 1 to 1000"));
  EXPECT_THAT(refused("fixed(depth=13)"), HasSubstr("fixed(depth=13), on platform sti-board: depth 13"));
  EXPECT_THAT(refused("sti(bits=7)"), HasSubstr("7 bits"));
}

TEST(Compare, ShardsMergeIntoTheSameResults) {
  const TemporaryFolder folder;
  ASSERT_EQ(tessera(board(folder / "whole")).code, 0);
  std::vector<std::string> merge{"compare", "--merge"};
  for (int i = 0; i < 3; ++i) {
    const std::string share = std::to_string(i) + "/3";
    ASSERT_EQ(tessera(board(folder / "out", {"--shard", share})).code, 0) << share;
    merge.push_back(folder / "out" + "/shard-" + std::to_string(i) + "-of-3");
  }
  for (const char* word : {"--out", "", "--no-report"}) merge.emplace_back(word);
  merge[merge.size() - 2] = folder / "out";
  const ToolRun run = tessera(merge);
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(timeless(results(folder / "out")["rows"]), timeless(results(folder / "whole")["rows"]));
}

TEST(Compare, AMergeSaysWhatIsMissing) {
  const TemporaryFolder folder;
  ASSERT_EQ(tessera(board(folder / "out", {"--shard", "0/2"})).code, 0);
  const ToolRun run =
      tessera({"compare", "--merge", folder / "out" + "/shard-0-of-2", "--out", folder / "out", "--no-report"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("3 of 6 cells are missing"));
}

TEST(Compare, RanksComeFromTheEnvironment) {
  const TemporaryFolder folder;
  const auto shard = [&](const std::vector<std::string>& environment) {
    return tessera(board(folder / "out", {"--shard", "auto"}), environment);
  };
  ASSERT_EQ(shard({"OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE=2"}).code, 0);
  EXPECT_TRUE(fs::exists(folder / "out" + "/shard-1-of-2/results.json"));
  ASSERT_EQ(shard({"PMI_RANK=2", "PMI_SIZE=6"}).code, 0);
  EXPECT_TRUE(fs::exists(folder / "out" + "/shard-2-of-6/results.json"));
  ASSERT_EQ(shard({"SLURM_ARRAY_TASK_ID=5", "SLURM_ARRAY_TASK_COUNT=3", "SLURM_ARRAY_TASK_MIN=1", "SLURM_ARRAY_TASK_STEP=2",
                   "SLURM_PROCID=0", "SLURM_NTASKS=1"})
                .code,
            0);
  EXPECT_TRUE(fs::exists(folder / "out" + "/shard-2-of-3/results.json"));
  const ToolRun alone = shard({});
  EXPECT_EQ(alone.code, 2);
  EXPECT_THAT(alone.err, HasSubstr("SLURM_ARRAY_TASK_ID"));
  EXPECT_EQ(tessera(board(folder / "out", {"--shard", "2/2"})).code, 2);
}

TEST(Compare, TwoRunsDoNotWorkInOneFolder) {
  const TemporaryFolder folder;
  const std::string out = folder / "out";
  // Many cells, so that the first one is at work while the second one comes.
  std::string seeds = "1";
  for (int s = 2; s <= 400; ++s) seeds += "," + std::to_string(s);
  bool asked = false;
  ToolRun second;
  const ToolRun first = tessera_signalled(board(out, {"--seeds", seeds, "--jobs", "1"}), SIGINT, [&] {
    if (lines(out + "/rows.jsonl") < 3) return false;
    if (!asked) second = tessera(board(out, {"--seeds", seeds}));
    asked = true;
    return true;
  });
  EXPECT_EQ(second.code, 2);
  EXPECT_THAT(second.err, HasSubstr("another tessera compare works in it"));
  // And what the interrupt left is whole.
  EXPECT_EQ(first.code, 130);
  EXPECT_THAT(first.err, HasSubstr("run it again to go on"));
  EXPECT_FALSE(fs::exists(out + "/results.json"));
  std::ifstream in(out + "/rows.jsonl");
  for (std::string line; std::getline(in, line);) EXPECT_TRUE(nlohmann::json::parse(line, nullptr, false).is_object());
}

TEST(Compare, RefusesWithTheRemedy) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::vector<std::string>& more, int code) {
    const ToolRun run = tessera(board(folder / "out", more));
    EXPECT_EQ(run.code, code);
    return run.err;
  };
  EXPECT_THAT(refused({"--latencies", "20"}, 2), HasSubstr("ms"));
  EXPECT_THAT(refused({"--memories", "8"}, 2), HasSubstr("MiB"));
  EXPECT_THAT(refused({"--seeds", "x"}, 2), HasSubstr("whole numbers"));
  EXPECT_THAT(refused({"--policies", "stj"}, 2), HasSubstr("did you mean 'sti'"));
  EXPECT_THAT(refused({"--worker-memory", "1MiB"}, 2), HasSubstr("at least 256.0 MiB"));
  EXPECT_THAT(refused({"--worker-memory", "1"}, 2), HasSubstr("MiB"));
  EXPECT_THAT(refused({"--decide-limit", "0s"}, 2), HasSubstr("more than 0"));
  EXPECT_THAT(refused({"--policies", "sti(pas1=lowest)"}, 2), HasSubstr("pass1"));
  EXPECT_THAT(refused({"--policies", "sti,sti"}, 2), HasSubstr("two contenders"));
  EXPECT_THAT(refused({"--policies", "sti(bits=2"}, 2), HasSubstr(") is missing"));
  EXPECT_THAT(refused({"--platforms", "/nowhere.toml"}, 4), HasSubstr("/nowhere.toml"));
  EXPECT_THAT(refused({"--workloads", "/nowhere.toml"}, 4), HasSubstr("/nowhere.toml"));
  EXPECT_THAT(refused({"--data", "/nowhere.tsv"}, 4), HasSubstr("/nowhere.tsv"));
  EXPECT_THAT(refused({"--platforms", "host"}, 2), HasSubstr("described platform"));
  EXPECT_THAT(refused({"--tokens", "100000"}, 2), HasSubstr("at most 512"));
  EXPECT_THAT(refused({"one.toml", "two.toml"}, 2), HasSubstr("one experiment at a time"));
  EXPECT_THAT(tessera({"compare"}).err, HasSubstr("who competes?"));
  EXPECT_THAT(tessera({"compare", "--merge", folder.path(), "--out", folder / "m"}).err, HasSubstr("holds no results"));
}

TEST(Compare, AFileMayDoWithoutReferenceAndBaseline) {
  const TemporaryFolder folder;
  const auto play = [&](const std::string& judges, const std::string& out) {
    std::ofstream(folder / "e.toml") << "policies = [\"sti\", \"std-pipeline\"]\n"
                                     << judges << "shape = \"" << kConfigs << "/models/bert-base.toml\"\nplatforms = [\""
                                     << kConfigs << "/platforms/sti-board.toml\"]\nlatencies = [\"400 ms\"]\n";
    return tessera({"compare", folder / "e.toml", "--out", out, "--no-report"});
  };
  const ToolRun run = play("reference = \"none\"\nbaseline = \"none\"\n", folder / "none");
  ASSERT_EQ(run.code, 0) << run.err;
  const auto rows = results(folder / "none")["rows"];
  for (const auto& row : rows) EXPECT_TRUE(row["loss_bound"].is_null());
  const ToolRun refused = play("decide_limit = \"0 s\"\n", folder / "refused");
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("decide_limit"));
}

}  // namespace
}  // namespace tessera::testing
