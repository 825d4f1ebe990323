// `optimal` against brute force, and its bound against every other policy.
#include <gtest/gtest.h>

#include "framework/registry.h"
#include "policies/parts/exact_wide.h"
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

TEST(Optimal, NamesBudgetsThatWorkAndNoneLessByANanosecond) {
  int named = 0, least = 0;
  for (uint64_t seed = 0; seed < cases(600); ++seed) {
    World world = random_world(seed);
    const Result<Decision> decision = decide("optimal", world);
    ASSERT_TRUE(decision.ok()) << "world " << seed << ": " << decision.error().message;
    const Infeasible* found = std::get_if<Infeasible>(&*decision);
    if (found == nullptr) continue;
    const auto works = [&](Duration latency, Bytes memory) {
      World again = world;
      again.budgets.latency = latency;
      again.budgets.memory = memory;
      const Result<Decision> other = decide("optimal", again);
      return other.ok() && std::holds_alternative<Plan>(*other) &&
             fault(again, FakeReplay(again), std::get<Plan>(*other)).empty();
    };
    ++named;
    ASSERT_TRUE(works(found->both_latency, found->both_memory)) << "world " << seed;
    ASSERT_TRUE(!found->memory || works(world.budgets.latency, *found->memory)) << "world " << seed;
    if (!found->latency) continue;
    ASSERT_TRUE(works(*found->latency, world.budgets.memory)) << "world " << seed;
    if (world.budgets.memory < kUnlimited || world.devices.size() > 1) continue;
    ASSERT_FALSE(works(*found->latency - nanoseconds(1), world.budgets.memory)) << "world " << seed;
    ++least;
  }
  EXPECT_GT(named, static_cast<int>(cases(60)));
  EXPECT_GT(least, 0);
}

// What a preload brings is in reach of the bound of the view that has it.
TEST(Optimal, PreloadsWhatLosesLess) {
  World world = sti_board();
  world.budgets.latency = milliseconds(400);
  world.budgets.preload = mib(8);
  const Plan cold = plan_of("optimal", world);
  const FakeReplay replay(world);
  const Result<Residency> held = policies().find("optimal")->make()->preload(view_of(world, replay));
  ASSERT_TRUE(held.ok()) << held.error().message;
  EXPECT_FALSE(held->shards.empty());
  EXPECT_LE(held->total(), world.budgets.preload);
  world.residency = *held;
  const Plan warm = plan_of("optimal", world);
  EXPECT_LT(world.accuracy.loss(warm.depth, warm.bits), world.accuracy.loss(cold.depth, cold.bits));
  ASSERT_TRUE(warm.loss_bound);
  EXPECT_EQ(warm.loss_bound->n, world.accuracy.loss(warm.depth, warm.bits).n);
}

// A view's bound with slices taken one by one, given that a plan of such a loss is known.
std::optional<int64_t> bound_by_slices(const World& world, int64_t known) {
  const FakeReplay replay(world);
  const PlanningView view = view_of(world, replay);
  const Result<Choices> choices = choices_of(view);
  if (!choices.ok()) return std::nullopt;
  ExactTimes times(view, *choices);
  return wide_bound(view, world.residency, world.accuracy, *choices, times, known);
}

TEST(Optimal, BoundBySlicesIsAtOrBelowTheOptimum) {
  int compared = 0, near = 0;
  for (uint64_t seed = 0; seed < cases(1'500); ++seed) {
    World world = random_world(seed);
    if (world.devices.size() > 1) continue;
    const Result<Decision> decision = decide("optimal", world);
    const Plan* best = decision.ok() ? std::get_if<Plan>(&*decision) : nullptr;
    if (best == nullptr) continue;
    const int64_t loss = world.accuracy.loss(best->depth, best->bits).n;
    const std::optional<int64_t> bound = bound_by_slices(world, 2 * loss + 1'000);
    ASSERT_TRUE(bound) << "world " << seed;
    ASSERT_LE(*bound, loss) << "world " << seed;
    ++compared;
    near += *bound * 10 >= loss * 9;
  }
  EXPECT_GT(static_cast<uint64_t>(compared), cases(1'500) / 4);
  EXPECT_GT(near, compared / 10);
  std::printf("%d worlds, %d of them bounded within a tenth\n", compared, near);
}

World wide_board() {
  World world = sti_board();
  world.shape.slices = world.shape.heads = 24;
  world.shape.widths = {12, 24};
  world.shape.shard_bytes.assign(size_t{12} * 24 * kBitsLevels, {});
  for (size_t i = 0; i < world.shape.shard_bytes.size(); ++i)
    if (const int level = static_cast<int>(i % kBitsLevels); level > 0 && world.shape.has_bits(level_bits(level)))
      world.shape.shard_bytes[i] = {36'864 * level_bits(level)};
  world.accuracy = random_importance(world.shape, 3);
  world.costs.layer.resize(25);
  for (int m = 0; m <= 24; ++m) world.costs.layer[static_cast<size_t>(m)] = 5'000'000 * m;
  return world;
}

// 24 slices at six bitwidths have more histograms than can be listed.
TEST(Optimal, BoundsPlansWhoseLayersAreTooWideToList) {
  World world = wide_board();
  for (const int64_t latency : {400, 800, 1200, 1600}) {
    world.budgets.latency = milliseconds(latency);
    const Plan plan = plan_of("optimal", world);
    EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
    ASSERT_TRUE(plan.loss_bound);
    const int64_t loss = world.accuracy.loss(plan.depth, plan.bits).n;
    EXPECT_LE(plan.loss_bound->n, loss);
    std::printf("%lld ms: loss %lld, bound %lld micro-nats\n", static_cast<long long>(latency), static_cast<long long>(loss),
                static_cast<long long>(plan.loss_bound->n));
    EXPECT_GE(plan.loss_bound->n * 10, loss * 7);
    for (const char* policy : {"sti", "elastic", "greedy-byte", "knapsack"}) {
      const Plan other = plan_of(policy, world);
      EXPECT_GE(world.accuracy.loss(other.depth, other.bits).n, plan.loss_bound->n) << policy;
    }
  }
}

}  // namespace
}  // namespace tessera::testing
