// `tessera plan --explain` and `--whatif`: the right facts, in tables and in JSON that agrees with the plan.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/tool.h"
#include "tests/support/tiny_model.h"

namespace tessera::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

const std::string kConfigs = std::string(TESSERA_SOURCE_DIR) + "/configs/";

// BERT-base on STI's board: loads at 83 MB/s bind.
std::vector<std::string> board(const std::vector<std::string>& more) {
  std::vector<std::string> all{"plan",      "--shape",    kConfigs + "models/bert-base.toml",
                               "--virtual", "--platform", kConfigs + "platforms/sti-board.toml"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<std::string> tiny(const std::vector<std::string>& more) {
  std::vector<std::string> all{"plan", "--model", tiny_store(), "--latency", "10s", "--memory", "1GiB"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(Explain, ThePlainPlanHasALineForEachLayerAndWhatBindsIt) {
  const ToolRun run =
      tessera(board({"--latency", "140ms", "--memory", "64MiB", "--depth", "3", "--width", "3"}), {"COLUMNS=200"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("bound by"));
  EXPECT_THAT(run.out, HasSubstr("latency: slice"));
  EXPECT_THAT(run.out, Not(HasSubstr("nats more")));
}

TEST(Explain, TheTableTellsTheAlternativesAndWhyTheyLost) {
  const ToolRun run = tessera(board({"--latency", "200ms", "--memory", "64MiB", "--explain"}), {"COLUMNS=200"});
  ASSERT_EQ(run.code, 0) << run.err;
  for (const char* fact :
       {"late by ", "fits, but loses ", "> ", "absent", "exact", "sti: ", "exit after 12", "losses are invented"})
    EXPECT_THAT(run.out, HasSubstr(fact));
}

TEST(Explain, TheJsonAgreesWithThePlan) {
  const ToolRun run = tessera(board({"--latency", "200ms", "--memory", "64MiB", "--explain", "--format", "json"}));
  ASSERT_EQ(run.code, 0) << run.err;
  const Json plan = run.json()["plan"];
  EXPECT_EQ(plan["losses"], "invented");
  const size_t shards = static_cast<size_t>(plan["depth"].get<int>()) * 12;
  ASSERT_EQ(plan["explain"].size(), shards);
  int chosen_shards = 0;
  for (const Json& shard : plan["explain"]) {
    int chosen = 0;
    ASSERT_EQ(shard["candidates"].size(), 7U);  // absent, 2, 3, 4, 5, 6, exact
    for (const Json& candidate : shard["candidates"]) {
      if (candidate["verdict"] == "chosen") {
        ++chosen;
        EXPECT_EQ(candidate["bits"], shard["chosen"]);
        EXPECT_EQ(candidate["latency_ms"], plan["predicted"]["latency_ms"]);
      }
      if (candidate["verdict"] == "late") {
        EXPECT_GT(candidate["latency_ms"].get<double>(), 200);
        EXPECT_NEAR(candidate["late_by_ms"].get<double>(), candidate["latency_ms"].get<double>() - 200, 1e-6);
      }
      if (candidate["verdict"] == "worse") {
        EXPECT_LE(candidate["latency_ms"].get<double>(), 200);
        EXPECT_GT(candidate["loss_change"].get<double>(), 0);
      }
    }
    EXPECT_EQ(chosen, 1);
    chosen_shards += shard["chosen"] != 0;
    EXPECT_TRUE(shard.contains("reason"));
  }
  EXPECT_EQ(chosen_shards, static_cast<int>(plan["shards"].size()));
  ASSERT_EQ(plan["placement_explain"].size(), plan["layers"].size());
  EXPECT_EQ(plan["placement_explain"][0]["chosen"], plan["layers"][0]["placement"]);
  EXPECT_EQ(plan["exit_explain"].size(), 10U);
}

TEST(Explain, OneShardIsShownInDepth) {
  const ToolRun table = tessera(tiny({"--tokens", "8", "--explain", "1.2"}));
  ASSERT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("slice 2: "));
  EXPECT_THAT(table.out, Not(HasSubstr("slice 1: ")));
  EXPECT_THAT(table.out, HasSubstr("peak "));
  const Json json = tessera(tiny({"--tokens", "8", "--explain=1.2", "--format", "json"})).json();
  ASSERT_EQ(json["plan"]["explain"].size(), 1U);
  EXPECT_EQ(json["plan"]["explain"][0]["layer"], 1);
  EXPECT_EQ(json["plan"]["explain"][0]["slice"], 2);
}

TEST(Explain, ATextBehindTheFlagIsAText) {
  const ToolRun run = tessera(tiny({"--explain", "w5 w6"}));
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("\"w5 w6\""));
}

TEST(Explain, ShowsEveryDeviceAloneAndSplits) {
  const ToolRun run = tessera({"plan", "--shape", kConfigs + "models/bert-base.toml", "--virtual", "--platform",
                               kConfigs + "platforms/trio-board.toml", "--devices", "all", "--latency", "100ms", "--memory",
                               "1GiB", "--explain", "0", "--format", "json"});
  ASSERT_EQ(run.code, 0) << run.err;
  const Json candidates = run.json()["plan"]["placement_explain"][0]["candidates"];
  EXPECT_GE(candidates.size(), 6U);
  EXPECT_EQ(candidates[0]["verdict"], "chosen");
  bool alone = false, split = false;
  for (const Json& candidate : candidates) {
    alone = alone || (candidate["placement"].size() == 1 && candidate["placement"][0]["device"] == "gpu0");
    split = split || candidate["placement"].size() == 2;
  }
  EXPECT_TRUE(alone);
  EXPECT_TRUE(split);
}

TEST(Explain, RefusesWhatThePlanDoesNotHave) {
  for (const std::string target : {"7", "0.12", "1.", "1.2.3", "1x"}) {
    const ToolRun run = tessera(tiny({"--tokens", "8", "--explain=" + target}));
    EXPECT_EQ(run.code, 2) << target << run.out;
    EXPECT_THAT(run.err, HasSubstr("--explain")) << target;
  }
  EXPECT_THAT(tessera(tiny({"--tokens", "8", "--explain", "0.12"})).err, HasSubstr("give 0 to 3"));
}

TEST(WhatIf, ShowsWhatOtherBudgetsChange) {
  const ToolRun run = tessera(board(
      {"--latency", "200ms", "--memory", "64MiB", "--whatif", "latency=300ms", "--whatif", "memory=8MiB,latency=250ms"}));
  ASSERT_EQ(run.code, 0) << run.err;
  for (const char* fact :
       {"now: 200 ms, 64.0 MiB", "300 ms, 64.0 MiB", "250 ms, 8.0 MiB", "the next step of each budget", "nats/ms"})
    EXPECT_THAT(run.out, HasSubstr(fact));
}

TEST(WhatIf, TheJsonHoldsPlansChangesAndPrices) {
  const ToolRun run =
      tessera(board({"--latency", "200ms", "--memory", "64MiB", "--whatif", "latency=300ms", "--format", "json"}));
  ASSERT_EQ(run.code, 0) << run.err;
  const Json json = run.json();
  ASSERT_EQ(json["whatif"].size(), 1U);
  const Json& answer = json["whatif"][0];
  EXPECT_EQ(answer["budget"]["latency_ms"], 300.0);
  EXPECT_TRUE(answer["feasible"].get<bool>());
  EXPECT_FALSE(answer["changes"].empty());
  EXPECT_GT(answer["plan"]["predicted"]["latency_ms"].get<double>(), 200);
  const Json& price = json["shadow_prices"]["latency"];
  EXPECT_GT(price["step_ms"].get<double>(), 0);
  EXPECT_GT(price["gain_loss"].get<double>(), 0);
  EXPECT_TRUE(price["gain_points"].is_null());  // no profile
  // A plan under the step's budget is the one that it promised.
  const std::string latency = std::to_string(price["at_ms"].get<double>()) + "ms";
  const Json again =
      tessera(board({"--latency", "200ms", "--memory", "64MiB", "--whatif", "latency=" + latency, "--format", "json"}))
          .json();
  const double before = again["whatif"][0]["loss"].get<double>() + price["gain_loss"].get<double>();
  const Json now =
      tessera(board({"--latency", "200ms", "--memory", "64MiB", "--whatif", "latency=200ms", "--format", "json"})).json();
  EXPECT_NEAR(now["whatif"][0]["loss"].get<double>(), before, 2e-6);
  EXPECT_TRUE(now["whatif"][0]["changes"].empty());
}

TEST(WhatIf, AnInfeasibleStartTellsFromWhereItIsFeasible) {
  const ToolRun run = tessera(board({"--latency", "1ms", "--memory", "64MiB", "--whatif", "latency=300ms"}));
  EXPECT_EQ(run.code, 3);
  EXPECT_THAT(run.out, HasSubstr("feasible from "));
  const ToolRun json =
      tessera(board({"--latency", "1ms", "--memory", "64MiB", "--whatif", "latency=300ms", "--format", "json"}));
  EXPECT_EQ(json.code, 3);
  EXPECT_TRUE(json.json()["plan"].is_null());
  EXPECT_TRUE(json.json()["whatif"][0]["feasible"].get<bool>());
  EXPECT_GT(json.json()["shadow_prices"]["latency"]["at_ms"].get<double>(), 1);
}

TEST(WhatIf, RefusesWhatIsNoBudget) {
  const std::vector<std::pair<std::string, std::string>> wrong{{"latencie=30ms", "latency"},
                                                               {"latency=30", "30ms"},
                                                               {"latency", "latency=30ms"},
                                                               {"memory=", "memory=16MiB"},
                                                               {"latency=30ms,latency=20ms", "twice"},
                                                               {"", "names no budget"},
                                                               {"memory=16MiB,", ""},
                                                               {"energy=3", "preload"}};
  for (const auto& [text, remedy] : wrong) {
    const ToolRun run = tessera(tiny({"--tokens", "8", "--whatif", text}));
    if (text == "memory=16MiB,") {
      EXPECT_EQ(run.code, 0) << run.err;
      continue;
    }
    EXPECT_EQ(run.code, 2) << text;
    EXPECT_THAT(run.err, HasSubstr(remedy)) << text;
  }
}

// docs/explain.md and README.md show output: every line of it is what the command of docs/explain.md prints.
TEST(WhatIf, TheExamplesInTheDocumentsAreReal) {
  const ToolRun run = tessera(
      {"plan", "a gripping film", "--virtual", "--platform", kConfigs + "platforms/small-board.toml", "--latency", "30ms",
       "--memory", "1.4MiB", "--explain", "0.0", "--whatif", "latency=40ms", "--whatif", "memory=2MiB,preload=512KiB"},
      {"COLUMNS=100"});
  ASSERT_EQ(run.code, 0) << run.err;
  const std::string source = std::string(TESSERA_SOURCE_DIR) + "/";
  const std::vector<std::pair<std::string, std::string>> documents{{"docs/explain.md", "## What binds"},
                                                                   {"docs/explain.md", "## --explain"},
                                                                   {"docs/explain.md", "## --whatif"},
                                                                   {"README.md", "## Why did it choose that?"}};
  for (const auto& [file, heading] : documents) {
    std::istringstream text(slurp(source + file));
    bool ours = false, fenced = false;
    int lines = 0;
    for (std::string line; std::getline(text, line);) {
      if (line.starts_with("## ")) ours = line == heading;
      if (line.starts_with("```")) fenced = !fenced;
      if (line.starts_with("```") || !ours || !fenced || line.ends_with("...")) continue;
      ++lines;
      EXPECT_THAT(run.out, HasSubstr(line + '\n')) << file;
    }
    EXPECT_GT(lines, 4) << file << heading;
  }
}

TEST(WhatIf, WorksForEveryPolicy) {
  const Json listed = tessera({"policies", "--format", "json"}).json()["policies"];
  for (const Json& policy : listed) {
    const std::string name = policy["name"].get<std::string>();
    const ToolRun run =
        tessera(tiny({"w5 w6", "--policy", name, "--explain", "--whatif", "latency=1s", "--format", "json"}));
    EXPECT_TRUE(run.code == 0 || run.code == 3) << name << ": " << run.err;
    EXPECT_TRUE(run.json().contains("whatif")) << name;
  }
}

}  // namespace
}  // namespace tessera::testing
