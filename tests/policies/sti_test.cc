// STI's planner on the constants of its prototype, and where Tessera's goes beyond it.
#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

// Layer 0 resident at 6 bits, as the published replay assumes.
World board(int64_t latency_ms) {
  World world = sti_board();
  world.hold_layers(1, 6);
  world.budgets.latency = milliseconds(latency_ms);
  return world;
}

std::string size_of(const Plan& plan) { return std::to_string(plan.depth) + "x" + std::to_string(plan.width()); }

struct Published {
  int64_t latency_ms;
  const char* size;
  std::map<int, int> bits;
};

class StiPublished : public ::testing::TestWithParam<Published> {};

// Sizes are the published ones exactly. Bits: the prototype's pass 3 charges first and stops after a budget went negative,
// so it ends with one shard too many where the last step does not fit; and shards of lower layers that no longer fit end
// its pass, where Tessera's goes on to less important shards of higher layers.
INSTANTIATE_TEST_SUITE_P(Targets, StiPublished,
                         ::testing::Values(Published{150, "3x3", {{6, 7}, {32, 2}}},      //
                                           Published{200, "4x3", {{6, 9}, {32, 3}}},      //
                                           Published{300, "7x3", {}},                     // mix not published
                                           Published{400, "9x3", {{6, 19}, {32, 8}}},     //
                                           Published{600, "12x3", {{6, 24}, {32, 12}}},   //
                                           Published{1000, "12x7", {{6, 64}, {32, 20}}},  //
                                           Published{1428, "12x12", {{6, 118}, {32, 26}}}),
                         [](const auto& published) { return std::to_string(published.param.latency_ms) + "ms"; });

TEST_P(StiPublished, ChoosesThePublishedSizeAndBits) {
  const World world = board(GetParam().latency_ms);
  const Plan plan = plan_of("sti", world);
  EXPECT_EQ(size_of(plan), GetParam().size);
  EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
  if (!GetParam().bits.empty()) { EXPECT_EQ(histogram(plan), GetParam().bits); }
}

}  // namespace
}  // namespace tessera::testing
