// That the clock of one pipeline says what the replay says, to the nanosecond, memory counted.
#include "policies/parts/stage_clock.h"

#include <gtest/gtest.h>

#include "policies/parts/assembly.h"
#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

// A world on one device, and random bits in it.
std::vector<Bits> random_bits(Random& random, const ModelShape& shape, int depth) {
  std::vector<Bits> bits(static_cast<size_t>(depth) * shape.slices, kAbsent);
  for (int l = 0; l < depth; ++l)
    for (int j = 0; j < shape.slices; ++j)
      if (j == 0 || random.one_in(2))
        bits[static_cast<size_t>(l) * shape.slices + j] =
            shape.bitwidths[static_cast<size_t>(random.between(0, static_cast<int64_t>(shape.bitwidths.size()) - 1))];
  return bits;
}

TEST(StageClock, IsTheReplayToTheNanosecond) {
  int checked = 0, waited = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    World world = random_world(seed);
    world.devices = {1};
    Random random(seed * 7 + 1);
    const int depth =
        world.shape.depths[static_cast<size_t>(random.between(0, static_cast<int64_t>(world.shape.depths.size()) - 1))];
    const std::vector<Bits> bits = random_bits(random, world.shape, depth);
    const FakeReplay replay(world);
    const PlanningView view = view_of(world, replay);
    const Plan plan = assemble(view, world.residency, 1, depth, bits);
    StageClock clock(view, world.residency, 1);
    const std::vector<LayerStage> stages = stages_of(clock, depth, world.shape.slices, bits);
    const Result<Prediction> free = replay.replay_if(plan, kUnlimited, world.residency);
    ASSERT_TRUE(free.ok()) << free.error().message;
    ASSERT_EQ(clock.latency(stages), free->latency) << "world " << seed;
    const int64_t beside = free->peak.n - clock.peak();
    ASSERT_EQ(beside, world.base.n + world.fixed.n + 0) << "world " << seed;
    if (world.budgets.memory == kUnlimited) continue;
    clock.limit(world.budgets.memory.n - beside);
    const Result<Prediction> tight = replay.replay(plan);
    const bool runs = tight.ok() && tight->peak <= world.budgets.memory;
    ASSERT_EQ(clock.latency(stages) < kForever, runs) << "world " << seed;
    if (!runs) continue;
    ASSERT_EQ(clock.latency(stages), tight->latency) << "world " << seed;
    ++checked;
    waited += tight->latency > free->latency;
  }
  EXPECT_GT(checked, 400);
  EXPECT_GT(waited, 40) << "some waited for memory";
}

}  // namespace
}  // namespace tessera::testing
