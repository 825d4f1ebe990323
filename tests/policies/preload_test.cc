// The baseline that keeps a whole submodel in memory.
#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

// All of the model resident at 6 bits; 1428 ms compute all of it.
World resident_board(int64_t latency_ms) {
  World world = sti_board();
  world.hold_layers(12, 6);
  world.residency.exits = {12};
  world.budgets.latency = milliseconds(latency_ms);
  return world;
}

TEST(Preload, KeepsTheRestWhereARequestHasNoTimeForAllOfIt) {
  const World world = resident_board(600);
  const Plan plan = plan_of("preload", world);
  EXPECT_EQ(plan.depth, 12);
  EXPECT_LT(plan.width(), 12);
  EXPECT_TRUE(plan.keep_unused);
  EXPECT_EQ(plan.keep.size(), static_cast<size_t>(plan.depth * plan.width()));
  EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
}

TEST(Preload, DropsTheRestWhereMemoryHasNoRoomForIt) {
  World world = resident_board(600);
  const Plan roomy = plan_of("preload", world);
  world.budgets.memory = roomy.predicted.peak - Bytes{1};
  const Plan plan = plan_of("preload", world);
  EXPECT_EQ(plan.width(), roomy.width());
  EXPECT_FALSE(plan.keep_unused);
  EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
}

}  // namespace
}  // namespace tessera::testing
