// `optimal` against brute force, and its bound against every other policy.
#include <chrono>

#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/policies/small_worlds.h"

namespace tessera::testing {
namespace {

TEST(Optimal, EqualsBruteForceOnSmallGrids) {
  int equal = 0, infeasible = 0, proven = 0, unlimited = 0;
  for (uint64_t seed = 0; seed < cases(4'000); ++seed) {
    const World world = small_world(seed);
    const BruteForce best = brute_force(world);
    const Result<Decision> decision = decide("optimal", world);
    ASSERT_TRUE(decision.ok()) << "world " << seed << ": " << decision.error().message;
    const Plan* plan = std::get_if<Plan>(&*decision);
    ASSERT_EQ(plan != nullptr, best.loss.has_value()) << "world " << seed;
    infeasible += plan == nullptr;
    if (plan == nullptr) continue;
    ASSERT_EQ(fault(world, FakeReplay(world), *plan), "") << "world " << seed;
    ASSERT_EQ(world.accuracy.loss(plan->depth, plan->bits).n, *best.loss) << "world " << seed;
    ASSERT_TRUE(plan->loss_bound) << "world " << seed;
    ASSERT_LE(plan->loss_bound->n, *best.loss) << "world " << seed;
    ++equal;
    proven += plan->loss_bound->n == *best.loss;
    const bool even = world.budgets.memory == kUnlimited;
    unlimited += even;
  }
  std::printf("%d worlds equal brute force, %d of them proven optimal (%d with unlimited memory); %d infeasible for both\n",
              equal, proven, unlimited, infeasible);
  EXPECT_GE(static_cast<uint64_t>(equal), cases(1'500));
  EXPECT_GE(proven, unlimited);
}

// Whatever its order and grouping of loads, its devices, what it keeps and whether it is a pipeline.
TEST(Optimal, NoPolicyEverGoesBelowItsBound) {
  register_policies();
  uint64_t compared = 0, reached = 0;
  for (uint64_t seed = 0; seed < cases(2'400); ++seed) {
    World world = random_world(seed);
    world.seed = seed;
    const Result<Decision> decision = decide("optimal", world);
    ASSERT_TRUE(decision.ok()) << "world " << seed << ": " << decision.error().message;
    const Plan* best = std::get_if<Plan>(&*decision);
    if (best != nullptr) { ASSERT_EQ(fault(world, FakeReplay(world), *best), "") << "world " << seed; }
    for (const auto& entry : policies().entries()) {
      const Result<Decision> other = decide(entry.name, world);
      if (!other.ok()) continue;
      const Plan* plan = std::get_if<Plan>(&*other);
      if (plan == nullptr || !world.accuracy.knows(plan->depth, plan->bits)) continue;
      ASSERT_NE(best, nullptr) << entry.name << " has a plan in world " << seed;
      if (!best->loss_bound) continue;
      const int64_t loss = world.accuracy.loss(plan->depth, plan->bits).n;
      ASSERT_GE(loss, best->loss_bound->n) << entry.name << ", world " << seed;
      ++compared;
      reached += loss == best->loss_bound->n;
    }
  }
  std::printf("%llu plans compared, %llu of them at the bound\n", static_cast<unsigned long long>(compared),
              static_cast<unsigned long long>(reached));
  EXPECT_GT(compared, cases(2'400));
}

}  // namespace
}  // namespace tessera::testing
