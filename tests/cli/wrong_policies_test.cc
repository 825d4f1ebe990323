// Policies that are wrong, each in its own way: `tessera compare` catches every one, and nobody else pays for it.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/cli/tool.h"
#include "tests/support/tiny_model.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"

namespace tessera::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kSource = TESSERA_SOURCE_DIR;

// More than a worker needs for itself; sanitizers shadow every byte.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr Bytes kWorkerMemory = mib(4096);
#else
constexpr Bytes kWorkerMemory = mib(768);
#endif
const std::string kLimit = std::to_string(kWorkerMemory.n) + "B";

// Everything at one bitwidth on one device, whatever the budgets.
Plan whole_model(const PlanningView& view, Bits bits, DeviceId device) {
  Plan plan;
  plan.depth = view.shape.layers;
  plan.slices = view.shape.slices;
  plan.bits.assign(static_cast<size_t>(plan.depth) * plan.slices, bits);
  plan.placement.assign(static_cast<size_t>(plan.depth), {{device, first_slices(plan.slices)}});
  plan.quantile = view.quantile;
  plan.loads = loads_for(view.platform, view.residency, plan);
  return plan;
}

class WrongPolicy : public Policy {
 public:
  std::string_view summary() const override { return "wrong, for tests"; }
};

// 340 MB from flash that reads 83 MB a second.
class OverspendsIo final : public WrongPolicy {
 public:
  std::string_view name() const override { return "overspends-io"; }
  Result<Decision> decide(const PlanningView& view) override {
    return Decision(whole_model(view, kExact, view.compute_devices[0]));
  }
};

// In time, but each layer at once is more than the budget.
class OverspendsMemory final : public WrongPolicy {
 public:
  std::string_view name() const override { return "overspends-memory"; }
  Result<Decision> decide(const PlanningView& view) override {
    return Decision(whole_model(view, kExact, view.compute_devices[0]));
  }
};

class PlacesNowhere final : public WrongPolicy {
 public:
  std::string_view name() const override { return "places-nowhere"; }
  Result<Decision> decide(const PlanningView& view) override {
    Plan plan = whole_model(view, 2, view.compute_devices[0]);
    for (auto& parts : plan.placement) parts[0].device = 77;
    return Decision(std::move(plan));
  }
};

class NeverAnswers final : public WrongPolicy {
 public:
  std::string_view name() const override { return "never-answers"; }
  Result<Decision> decide(const PlanningView&) override {
    for (volatile bool ever = true; ever;) {}
    return Error{ErrorCode::kInternal, "not reached"};
  }
};

class NeverPreloads final : public WrongPolicy {
 public:
  std::string_view name() const override { return "never-preloads"; }
  Result<Residency> preload(const PlanningView&) override {
    for (volatile bool ever = true; ever;) {}
    return Residency{};
  }
  Result<Decision> decide(const PlanningView& view) override {
    return Decision(whole_model(view, 2, view.compute_devices[0]));
  }
};

// Answers only where nobody has told it to dawdle.
class Dawdles final : public WrongPolicy {
 public:
  static constexpr const char* kTold = "TESSERA_TEST_DAWDLE";
  std::string_view name() const override { return "dawdles"; }
  Result<Decision> decide(const PlanningView& view) override {
    for (volatile bool ever = std::getenv(kTold) != nullptr; ever;) {}
    return Decision(whole_model(view, 2, view.compute_devices[0]));
  }
};

class Crashes final : public WrongPolicy {
 public:
  std::string_view name() const override { return "crashes"; }
  Result<Decision> decide(const PlanningView&) override {
    ::raise(SIGKILL);  // no sanitizer's handler stands between
    return Error{ErrorCode::kInternal, "not reached"};
  }
};

// Takes memory, and writes to it, until somebody stops it.
class Hoards final : public WrongPolicy {
 public:
  std::string_view name() const override { return "hoards"; }
  Result<Decision> decide(const PlanningView&) override {
    constexpr size_t kPiece = 16 << 20;
    for (;;) std::memset(hoard_.emplace_back(new char[kPiece]).get(), 1, kPiece);
  }

 private:
  std::vector<std::unique_ptr<char[]>> hoard_;
};

// Never gives back what a call took: some calls later its process has more than one policy may take.
class Leaks final : public WrongPolicy {
 public:
  std::string_view name() const override { return "leaks"; }
  Result<Decision> decide(const PlanningView& view) override {
    static std::vector<std::unique_ptr<char[]>> leaked;
    constexpr auto kPiece = static_cast<size_t>(kWorkerMemory.n / 5);
    std::memset(leaked.emplace_back(new char[kPiece]).get(), 1, kPiece);
    return Decision(whole_model(view, 2, view.compute_devices[0]));
  }
};

class Throws final : public WrongPolicy {
 public:
  std::string_view name() const override { return "throws"; }
  Result<Decision> decide(const PlanningView&) override { throw std::runtime_error("no such row"); }
};

class BlamesAFile final : public WrongPolicy {
 public:
  std::string_view name() const override { return "blames-a-file"; }
  Result<Decision> decide(const PlanningView&) override { return Error{ErrorCode::kData, "my.table: no such file"}; }
};

// A reference that proves a bound only where memory does not matter.
class ProvesWhenRich final : public WrongPolicy {
 public:
  static constexpr Micro kBound{7};
  std::string_view name() const override { return "proves-when-rich"; }
  Result<Decision> decide(const PlanningView& view) override {
    Plan plan = whole_model(view, 2, view.compute_devices[0]);
    if (view.budgets.memory == kUnlimited) plan.loss_bound = kBound;
    return Decision(std::move(plan));
  }
};

template <typename P>
void add(const std::string& name) {
  policies().add(name, [] { return std::unique_ptr<Policy>(new P()); });
}

void register_wrong_policies() {
  static const bool once = [] {
    register_policies();
    add<OverspendsIo>("overspends-io");
    add<OverspendsMemory>("overspends-memory");
    add<PlacesNowhere>("places-nowhere");
    add<NeverAnswers>("never-answers");
    add<NeverPreloads>("never-preloads");
    add<Dawdles>("dawdles");
    add<Crashes>("crashes");
    add<ProvesWhenRich>("proves-when-rich");
    add<Hoards>("hoards");
    add<Leaks>("leaks");
    add<Throws>("throws");
    add<BlamesAFile>("blames-a-file");
    return true;
  }();
  (void)once;
}

// Runs the command in this process, which knows the wrong policies; rows by policy.
struct Compared {
  int code = -1;
  std::map<std::string, nlohmann::json> rows;
  int64_t errors = 0;
};

Compared compare(const std::string& names, const std::string& latency, const std::string& memory,
                 const std::string& limit = "60s", const std::string& reference = "none",
                 const std::vector<std::string>& more = {}, const std::string& kept = "") {
  register_wrong_policies();
  const TemporaryFolder folder;
  const std::string out = kept.empty() ? folder / "out" : kept;
  std::vector<std::string> words{"compare",
                                 "--policies",
                                 names,
                                 "--shape",
                                 kSource + "/configs/models/bert-base.toml",
                                 "--platforms",
                                 kSource + "/configs/platforms/sti-board.toml",
                                 "--latencies",
                                 latency,
                                 "--memories",
                                 memory,
                                 "--out",
                                 out,
                                 "--no-report",
                                 "--reference",
                                 reference,
                                 "--decide-limit",
                                 limit};
  words.insert(words.end(), more.begin(), more.end());
  if (std::find(more.begin(), more.end(), "--jobs") == more.end()) words.insert(words.end(), {"--jobs", "2"});
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  Compared result;
  result.code = compare_command(static_cast<int>(argv.size()), argv.data());
  std::ifstream in(out + "/results.json");
  const auto document = nlohmann::json::parse(in, nullptr, false);
  if (document.is_object())
    for (const auto& row : document["rows"]) {
      result.rows[row["policy"].get<std::string>()] = row;
      result.errors += !row["error"].is_null();
    }
  return result;
}

std::string error_of(const Compared& result, const std::string& policy) {
  const auto& error = result.rows.at(policy).at("error");
  return error.is_null() ? "" : error.get<std::string>();
}

// The others' rows are as if the wrong one had not been there.
void expect_intact(const Compared& result, const std::string& policy) {
  EXPECT_EQ(error_of(result, policy), "");
  EXPECT_TRUE(result.rows.at(policy).at("feasible").get<bool>()) << policy;
}

TEST(WrongPolicies, OneThatOverspendsIoIsCaught) {
  const Compared result = compare("overspends-io,std-pipeline", "600ms", "unlimited");
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_THAT(error_of(result, "overspends-io"), HasSubstr("policy overspends-io: illegal plan: predicted latency"));
  EXPECT_THAT(error_of(result, "overspends-io"), HasSubstr("the budget is 600"));
  EXPECT_FALSE(result.rows.at("overspends-io").at("feasible").get<bool>());
  expect_intact(result, "std-pipeline");
}

TEST(WrongPolicies, OneThatOverspendsMemoryIsCaught) {
  const Compared result = compare("std-pipeline,overspends-memory", "100s", "16MiB");
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_THAT(error_of(result, "overspends-memory"), StartsWith("policy overspends-memory: illegal plan: "));
  EXPECT_THAT(error_of(result, "overspends-memory"), ::testing::ContainsRegex("[Mm]emory|bytes|MiB"));
  expect_intact(result, "std-pipeline");
}

TEST(WrongPolicies, OneThatPlacesOnAMissingDeviceIsCaught) {
  const Compared result = compare("places-nowhere,std-pipeline", "10s", "unlimited");
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_THAT(error_of(result, "places-nowhere"), StartsWith("policy places-nowhere: illegal plan: "));
  EXPECT_THAT(error_of(result, "places-nowhere"), HasSubstr("device"));
  expect_intact(result, "std-pipeline");
}

TEST(WrongPolicies, OneThatNeverAnswersIsEnded) {
  const Compared result = compare("never-answers,never-preloads,std-pipeline,sti", "10s", "unlimited", "2s");
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_THAT(error_of(result, "never-answers"), StartsWith("policy never-answers: overdue: no answer within 2"));
  EXPECT_THAT(error_of(result, "never-preloads"), StartsWith("policy never-preloads: overdue: "));
  expect_intact(result, "std-pipeline");
  expect_intact(result, "sti");
}

TEST(WrongPolicies, OneThatWasEndedIsAskedAgainUnderAWiderLimit) {
  const TemporaryFolder folder;
  const auto again = [&](const std::string& limit) {
    return compare("dawdles,std-pipeline", "10s", "unlimited", limit, "none", {}, folder / "out");
  };
  ::setenv(Dawdles::kTold, "1", 1);
  const Compared first = again("1s");
  ::unsetenv(Dawdles::kTold);
  EXPECT_THAT(error_of(first, "dawdles"), HasSubstr("raise --decide-limit"));
  EXPECT_EQ(again("1s").rows, first.rows) << "what is done is done";
  const Compared wider = again("60s");
  EXPECT_EQ(wider.code, kExitDone);
  expect_intact(wider, "dawdles");
  EXPECT_EQ(wider.rows.at("std-pipeline"), first.rows.at("std-pipeline")) << "not played again";
}

TEST(WrongPolicies, OneThatCrashesCostsItsOwnRow) {
  const Compared result = compare("std-pipeline,crashes,sti", "10s", "unlimited");
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_THAT(error_of(result, "crashes"), StartsWith("policy crashes: crashed: its process ended by signal 9"));
  expect_intact(result, "std-pipeline");
  expect_intact(result, "sti");
}

TEST(WrongPolicies, OneThatTakesAllMemoryCostsItsOwnRow) {
  const Compared result = compare("std-pipeline,hoards,sti", "10s", "unlimited", "60s", "none", {"--worker-memory", kLimit});
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_THAT(error_of(result, "hoards"), StartsWith("policy hoards: took "));
  EXPECT_THAT(error_of(result, "hoards"), HasSubstr(to_string(kWorkerMemory) + " are allowed (worker_memory)"));
  EXPECT_THAT(error_of(result, "hoards"), HasSubstr("raise --worker-memory"));
  EXPECT_EQ(result.errors, 1);
  expect_intact(result, "std-pipeline");
  expect_intact(result, "sti");
}

TEST(WrongPolicies, WhatOneLeavesBehindIsNobodysError) {
  const Compared result = compare("leaks,std-pipeline", "10s,11s,12s,13s,14s,15s", "unlimited", "60s", "none",
                                  {"--worker-memory", kLimit, "--jobs", "1"});
  EXPECT_EQ(result.code, kExitDone);
  EXPECT_EQ(result.errors, 0);
}

TEST(WrongPolicies, AReferenceThatTakesAllMemoryLeavesOthersWithoutBound) {
  const Compared result = compare("std-pipeline", "10s", "unlimited", "60s", "hoards", {"--worker-memory", kLimit});
  EXPECT_EQ(result.code, kExitDone);
  expect_intact(result, "std-pipeline");
}

TEST(WrongPolicies, OneThatThrowsCostsItsOwnRow) {
  const Compared result = compare("std-pipeline,throws,sti", "10s", "unlimited", "60s", "throws");
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_EQ(error_of(result, "throws"), "policy throws: threw an exception: no such row");
  expect_intact(result, "std-pipeline");
  expect_intact(result, "sti");
}

TEST(WrongPolicies, OneThatReturnsSomebodyElsesErrorCostsItsOwnRow) {
  const Compared result = compare("std-pipeline,blames-a-file", "10s", "unlimited");
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_EQ(error_of(result, "blames-a-file"), "policy blames-a-file: my.table: no such file");
  expect_intact(result, "std-pipeline");
}

// What holds without a memory budget holds all the more with one.
TEST(Reference, ThatProvesNothingUnderTightMemoryIsAskedWithoutABudgetForIt) {
  const Compared result = compare("std-pipeline", "10s", "256MiB", "60s", "proves-when-rich");
  EXPECT_EQ(result.code, kExitDone);
  const auto& row = result.rows.at("std-pipeline");
  EXPECT_EQ(row["loss_bound"].get<double>(), ProvesWhenRich::kBound.value());
  EXPECT_GT(row["loss_gap"].get<double>(), 0);
  EXPECT_DOUBLE_EQ(row["loss_regret"].get<double>(), row["loss_predicted"].get<double>() - ProvesWhenRich::kBound.value());
}

TEST(WrongPolicies, AReferenceThatNeverAnswersLeavesOthersWithoutBound) {
  const Compared result = compare("std-pipeline,sti", "10s", "unlimited", "2s", "never-answers");
  EXPECT_EQ(result.code, kExitDone);
  for (const char* policy : {"std-pipeline", "sti"}) {
    expect_intact(result, policy);
    EXPECT_TRUE(result.rows.at(policy).at("loss_bound").is_null());
  }
}

}  // namespace
}  // namespace tessera::testing
