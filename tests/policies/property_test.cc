// Properties over random shapes, boards, budgets, profiles and residents: 2,400 worlds a policy, memory stalls among them.
#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

constexpr uint64_t kWorlds = 2400;  // for each policy

class EveryPolicy : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Random, EveryPolicy,
                         ::testing::Values("adversarial", "elastic", "even-split", "fixed", "greedy-byte", "heft",
                                           "knapsack", "load-exec", "min-completion", "preload", "random", "std-pipeline",
                                           "sti"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');  // a test's name has no other signs
                           return name;
                         });

// "" or what is untrue in an infeasible answer.
std::string untruth(const std::string& policy, const World& world, const Infeasible& found) {
  const auto works = [&](Duration latency, Bytes memory) {
    World again = world;
    again.budgets.latency = latency;
    again.budgets.memory = memory;
    const Result<Decision> decision = decide(policy, again);
    if (!decision.ok() || !std::holds_alternative<Plan>(*decision)) return false;
    return fault(again, FakeReplay(again), std::get<Plan>(*decision)).empty();
  };
  if (found.latency && !works(*found.latency, world.budgets.memory)) return "latency";
  if (found.memory && !works(world.budgets.latency, *found.memory)) return "memory";
  if (!works(found.both_latency, found.both_memory)) return "both";
  if (found.latency && *found.latency <= world.budgets.latency) return "latency is no more than was given";
  if (found.memory && *found.memory <= world.budgets.memory) return "memory is no more than was given";
  return "";
}

TEST_P(EveryPolicy, KeepsBudgetsOrNamesTrueOnes) {
  int plans = 0, infeasible = 0;
  for (uint64_t seed = 0; seed < kWorlds; ++seed) {
    const World world = random_world(seed);
    const Result<Decision> decision = decide(GetParam(), world);
    ASSERT_TRUE(decision.ok()) << "world " << seed << ": " << decision.error().message;
    if (const Plan* plan = std::get_if<Plan>(&*decision)) {
      ++plans;
      ASSERT_EQ(fault(world, FakeReplay(world), *plan), "") << "world " << seed;
    } else {
      ++infeasible;
      ASSERT_EQ(untruth(GetParam(), world, std::get<Infeasible>(*decision)), "") << "world " << seed;
    }
  }
  // The worlds are not all of one kind.
  EXPECT_GT(plans, 500);
  EXPECT_GT(infeasible, 200);
}

// A little less than the named least latency is still infeasible. Where decoding costs depend on the bitwidth, a mix of
// bitwidths can be a little faster than every uniform plan, and sti may still find it: those worlds are left out.
TEST_P(EveryPolicy, NamesTheLeastLatency) {
  if (GetParam() == "adversarial") GTEST_SKIP() << "adversarial draws splits and slice sets at random: it promises no least";
  int checked = 0;
  for (uint64_t seed = 0; seed < kWorlds / 4; ++seed) {
    World world = random_world(seed);
    world.costs.decode.fill(0);
    const Result<Decision> decision = decide(GetParam(), world);
    const Infeasible* found = decision.ok() ? std::get_if<Infeasible>(&*decision) : nullptr;
    if (found == nullptr || !found->latency) continue;
    world.budgets.latency = *found->latency - nanoseconds(1);
    const Result<Decision> again = decide(GetParam(), world);
    ASSERT_TRUE(again.ok() && std::holds_alternative<Infeasible>(*again)) << "world " << seed;
    ++checked;
  }
  EXPECT_GT(checked, 20);
}

TEST_P(EveryPolicy, StaysWithinMemoryOnBestEffort) {
  for (uint64_t seed = 0; seed < kWorlds / 4; ++seed) {
    World world = random_world(seed);
    world.best_effort = true;
    const Result<Decision> decision = decide(GetParam(), world);
    ASSERT_TRUE(decision.ok()) << decision.error().message;
    if (const Plan* plan = std::get_if<Plan>(&*decision)) {
      ASSERT_EQ(fault(world, FakeReplay(world), *plan), "") << "world " << seed;
    } else {
      ASSERT_FALSE(std::get<Infeasible>(*decision).latency) << "a plan that is late was there; world " << seed;
    }
  }
}

// As a session does: preload, then decide.
Result<Decision> warm(const std::string& policy, World& world) {
  world.residency = {};
  const FakeReplay replay(world);
  TESSERA_ASSIGN(world.residency, policies().find(policy)->make()->preload(view_of(world, replay)));
  return decide(policy, world);
}

TEST_P(EveryPolicy, PreloadsWithinItsBudgetAndOnlyWhatHelps) {
  register_policies();
  int warmed = 0;
  for (uint64_t seed = 0; seed < kWorlds / 4; ++seed) {
    World world = random_world(seed);
    world.residency = {};
    const Result<Decision> cold = decide(GetParam(), world);
    const Result<Decision> decision = warm(GetParam(), world);
    ASSERT_TRUE(decision.ok() && cold.ok()) << "world " << seed;
    if (GetParam() != "preload") { ASSERT_LE(world.residency.total(), world.budgets.preload) << "world " << seed; }
    warmed += !world.residency.shards.empty();
    if (const Plan* plan = std::get_if<Plan>(&*decision)) {
      ASSERT_EQ(fault(world, FakeReplay(world), *plan), "") << "world " << seed;
    } else {
      ASSERT_TRUE(std::holds_alternative<Infeasible>(*cold)) << "what was preloaded is in the way; world " << seed;
    }
  }
  const std::set<std::string> cold{"adversarial", "even-split", "heft", "load-exec", "min-completion", "std-pipeline"};
  EXPECT_EQ(warmed > 50, cold.count(GetParam()) == 0);
}

// Budgets that were named with a preloaded residency are true when preloading again under them.
TEST_P(EveryPolicy, NamesTrueBudgetsWhenPreloadingToo) {
  register_policies();
  int checked = 0;
  for (uint64_t seed = 0; seed < kWorlds / 4; ++seed) {
    World world = random_world(seed);
    const Result<Decision> decision = warm(GetParam(), world);
    ASSERT_TRUE(decision.ok()) << "world " << seed << ": " << decision.error().message;
    const Infeasible* found = std::get_if<Infeasible>(&*decision);
    if (found == nullptr) continue;
    const Budgets given = world.budgets;
    const auto works = [&](Duration latency, Bytes memory) {
      world.budgets.latency = latency;
      world.budgets.memory = memory;
      const Result<Decision> again = warm(GetParam(), world);
      return again.ok() && std::holds_alternative<Plan>(*again);
    };
    ASSERT_TRUE(works(found->both_latency, found->both_memory)) << "world " << seed;
    ASSERT_TRUE(!found->latency || works(*found->latency, given.memory)) << "world " << seed;
    ASSERT_TRUE(!found->memory || works(given.latency, *found->memory)) << "world " << seed;
    ++checked;
  }
  EXPECT_GT(checked, 50);
}

// Infinite memory and all AIB at least 0: compute never waits once it has started.
TEST(StiRecurrence, NeverStallsWithInfiniteMemory) {
  int checked = 0;
  for (uint64_t seed = 0; seed < kWorlds; ++seed) {
    World world = random_world(seed);
    world.budgets.memory = kUnlimited;
    world.costs.rows = world.costs.embed = world.costs.exit = 0;
    world.costs.decode.fill(0);
    world.shape.exit_bytes.assign(world.shape.exit_bytes.size(), {});
    world.costs.per_load = 0;
    world.residency = {};
    world.hold_layers(1, world.shape.bitwidths.front());
    world.bits.reset();
    world.devices = {1};  // as published
    world.costs.percent.clear();
    const Result<Decision> decision = decide("sti", world);
    ASSERT_TRUE(decision.ok());
    const Plan* plan = std::get_if<Plan>(&*decision);
    if (plan == nullptr) continue;
    bool published = !plan->explain.empty();
    int64_t compute = 0, io = 0;
    const double factor = world.quantile > 0.5 ? world.costs.p95_factor : 1;
    const auto at = [&](int64_t ns) { return factor == 1 ? ns : static_cast<int64_t>(static_cast<double>(ns) * factor); };
    for (int l = 0; l < plan->depth; ++l) {
      for (const PlannedLoad& load : plan->loads) {
        if (load.op != Op::kLoadShards || load.layer != l) continue;
        int64_t bytes = 0;
        for (int j = 0; j < plan->slices; ++j)
          if ((load.slices >> j & 1) != 0) bytes += world.shape.bytes_of({load.layer, static_cast<int16_t>(j)}, load.bits).n;
        io += at(static_cast<int64_t>(static_cast<double>(bytes) * world.costs.ns_per_byte));
      }
      published = published && io <= compute;
      compute += at(world.costs.layer[plan->width()]);
    }
    if (!published) continue;  // IO binds: the slack pays for stalls, and the replay has allowed them
    EXPECT_EQ(plan->predicted.latency.ns, compute) << "world " << seed;
    ++checked;
  }
  EXPECT_GT(checked, 300);
}

}  // namespace
}  // namespace tessera::testing
