// What every policy must keep to, whichever it is: iterates the registry.
#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

std::vector<std::string> names() {
  register_policies();
  std::vector<std::string> out;
  for (const auto& entry : policies().entries()) out.push_back(entry.name);
  return out;
}

World board(int64_t latency_ms) {
  World world = sti_board();
  world.budgets.latency = milliseconds(latency_ms);
  return world;
}

bool same(const Plan& a, const Plan& b) {
  if (a.depth != b.depth || a.bits != b.bits || a.keep != b.keep || a.loads.size() != b.loads.size()) return false;
  for (size_t i = 0; i < a.loads.size(); ++i)
    if (a.loads[i].slices != b.loads[i].slices || a.loads[i].layer != b.loads[i].layer) return false;
  for (int l = 0; l < a.depth; ++l) {
    if (a.placement[l].size() != b.placement[l].size()) return false;
    for (size_t p = 0; p < a.placement[l].size(); ++p)
      if (a.placement[l][p].device != b.placement[l][p].device || a.placement[l][p].slices != b.placement[l][p].slices)
        return false;
  }
  return a.predicted.latency == b.predicted.latency && a.pipelined == b.pipelined;
}

class PolicyConformance : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Registered, PolicyConformance, ::testing::ValuesIn(names()), [](const auto& param) {
  std::string name = param.param;
  for (char& c : name)
    if (c == '-') c = '_';
  return name;
});

TEST_P(PolicyConformance, PlansAreLegalAndWithinBudgets) {
  for (const int64_t latency : {150, 400, 1000, 4000}) {
    World world = board(latency);
    for (const Bytes memory : {kUnlimited, mib(64), mib(24)}) {
      world.budgets.memory = memory;
      const Result<Decision> decision = decide(GetParam(), world);
      ASSERT_TRUE(decision.ok()) << decision.error().message;
      const Plan* plan = std::get_if<Plan>(&*decision);
      if (plan == nullptr) continue;
      EXPECT_EQ(fault(world, FakeReplay(world), *plan), "") << "under " << latency << " ms and " << to_string(memory);
    }
  }
}

TEST_P(PolicyConformance, HasAPlanWhereBudgetsAreWide) {
  const World world = board(8000);
  EXPECT_EQ(fault(world, FakeReplay(world), plan_of(GetParam(), world)), "");
}

TEST_P(PolicyConformance, DecidesTheSameAgain) {
  World world = board(900);
  world.budgets.memory = mib(48);
  if (GetParam() == "fixed") world.depth = world.width = 3;  // chooses nothing by itself
  EXPECT_TRUE(same(plan_of(GetParam(), world), plan_of(GetParam(), world)));
}

TEST_P(PolicyConformance, NamesBudgetsForAnImpossibleOne) {
  World world = board(0);
  world.budgets.memory = Bytes{0};
  const Result<Decision> decision = decide(GetParam(), world);
  ASSERT_TRUE(decision.ok()) << decision.error().message;
  const Infeasible* infeasible = std::get_if<Infeasible>(&*decision);
  ASSERT_NE(infeasible, nullptr);
  EXPECT_GT(infeasible->both_latency, Duration{});
  EXPECT_GT(infeasible->both_memory, Bytes{});
  EXPECT_NE(infeasible->why.find("given"), std::string::npos) << infeasible->why;
  world.budgets.latency = infeasible->both_latency;
  world.budgets.memory = infeasible->both_memory;
  EXPECT_EQ(fault(world, FakeReplay(world), plan_of(GetParam(), world)), "");
}

TEST_P(PolicyConformance, RefusesZeroTokensAndTooMany) {
  World world = board(1000);
  for (const int tokens : {0, -1, world.shape.max_tokens + 1}) {
    world.tokens = tokens;
    const Result<Decision> decision = decide(GetParam(), world);
    ASSERT_FALSE(decision.ok());
    EXPECT_EQ(decision.error().code, ErrorCode::kInvalid);
  }
}

TEST_P(PolicyConformance, RefusesUnknownKnobsAndValues) {
  World world = board(1000);
  world.knobs = {{"no-such-knob", "1"}};
  ASSERT_FALSE(decide(GetParam(), world).ok());
  EXPECT_EQ(decide(GetParam(), world).error().code, ErrorCode::kInvalid);
  for (const KnobDescription& knob : policies().find(GetParam())->make()->knobs()) {
    world.knobs = {{knob.name, "no-such-value"}};
    const Result<Decision> decision = decide(GetParam(), world);
    ASSERT_FALSE(decision.ok()) << knob.name;
    EXPECT_EQ(decision.error().code, ErrorCode::kInvalid);
    EXPECT_NE(decision.error().message.find(knob.name), std::string::npos) << decision.error().message;
    world.knobs = {{knob.name, knob.default_value}};
    EXPECT_TRUE(decide(GetParam(), world).ok()) << knob.name << "=" << knob.default_value << " is its own default";
  }
}

TEST_P(PolicyConformance, ObeysWhatIsGivenByHand) {
  World world = board(4000);
  world.depth = 5;
  world.width = 4;
  world.bits = Bits{3};
  const Plan plan = plan_of(GetParam(), world);
  EXPECT_EQ(plan.depth, 5);
  EXPECT_EQ(plan.width(), 4);
  EXPECT_EQ(histogram(plan), (std::map<int, int>{{3, 20}}));
}

TEST_P(PolicyConformance, SaysWhatWasGivenByHandWhereItDoesNotFit) {
  World world = board(300);
  world.depth = 12;
  world.width = 12;
  const Result<Decision> decision = decide(GetParam(), world);
  ASSERT_TRUE(decision.ok()) << decision.error().message;
  const Infeasible* infeasible = std::get_if<Infeasible>(&*decision);
  ASSERT_NE(infeasible, nullptr);
  EXPECT_NE(infeasible->why.find("depth 12, width 12 as given"), std::string::npos) << infeasible->why;
  ASSERT_TRUE(infeasible->latency.has_value());
  EXPECT_GE(*infeasible->latency, milliseconds(1428));
}

TEST_P(PolicyConformance, RefusesWhatTheModelDoesNotHave) {
  for (const int wrong : {0, 2, 13}) {
    World world = board(1000);
    world.depth = wrong;
    EXPECT_EQ(decide(GetParam(), world).error().code, ErrorCode::kInvalid);
    world = board(1000);
    world.width = wrong;
    EXPECT_EQ(decide(GetParam(), world).error().code, ErrorCode::kInvalid);
  }
  World world = board(1000);
  world.bits = Bits{7};
  EXPECT_EQ(decide(GetParam(), world).error().code, ErrorCode::kInvalid);
}

TEST_P(PolicyConformance, RefusesToComputeOnNothing) {
  World world = board(1000);
  world.devices.clear();
  ASSERT_FALSE(decide(GetParam(), world).ok());
  EXPECT_EQ(decide(GetParam(), world).error().code, ErrorCode::kInvalid);
}

TEST_P(PolicyConformance, GivesTheLeastLatePlanOnBestEffort) {
  World world = board(1);
  const Result<Decision> refused = decide(GetParam(), world);
  ASSERT_TRUE(refused.ok());
  world.best_effort = true;
  const Plan plan = plan_of(GetParam(), world);
  EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
  EXPECT_EQ(plan.predicted.latency, *std::get<Infeasible>(*refused).latency);
}

TEST_P(PolicyConformance, PreloadsOnlyWhatMakesAPlan) {
  for (const int64_t latency : {100, 300, 1000}) {
    World world = board(latency);
    world.budgets.memory = mib(40);
    register_policies();
    const FakeReplay replay(world);
    const auto policy = policies().find(GetParam())->make();
    const Result<Residency> wanted = policy->preload(view_of(world, replay));
    ASSERT_TRUE(wanted.ok()) << wanted.error().message;
    if (wanted->shards.empty()) continue;
    const Result<Decision> without = decide(GetParam(), world);
    world.residency = *wanted;
    const Result<Decision> with = decide(GetParam(), world);
    ASSERT_TRUE(with.ok() && without.ok());
    EXPECT_GE(std::holds_alternative<Plan>(*with), std::holds_alternative<Plan>(*without));
  }
}

}  // namespace
}  // namespace tessera::testing
