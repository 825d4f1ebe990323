// What the commands print: JSON that other programs read, tables without colours where none are wanted.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <sstream>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/cli/tool.h"
#include "tests/support/tiny_model.h"

namespace tessera::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<std::string> kCommands = {"run",       "plan",    "eval",     "shard",    "verify", "profile",
                                            "calibrate", "devices", "policies", "backends", "compare"};

TEST(Help, EveryCommandShowsAnExample) {
  for (const std::string& command : kCommands) {
    const ToolRun run = tessera({command, "--help"});
    EXPECT_EQ(run.code, 0) << command;
    EXPECT_THAT(run.out, HasSubstr("Example")) << command;
    EXPECT_THAT(run.out, HasSubstr("tessera " + command)) << command;
    EXPECT_THAT(run.out, HasSubstr("--format")) << command;
  }
}

TEST(Json, RunHasTheFieldsOfTheContract) {
  const ToolRun run =
      tessera({"run", "w5 w6", "w7", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB", "--format", "json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const auto json = run.json();
  EXPECT_EQ(json["tessera"], "0.1.0");
  EXPECT_EQ(json["model"]["layers"], 2);
  EXPECT_EQ(json["policy"], "sti");
  EXPECT_EQ(json["budget"]["latency_ms"], 10000.0);
  EXPECT_EQ(json["budget"]["memory_bytes"], 1 << 30);
  EXPECT_TRUE(json["feasible"].get<bool>());
  EXPECT_TRUE(json["nearest"].is_null());
  ASSERT_EQ(json["results"].size(), 2U);
  for (const auto& result : json["results"]) {
    EXPECT_TRUE(json["plans"].contains(result["plan_id"].get<std::string>()));
    EXPECT_EQ(result["logits"].size(), 2U);
    EXPECT_GT(result["latency_ms"].get<double>(), 0);
    EXPECT_GT(result["peak_bytes"].get<int64_t>(), 0);
  }
  EXPECT_GT(json["results"][0]["io_bytes"].get<int64_t>(), 0);
  EXPECT_GT(json["process"]["start_to_first_answer_ms"].get<double>(), 0);
  EXPECT_GT(json["process"]["peak_rss_bytes"].get<int64_t>(), 0);
}

TEST(Json, ThePlanListsEachShardOnce) {
  const auto json = tessera({"plan", "--tokens", "8", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB",
                             "--bits", "4", "--depth", "2", "--width", "3", "--format", "json"})
                        .json();
  const auto& plan = json["plan"];
  EXPECT_EQ(plan["depth"], 2);
  EXPECT_EQ(plan["width"], 3);
  EXPECT_EQ(plan["mean_bits"], 4.0);
  EXPECT_EQ(plan["bits_histogram"], (nlohmann::json{{"4", 6}}));
  EXPECT_EQ(plan["shards"].size(), 6U);
  ASSERT_EQ(plan["layers"].size(), 2U);
  EXPECT_EQ(plan["layers"][1]["slices"].size(), 3U);
  EXPECT_EQ(plan["layers"][1]["placement"][0]["device"], "cpu0");
  EXPECT_TRUE(plan["predicted"]["accuracy"].is_null());  // the tiny model has no profile
  EXPECT_FALSE(json.contains("results"));
}

TEST(Json, ExactShardsTellTheirStoredBits) {
  const auto json = tessera({"plan", "--tokens", "8", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB",
                             "--bits", "32", "--format", "json"})
                        .json();
  EXPECT_EQ(json["plan"]["shards"][0]["bits"], 32);
  EXPECT_EQ(json["plan"]["shards"][0]["stored_bits"], 16);
}

TEST(Json, EveryListingIsJsonAlone) {
  for (const std::string command : {"policies", "backends", "devices"}) {
    const ToolRun run = tessera({command, "--format", "json"});
    EXPECT_EQ(run.code, 0) << command << run.err;
    EXPECT_TRUE(run.json().contains(command)) << command;
    EXPECT_FALSE(run.json()[command].empty()) << command;
  }
}

TEST(Json, ShardTellsTheSizeOfEveryPart) {
  const TemporaryFolder folder;
  const ToolRun run = tessera({"shard", tiny_checkpoint(), folder / "store", "--store-bits", "2,4,32", "--format", "json"});
  ASSERT_EQ(run.code, 0) << run.err;
  ASSERT_EQ(run.json()["sizes"]["shards"].size(), 3U);
  EXPECT_GT(run.json()["sizes"]["shards"][0]["indices_bytes"].get<int64_t>(), 0);
}

TEST(Json, VerifySaysThatASoundStoreIsSound) {
  const ToolRun run = tessera({"verify", tiny_store(), "--format", "json"});
  EXPECT_EQ(run.code, 0);
  EXPECT_TRUE(run.json()["ok"].get<bool>());
  EXPECT_GT(run.json()["bytes"].get<int64_t>(), 0);
}

TEST(Json, EvalCountsAndWritesPredictions) {
  const TemporaryFolder folder;
  spill(folder / "data.tsv", "sentence\tlabel\nw5 w6\t1\nw7\t0\nw8 w9\t1\n");
  const ToolRun run = tessera({"eval", tiny_store(), "--data", folder / "data.tsv", "--predictions", folder / "out.jsonl",
                               "--latency", "10s", "--memory", "1GiB", "--format", "json"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.json()["examples"], 3);
  EXPECT_EQ(run.json()["deadline_missed"], 0);
  EXPECT_EQ(run.json()["infeasible"], 0);
  EXPECT_TRUE(run.json()["metrics"].contains("mcc"));
  EXPECT_GT(run.json()["latency_ms"]["p50"].get<double>(), 0);
  std::istringstream lines(slurp(folder / "out.jsonl"));
  std::string line;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_EQ(nlohmann::json::parse(line)["index"], i);
    EXPECT_EQ(nlohmann::json::parse(line)["logits"].size(), 2U);
  }
}

TEST(Json, EvalOfInfeasibleBudgetsEndsWithThree) {
  const TemporaryFolder folder;
  spill(folder / "data.tsv", "sentence\tlabel\nw5\t1\n");
  const ToolRun run = tessera({"eval", tiny_store(), "--data", folder / "data.tsv", "--memory", "1KiB", "--format", "json"});
  EXPECT_EQ(run.code, 3);
  EXPECT_EQ(run.json()["infeasible"], 1);
}

TEST(Json, AProfiledStorePredictsAccuracy) {
  const TinyStore tiny = make_tiny_store();
  std::string data = "sentence\tlabel\n";
  for (int i = 0; i < 40; ++i) data += "w5 w6 w7 w8 w9 w" + std::to_string(5 + i) + "\t" + std::to_string(i / 2 % 2) + "\n";
  spill(tiny.folder / "data.tsv", data);
  const ToolRun profile = tessera({"profile", tiny.directory, "--data", tiny.folder / "data.tsv", "--sentences", "4",
                                   "--fit-plans", "8", "--check-plans", "4", "--format", "json"});
  ASSERT_EQ(profile.code, 0) << profile.err;
  EXPECT_EQ(profile.json()["profile"]["task"], "default");
  EXPECT_THAT(slurp(profile.json()["profile"]["path"].get<std::string>()), HasSubstr("\"tessera\":\"0.1.0\""));
  const ToolRun plan = tessera(
      {"plan", "--tokens", "8", "--model", tiny.directory, "--latency", "10s", "--memory", "1GiB", "--format", "json"});
  ASSERT_EQ(plan.code, 0) << plan.err;
  EXPECT_TRUE(plan.json()["plan"]["predicted"]["accuracy"].is_number());
}

TEST(Json, CalibratePrintsItsFigures) {
  const TemporaryFolder cache;
  const ToolRun run =
      tessera({"calibrate", "--model", tiny_store(), "--format", "json"}, {"XDG_CACHE_HOME=" + cache.path()});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_FALSE(run.json()["figures"].empty());
  EXPECT_TRUE(std::filesystem::exists(run.json()["calibration"]["path"].get<std::string>()));
}

TEST(Answers, AreTheSameAtEveryThreadCount) {
  const std::vector<std::string> common{"run",  "w5 w6 w7", "--model", tiny_store(), "--latency", "10s",      "--memory",
                                        "1GiB", "--depth",  "2",       "--bits",     "4",         "--format", "json"};
  auto one = common, two = common;
  one.insert(one.end(), {"--threads", "1"});
  two.insert(two.end(), {"--threads", "2"});
  EXPECT_EQ(tessera(one).json()["results"][0]["logits"], tessera(two).json()["results"][0]["logits"]);
}

TEST(Virtual, ADescribedBoardPlansAModelWithoutWeights) {
  const std::string configs = std::string(TESSERA_SOURCE_DIR) + "/configs/";
  const std::vector<std::string> arguments{"plan",
                                           "--shape",
                                           configs + "models/bert-base.toml",
                                           "--platform",
                                           configs + "platforms/sti-board.toml",
                                           "--virtual",
                                           "--latency",
                                           "400ms",
                                           "--memory",
                                           "64MiB",
                                           "--format",
                                           "json"};
  const ToolRun first = tessera(arguments);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_TRUE(first.json()["plan"]["predicted"]["accuracy"].is_null());
  EXPECT_LE(first.json()["plan"]["predicted"]["latency_ms"].get<double>(), 400.0);
  EXPECT_EQ(first.json()["plan"]["shards"], tessera(arguments).json()["plan"]["shards"]);
}

TEST(Virtual, RunsReachThePredictionExactly) {
  const ToolRun run = tessera({"run", "w5 w6", "--model", tiny_store(), "--platform",
                               std::string(TESSERA_SOURCE_DIR) + "/configs/platforms/sti-board.toml", "--virtual",
                               "--latency", "10s", "--memory", "1GiB", "--format", "json"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.json()["results"][0]["latency_ms"], run.json()["plan"]["predicted"]["latency_ms"]);
  EXPECT_TRUE(run.json()["results"][0]["label"].is_null());
}

TEST(Models, AHuggingFaceFolderIsImportedOnce) {
  const TemporaryFolder cache;
  const std::vector<std::string> arguments{"plan",      "--tokens", "8",        "--model", tiny_checkpoint(),
                                           "--latency", "10s",      "--memory", "1GiB"};
  const ToolRun first = tessera(arguments, {"XDG_CACHE_HOME=" + cache.path()});
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_THAT(first.err, HasSubstr("importing it once"));
  EXPECT_THAT(tessera(arguments, {"XDG_CACHE_HOME=" + cache.path()}).err, Not(HasSubstr("importing")));
}

TEST(Tables, HaveNoColoursOutsideATerminal) {
  const ToolRun run = tessera({"run", "w5", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB"});
  EXPECT_EQ(run.code, 0);
  EXPECT_THAT(run.out, Not(HasSubstr("\x1b[")));
  EXPECT_THAT(run.out, HasSubstr("predicted"));
  EXPECT_THAT(run.out, HasSubstr("measured"));
}

TEST(Tables, KeepWithinTheColumns) {
  const ToolRun run =
      tessera({"plan", "--tokens", "8", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB"}, {"COLUMNS=80"});
  std::istringstream lines(run.out);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("predicted  ") == std::string::npos) continue;
    const auto continuation = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
    EXPECT_LE(line.size() - static_cast<size_t>(std::count_if(line.begin(), line.end(), continuation)), 80U) << line;
  }
}

TEST(Trace, HoldsPredictedAndMeasuredLanes) {
  const TemporaryFolder folder;
  const ToolRun run = tessera(
      {"run", "w5", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB", "--trace", folder / "trace.json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const auto trace = nlohmann::json::parse(slurp(folder / "trace.json"));
  int predicted = 0, measured = 0;
  for (const auto& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    EXPECT_GE(event["dur"].get<double>(), 0);
    (event["pid"] == 1 ? predicted : measured) += 1;
  }
  EXPECT_GT(predicted, 0);
  EXPECT_EQ(predicted, measured);
}

TEST(Interrupt, EndsWith130AndLeavesNoHalfFile) {
  const TemporaryFolder folder;
  std::string data = "sentence\tlabel\n";
  for (int i = 0; i < 200'000; ++i) data += "w5 w6 w7 w8\t1\n";
  spill(folder / "data.tsv", data);
  const ToolRun run = tessera_signalled({"eval", tiny_store(), "--data", folder / "data.tsv", "--predictions",
                                         folder / "out.jsonl", "--latency", "10s", "--memory", "1GiB"},
                                        SIGINT, [&] { return holds(folder.path(), "out.jsonl.tmp"); });
  EXPECT_EQ(run.code, 130) << run.err;
  EXPECT_THAT(run.err, HasSubstr("interrupted"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(entry.path().filename(), "data.tsv");
}

TEST(Interrupt, EndsAtOnceWhereNothingPolls) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "data.tsv").c_str(), 0600), 0);
  int held_open = -1;  // without a line or an end the command would read for ever
  const auto reading = [&] { return (held_open = open((folder / "data.tsv").c_str(), O_WRONLY | O_NONBLOCK)) >= 0; };
  const ToolRun run = tessera_signalled({"eval", tiny_store(), "--data", folder / "data.tsv"}, SIGTERM, reading);
  EXPECT_EQ(run.code, 130) << run.err;
  EXPECT_THAT(run.err, HasSubstr("interrupted"));
  close(held_open);
}

}  // namespace
}  // namespace tessera::testing
