// Policies that are wrong, each in its own way: `tessera compare` catches every one, and nobody else pays for it.
#include <csignal>
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

class Crashes final : public WrongPolicy {
 public:
  std::string_view name() const override { return "crashes"; }
  Result<Decision> decide(const PlanningView&) override {
    ::raise(SIGKILL);  // no sanitizer's handler stands between
    return Error{ErrorCode::kInternal, "not reached"};
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
    add<Crashes>("crashes");
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
};

Compared compare(const std::string& names, const std::string& latency, const std::string& memory,
                 const std::string& limit = "60s", const std::string& reference = "none") {
  register_wrong_policies();
  const TemporaryFolder folder;
  const std::string out = folder / "out";
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
                                 "--jobs",
                                 "2",
                                 "--reference",
                                 reference,
                                 "--decide-limit",
                                 limit};
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  Compared result;
  result.code = compare_command(static_cast<int>(argv.size()), argv.data());
  std::ifstream in(out + "/results.json");
  const auto document = nlohmann::json::parse(in, nullptr, false);
  if (document.is_object())
    for (const auto& row : document["rows"]) result.rows[row["policy"].get<std::string>()] = row;
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

TEST(WrongPolicies, OneThatCrashesCostsItsOwnRow) {
  const Compared result = compare("std-pipeline,crashes,sti", "10s", "unlimited");
  EXPECT_EQ(result.code, kExitInternal);
  EXPECT_THAT(error_of(result, "crashes"), StartsWith("policy crashes: crashed: its process ended by signal 9"));
  expect_intact(result, "std-pipeline");
  expect_intact(result, "sti");
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
