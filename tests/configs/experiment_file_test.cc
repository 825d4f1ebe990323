// Experiments in TOML, and how contenders and budgets are written in one word.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "configs/loader.h"
#include "framework/registry.h"

namespace tessera::testing {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

// A file of its own in the tests' folder.
std::string written(const std::string& text) {
  const fs::path folder = fs::path(::testing::TempDir()) / "experiments";
  fs::create_directories(folder);
  const std::string path =
      (folder / (std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + ".toml"));
  std::ofstream(path) << text;
  return path;
}

std::string refused(const std::string& text) {
  const auto experiment = load_experiment(written(text));
  EXPECT_FALSE(experiment.ok());
  return experiment.ok() ? "" : experiment.error().message;
}

TEST(ExperimentFile, GivesPlatformsTheirOwnModelsAndBudgets) {
  const std::string path = written(R"toml(
title = "two places"
policies = ["sti", "std-pipeline(bits=2)"]
latencies = ["20 ms", "40 ms"]
memories = ["8 MiB", "unlimited"]
seeds = [3, 4]
tokens = 32
worker_memory = "1 GiB"
[[policy]]
use = "sti(pass1=lowest)"
label = "prototype"
[[platform]]
file = "host"
[[platform]]
file = "boards/slow.toml"
name = "slow"
shape = "/models/big.toml"
latencies = ["1 s"]
io_speeds = [0.5, 1]
)toml");
  const auto experiment = load_experiment(path);
  ASSERT_TRUE(experiment.ok()) << experiment.error().message;
  ASSERT_EQ(experiment->contenders.size(), 3U);
  EXPECT_EQ(experiment->contenders[1].label, "std-pipeline(bits=2)");
  EXPECT_EQ(experiment->contenders[1].bits, Bits{2});
  EXPECT_EQ(experiment->contenders[2].label, "prototype");
  EXPECT_EQ(experiment->contenders[2].knobs.at("pass1"), "lowest");
  ASSERT_EQ(experiment->arenas.size(), 3U);
  EXPECT_EQ(experiment->arenas[0].name, "host");
  EXPECT_EQ(experiment->arenas[0].latencies.size(), 2U);
  EXPECT_EQ(experiment->arenas[0].memories[1], kUnlimited);
  EXPECT_EQ(experiment->arenas[1].name, "slow io x0.5");
  EXPECT_EQ(experiment->arenas[1].io_speed, 0.5);
  EXPECT_EQ(experiment->arenas[1].platform, (fs::path(path).parent_path() / "boards/slow.toml").string());
  EXPECT_EQ(experiment->arenas[1].shape, "/models/big.toml");
  EXPECT_EQ(experiment->arenas[2].name, "slow");
  EXPECT_EQ(experiment->arenas[2].latencies, std::vector<Duration>{milliseconds(1000)});
  EXPECT_EQ(experiment->seeds, (std::vector<uint64_t>{3, 4}));
  EXPECT_EQ(experiment->tokens, 32);
  EXPECT_EQ(experiment->worker_memory, mib(1024));
}

TEST(ExperimentFile, NamesFileLineAndRemedy) {
  EXPECT_THAT(refused("policies = [\"sti\"]\nlatencies = [\"20\"]"), HasSubstr(".toml:2: latencies: '20' has no unit"));
  EXPECT_THAT(refused("polices = [\"sti\"]"), HasSubstr("did you mean 'policies'"));
  EXPECT_THAT(refused("policies = \"sti\""), HasSubstr("must be a list"));
  EXPECT_THAT(refused("policies = [\"sti(\"]"), HasSubstr(") is missing"));
  EXPECT_THAT(refused("policies = [\"sti\"]\nquantile = 2.0"), HasSubstr("0.5 to 0.999"));
  EXPECT_THAT(refused("policies = [\"sti\"]\nlatencies = []"), HasSubstr("must not be empty"));
  EXPECT_THAT(refused("policies = [\"sti\"]\nworker_memory = \"4\""), HasSubstr(".toml:2: worker_memory: '4' has no unit"));
  EXPECT_THAT(refused("policies = [\"sti\"]\n[[platform]]\nname = \"x\""), HasSubstr("'file' is missing"));
  EXPECT_THAT(refused("policies = [\"sti\"]\n[[platform]]\nfile = \"host\"\nio_speeds = [0.0]"), HasSubstr("io_speeds"));
  EXPECT_THAT(refused("policies = [\"sti\"]\n[[platform]]\nfile = \"host\"\nmemory = \"1 MiB\""), HasSubstr("memories"));
  EXPECT_EQ(load_experiment("/nowhere.toml").error().code, ErrorCode::kData);
}

// A file of this size would ask for a thousand gigabytes.
TEST(ExperimentFile, CountsCellsBeforeItCopiesBudgets) {
  const auto list = [](int n, const auto& item) {
    std::string text = "[";
    for (int i = 1; i <= n; ++i) text += item(i) + ",";
    return text + "]";
  };
  const std::string head =
      "policies = [\"sti\"]\nlatencies = " + list(50'000, [](int i) { return "\"" + std::to_string(i) + "ns\""; }) + "\n";
  EXPECT_THAT(
      refused(head + "[[platform]]\nfile = \"host\"\nio_speeds = " + list(3, [](int i) { return std::to_string(i); })),
      HasSubstr(".toml:5: more than 100000 cells; split the experiment"));
  EXPECT_THAT(refused(head + "platforms = " + list(3, [](int i) { return "\"" + std::to_string(i) + "\""; })),
              HasSubstr(".toml:3: more than 100000 cells"));
  std::string tables = head;
  for (int i = 0; i < 3; ++i) tables += "[[platform]]\nfile = \"host\"\n";
  EXPECT_THAT(refused(tables), HasSubstr("more than 100000 cells"));
}

TEST(ExperimentFile, AllThatAreShippedAreUnderstood) {
  register_policies();
  int files = 0;
  for (const auto& entry : fs::directory_iterator(std::string(TESSERA_SOURCE_DIR) + "/configs/experiments")) {
    if (entry.path().extension() != ".toml") continue;
    ++files;
    const auto experiment = load_experiment(entry.path().string());
    ASSERT_TRUE(experiment.ok()) << experiment.error().message;
    EXPECT_FALSE(experiment->title.empty()) << entry.path();
    EXPECT_FALSE(experiment->contenders.empty()) << entry.path();
    for (const Arena& arena : experiment->arenas) {
      EXPECT_TRUE(arena.platform == "host" || fs::exists(arena.platform)) << arena.platform;
      EXPECT_TRUE(arena.shape.empty() || fs::exists(arena.shape)) << arena.shape;
    }
    for (const std::string& workload : experiment->workloads)
      EXPECT_TRUE(workload.empty() || fs::exists(workload)) << workload;
  }
  EXPECT_GT(files, 0);
}

TEST(ContenderText, TellsSettingsOfEveryPolicyFromKnobs) {
  const auto contender = parse_contender("sti(depth=6,width=3,bits=32,quantile=0.5,preload=1MiB,pass1=lowest)");
  ASSERT_TRUE(contender.ok()) << contender.error().message;
  EXPECT_EQ(contender->depth, 6);
  EXPECT_EQ(contender->width, 3);
  EXPECT_EQ(contender->bits, kExact);
  EXPECT_EQ(contender->quantile, 0.5);
  EXPECT_EQ(contender->preload, mib(1));
  EXPECT_EQ(contender->knobs, (Knobs{{"pass1", "lowest"}}));
  EXPECT_EQ(parse_contender("sti")->label, "sti");
}

TEST(ContenderText, RefusesWhatItCannotRead) {
  for (const char* text : {"", "(bits=2)", "sti(", "sti(bits)", "sti(=2)", "x(bits=9)", "x(depth=0)", "x(depth=two)",
                           "x(preload=1)", "x(quantile=high)", "sti()"})
    EXPECT_FALSE(parse_contender(text).ok()) << text;
}

TEST(BudgetText, KnowsUnlimited) {
  EXPECT_EQ(*parse_budget_bytes("unlimited"), kUnlimited);
  EXPECT_EQ(*parse_budget_bytes("8MiB"), mib(8));
  EXPECT_FALSE(parse_budget_bytes("8").ok());
}

}  // namespace
}  // namespace tessera::testing
