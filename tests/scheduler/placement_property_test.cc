// Plans over random machines: legal, within every memory, exactly as predicted, never slower than one device; and what they
// are placed by is exact.
#include <gtest/gtest.h>

#include "framework/executor.h"
#include "placed_cases.h"
#include "policies/parts/placement.h"
#include "scheduler/plan_check.h"

namespace tessera {
namespace {

using testing::Asked;
using testing::Draw;
using testing::drawn;

// As the session does it: legal, replayed, and run in virtual time to the nanosecond.
void check_and_run(const Asked& asked, const std::string& policy, const Plan& plan) {
  const GraphReplay replay(asked.context());
  const auto replayed = replay.replay_fully(plan);
  ASSERT_TRUE(replayed.ok()) << replayed.error().message;
  const Status legal = check_plan(asked.view(replay), policy, plan, *replayed, {});
  ASSERT_TRUE(legal.ok()) << legal.error().message;
  ASSERT_EQ(plan.predicted.latency, replayed->prediction.latency);
  RunLimits limits;
  limits.capacity = memory_capacities(asked.platform, asked.budgets.memory);
  limits.held = held_from_start(asked.shape.resident_bytes, replayed->lowered.residents, replayed->lowered.fixed);
  const RunReport report = make_virtual_executor(nullptr)->run(replayed->lowered.graph, nullptr, limits);
  ASSERT_TRUE(report.status.ok()) << report.status.error().message;
  ASSERT_EQ(report.makespan, plan.predicted.latency);
  ASSERT_EQ(report.peak, plan.predicted.peaks);
  for (size_t m = 0; m < limits.capacity.size(); ++m) ASSERT_LE(report.peak[m], limits.capacity[m]);
}

class AnyMachine : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Random, AnyMachine,
                         ::testing::Values("elastic", "heft", "min-completion", "sti", "std-pipeline", "preload"),
                         [](const auto& param) { return param.param.substr(0, 3); });

TEST_P(AnyMachine, PlansAreLegalWithinEveryMemoryAndExactlyAsPredicted) {
  int plans = 0, infeasible = 0, spread = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    const Asked asked = drawn(seed);
    const auto decision = asked.decide(GetParam());
    if (!decision.ok()) {  // not even in unlimited host memory: a device's own memory is too small for the smallest
      ASSERT_EQ(decision.error().code, ErrorCode::kInfeasible) << decision.error().message;
      continue;
    }
    const Plan* plan = std::get_if<Plan>(&*decision);
    plan != nullptr ? ++plans : ++infeasible;
    if (plan == nullptr) continue;
    check_and_run(asked, GetParam(), *plan);
    for (const auto& parts : plan->placement) spread += parts.size() > 1 ? 1 : 0;
    const auto again = asked.decide(GetParam());
    ASSERT_EQ(std::get<Plan>(*again).predicted.latency, plan->predicted.latency) << "decides otherwise the second time";
    ASSERT_EQ(std::get<Plan>(*again).bits, plan->bits);
  }
  EXPECT_GT(plans, 200);
  EXPECT_GT(infeasible, 20);
  if (GetParam() != "std-pipeline" && GetParam() != "preload") { EXPECT_GT(spread, 100); }
}

class Placing : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Random, Placing, ::testing::Values("heft", "min-completion"),
                         [](const auto& param) { return param.param.substr(0, 3); });

TEST_P(Placing, IsNeverSlowerThanTheSameSubmodelOnOneDevice) {
  int faster = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    const Asked asked = drawn(seed);
    const auto decision = asked.decide(GetParam());
    const Plan* plan = decision.ok() ? std::get_if<Plan>(&*decision) : nullptr;
    if (plan == nullptr) continue;
    const Duration alone = asked.best_alone(plan->bits, plan->depth);
    ASSERT_LE(plan->predicted.latency, alone);
    faster += plan->predicted.latency < alone ? 1 : 0;
  }
  EXPECT_GT(faster, 50);
}

TEST_P(Placing, NamesBudgetsThatWork) {
  int checked = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    Asked asked = drawn(seed);
    const auto decision = asked.decide(GetParam());
    const Infeasible* found = decision.ok() ? std::get_if<Infeasible>(&*decision) : nullptr;
    if (found == nullptr) continue;
    ++checked;
    const Budgets given = asked.budgets;
    const auto works = [&](Duration latency, Bytes memory) {
      asked.budgets = {latency, memory, given.preload};
      const auto again = asked.decide(GetParam());
      return again.ok() && std::holds_alternative<Plan>(*again);
    };
    EXPECT_TRUE(works(found->both_latency, found->both_memory));
    if (found->latency) { EXPECT_TRUE(works(*found->latency, given.memory)); }
    if (found->memory) { EXPECT_TRUE(works(given.latency, *found->memory)); }
  }
  EXPECT_GT(checked, 20);
}

// What candidates are sorted and left out by: the clock of the lanes is the replay's where memory makes nothing wait.
TEST(LaneClock, ReachesTheReplaysLatencyToTheNanosecond) {
  int compared = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    Asked asked = drawn(seed);
    asked.budgets.memory = kUnlimited;
    for (MemoryDescription& memory : asked.platform.memories) memory.capacity = kUnlimited;
    const GraphReplay replay(asked.context());
    const PlanningView view = asked.view(replay);
    Draw draw(seed + 1'000'000);
    std::vector<Bits> bits = uniform_bits(asked.shape, {asked.shape.layers, asked.shape.slices}, 2);
    for (Bits& b : bits) b = asked.shape.bitwidths[static_cast<size_t>(draw.below(std::ssize(asked.shape.bitwidths)))];
    for (const Split split : {Split::kBalanced, Split::kGreedy}) {
      Placement placement(view, asked.residency, split);
      for (const PlacedPlan& candidate : placement.candidates(asked.shape.layers, bits)) {
        const auto predicted = replay.replay(candidate.plan);
        ASSERT_TRUE(predicted.ok()) << predicted.error().message;
        ASSERT_EQ(candidate.ideal, predicted->latency);
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 2000);
}

// Every way to give `slices` to the devices from `first` on.
void each_split(SliceSplit& split, const std::vector<DeviceId>& devices, size_t first, int slices,
                SliceSplit::Counts& counts, Duration& least) {
  if (first + 1 == devices.size()) {
    counts[first] = slices;
    least = std::min(least, split.slowest(devices, counts, 6));
    return;
  }
  for (int k = 0; k <= slices; ++k) {
    counts[first] = k;
    each_split(split, devices, first + 1, slices - k, counts, least);
  }
}

TEST(SliceSplit, BalancesAsWellAsTryingEverySplit) {
  for (uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    const Asked asked = drawn(seed);
    const GraphReplay replay(asked.context());
    const PlanningView view = asked.view(replay);
    TaskCosts costs(view);
    SliceSplit split(costs);
    const int slices = asked.shape.slices;
    const auto counts = split.balance(asked.devices, SliceSplit::Counts(asked.devices.size(), slices), slices, 6);
    SliceSplit::Counts any(asked.devices.size(), 0);
    Duration least = kForever;
    each_split(split, asked.devices, 0, slices, any, least);
    ASSERT_EQ(split.slowest(asked.devices, counts, 6), least);
  }
}

}  // namespace
}  // namespace tessera
