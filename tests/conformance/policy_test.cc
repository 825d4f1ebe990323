// Holds the policies that --policy names to what every policy promises, in worlds at random: legal plans within budgets, the
// same again, never better than the proven bound. Beside it run the checks of tests/policies/conformance_test.cc.
#include <algorithm>
#include <cctype>

#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/conformance/policy_subjects.h"
#include "tests/policies/small_worlds.h"

namespace tessera::conformance {
namespace {

using testing::cases;
using testing::FakeReplay;
using testing::random_world;
using testing::small_world;
using testing::World;

constexpr uint64_t kWorlds = cases(600);
constexpr uint64_t kSmallWorlds = cases(240);

class PolicyInRandomWorlds : public ::testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PolicyInRandomWorlds);
INSTANTIATE_TEST_SUITE_P(Wanted, PolicyInRandomWorlds, ::testing::ValuesIn(wanted_policies()),
                         [](const auto& param) { return test_name(param.param); });

Result<Decision> ask(Policy& policy, const World& world) {
  const FakeReplay replay(world);
  return policy.decide(view_of(world, replay));
}

std::unique_ptr<Policy> made(const std::string& name) { return policies().find(name)->make(); }

// What testing::fault() takes for granted.
std::string malformed(const World& world, const Plan& plan) {
  if (!world.shape.legal_depth(plan.depth)) return "depth " + std::to_string(plan.depth) + " is not legal";
  if (plan.slices != world.shape.slices) return "slices is not the model's";
  if (plan.bits.size() != static_cast<size_t>(plan.depth) * static_cast<size_t>(plan.slices)) return "bits: wrong size";
  if (plan.placement.size() != static_cast<size_t>(plan.depth)) return "placement: wrong size";
  for (const auto& parts : plan.placement)
    if (parts.empty()) return "placement: a layer has no part";
  return "";
}

std::string fault_of(const World& world, const Plan& plan) {
  const std::string bad = malformed(world, plan);
  return bad.empty() ? testing::fault(world, FakeReplay(world), plan) : bad;
}

bool same(const Plan& a, const Plan& b) {
  const auto load = [](const PlannedLoad& x, const PlannedLoad& y) {
    return x.op == y.op && x.layer == y.layer && x.slices == y.slices && x.bits == y.bits;
  };
  const auto part = [](const LayerPart& x, const LayerPart& y) { return x.device == y.device && x.slices == y.slices; };
  const auto layer = [&](const auto& x, const auto& y) { return std::equal(x.begin(), x.end(), y.begin(), y.end(), part); };
  return a.depth == b.depth && a.bits == b.bits && a.keep == b.keep && a.pipelined == b.pipelined &&
         std::equal(a.loads.begin(), a.loads.end(), b.loads.begin(), b.loads.end(), load) &&
         std::equal(a.placement.begin(), a.placement.end(), b.placement.begin(), b.placement.end(), layer);
}

bool same(const Infeasible& a, const Infeasible& b) {
  return a.latency == b.latency && a.memory == b.memory && a.both_latency == b.both_latency &&
         a.both_memory == b.both_memory;
}

TEST_P(PolicyInRandomWorlds, PlansAreLegalAndWithinBudgets) {
  const auto policy = made(GetParam());
  for (uint64_t seed = 0; seed < kWorlds; ++seed) {
    const World world = random_world(seed);
    const Result<Decision> decision = ask(*policy, world);
    ASSERT_TRUE(decision.ok()) << "world " << seed << ": " << decision.error().message;
    if (const Plan* plan = std::get_if<Plan>(&*decision)) { ASSERT_EQ(fault_of(world, *plan), "") << "world " << seed; }
  }
}

// Of one object that has seen other worlds, and of a fresh one.
TEST_P(PolicyInRandomWorlds, EqualViewsGiveEqualDecisions) {
  const auto seasoned = made(GetParam());
  for (uint64_t seed = 0; seed < kWorlds / 2; ++seed) {
    const World world = random_world(seed);
    const Result<Decision> one = ask(*seasoned, world), other = ask(*made(GetParam()), world);
    ASSERT_TRUE(one.ok() && other.ok()) << "world " << seed;
    ASSERT_EQ(one->index(), other->index()) << "world " << seed;
    if (const Plan* plan = std::get_if<Plan>(&*one)) {
      ASSERT_TRUE(same(*plan, std::get<Plan>(*other))) << "world " << seed;
    } else {
      ASSERT_TRUE(same(std::get<Infeasible>(*one), std::get<Infeasible>(*other))) << "world " << seed;
    }
  }
}

TEST_P(PolicyInRandomWorlds, BudgetsThatItNamesWork) {
  const auto policy = made(GetParam());
  for (uint64_t seed = 0; seed < kWorlds / 2; ++seed) {
    World world = random_world(seed);
    const Result<Decision> decision = ask(*policy, world);
    const Infeasible* found = decision.ok() ? std::get_if<Infeasible>(&*decision) : nullptr;
    if (found == nullptr) continue;
    world.budgets.latency = found->both_latency;
    world.budgets.memory = found->both_memory;
    const Result<Decision> again = ask(*policy, world);
    ASSERT_TRUE(again.ok()) << "world " << seed << ": " << again.error().message;
    ASSERT_TRUE(std::holds_alternative<Plan>(*again))
        << "world " << seed << ": infeasible under both_latency " << to_string(found->both_latency) << " and both_memory "
        << to_string(found->both_memory) << ", which it named itself";
  }
}

// On one device the bound is of all plans; who does better has found an illegal plan that the checks above missed.
TEST_P(PolicyInRandomWorlds, NoPlanIsBetterThanTheProvenBound) {
  const auto policy = made(GetParam()), optimal = made("optimal");
  int bounded = 0;
  for (uint64_t seed = 0; seed < kSmallWorlds; ++seed) {
    const World world = small_world(seed);
    const Result<Decision> best = ask(*optimal, world), decision = ask(*policy, world);
    ASSERT_TRUE(best.ok() && decision.ok()) << "world " << seed;
    const Plan *proven = std::get_if<Plan>(&*best), *plan = std::get_if<Plan>(&*decision);
    if (plan == nullptr) continue;
    ASSERT_EQ(fault_of(world, *plan), "") << "world " << seed;
    if (proven == nullptr || !proven->loss_bound) continue;
    ASSERT_GE(world.accuracy.loss(plan->depth, plan->bits), *proven->loss_bound) << "world " << seed;
    ++bounded;
  }
  RecordProperty("bounded", bounded);
}

TEST_P(PolicyInRandomWorlds, PreloadsWithinItsBudget) {
  const auto policy = made(GetParam());
  for (uint64_t seed = 0; seed < kWorlds / 2; ++seed) {
    World world = random_world(seed);
    world.residency = {};
    const FakeReplay replay(world);
    Result<Residency> wanted = policy->preload(view_of(world, replay));
    ASSERT_TRUE(wanted.ok()) << "world " << seed << ": " << wanted.error().message;
    ASSERT_LE(wanted->total(), std::max(world.budgets.preload, world.budgets.memory)) << "world " << seed;
    world.residency = wanted.take();
    const Result<Decision> decision = ask(*policy, world);
    ASSERT_TRUE(decision.ok()) << "world " << seed << ": " << decision.error().message;
    if (const Plan* plan = std::get_if<Plan>(&*decision)) { ASSERT_EQ(fault_of(world, *plan), "") << "world " << seed; }
  }
}

}  // namespace
}  // namespace tessera::conformance
