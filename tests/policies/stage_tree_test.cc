// That what is kept up to date change by change says what the plain clock says of the whole, to the nanosecond.
#include "policies/parts/stage_tree.h"

#include <gtest/gtest.h>

#include "policies/parts/one_device.h"
#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

// Some bits of the store, or absent.
Bits drawn(Random& random, const ModelShape& shape) {
  const auto at = random.between(-1, static_cast<int64_t>(shape.bitwidths.size()) - 1);
  return at < 0 ? kAbsent : shape.bitwidths[static_cast<size_t>(at)];
}

// A world on one device, some of it resident.
struct Case {
  explicit Case(uint64_t seed) : world(random_world(seed)), replay(world), random(seed * 11 + 3) { world.devices = {1}; }
  size_t at(int layer, int slice) const { return static_cast<size_t>(layer) * world.shape.slices + slice; }
  World world;
  FakeReplay replay;
  Random random;
};

// The tree against the clock while slices come, go and change; slice 0 of each layer stays present.
int follow_changes(Case& with, int depth, int changes) {
  const PlanningView view = view_of(with.world, with.replay);
  const int slices = with.world.shape.slices;
  StageClock clock(view, with.world.residency, 1);
  std::vector<Bits> bits(static_cast<size_t>(depth) * slices, kAbsent);
  std::vector<LayerTally> layers;
  StageTree tree(clock, depth);
  for (int l = 0; l < depth; ++l) {
    bits[with.at(l, 0)] = with.world.shape.bitwidths.back();
    layers.emplace_back(clock, l).change(0, kAbsent, bits[with.at(l, 0)]);
    tree.set(l, layers[l].io(), layers[l].compute());
  }
  int held = 0;
  for (int i = 0; i < changes; ++i) {
    const int l = static_cast<int>(with.random.between(0, depth - 1));
    const int j = static_cast<int>(with.random.between(0, slices - 1));
    Bits to = drawn(with.random, with.world.shape);
    if (with.random.one_in(3)) to = clock.held({static_cast<int16_t>(l), static_cast<int16_t>(j)});
    if (j == 0 && to == kAbsent) continue;
    layers[l].change(j, bits[with.at(l, j)], to);
    bits[with.at(l, j)] = to;
    held += to != kAbsent && clock.held({static_cast<int16_t>(l), static_cast<int16_t>(j)}) == to;
    const Duration whole = clock.latency(stages_of(clock, depth, slices, bits));
    EXPECT_EQ(tree.latency_with(l, layers[l].io(), layers[l].compute()), whole);
    tree.set(l, layers[l].io(), layers[l].compute());
    EXPECT_EQ(tree.latency(), whole);
  }
  return held;
}

TEST(StageTree, SaysWhatTheClockSaysAfterEachChange) {
  int held = 0;
  for (uint64_t seed = 0; seed < 600 && !::testing::Test::HasFailure(); ++seed) {
    Case with(seed);
    const auto& depths = with.world.shape.depths;
    held += follow_changes(with, depths[static_cast<size_t>(with.random.between(0, std::ssize(depths) - 1))], 40);
  }
  EXPECT_GT(held, 500) << "some as they are held";
}

TEST(StageTree, HoldsForDepthsAroundPowersOfTwo) {
  for (const int depth : {1, 2, 3, 4, 5, 7, 8, 9, 12}) {
    Case with(1);
    with.world = sti_board();
    with.world.hold_layers(depth / 3, 6);
    follow_changes(with, depth, 60);
  }
}

// Raises as OneDevice makes them, by the plain clock.
std::vector<Bits> raised_plainly(const PlanningView& view, const Residency& residency, int depth, std::vector<Bits> bits,
                                 std::vector<Raise>& raises) {
  StageClock clock(view, residency, 1);
  std::erase_if(raises, [&](const Raise& raise) {
    Bits& now = bits[static_cast<size_t>(raise.id.layer) * view.shape.slices + raise.id.slice];
    if (raise.to <= now) return true;
    const Bits before = std::exchange(now, raise.to);
    if (clock.latency(stages_of(clock, depth, view.shape.slices, bits)) <= view.budgets.latency) return false;
    now = before;
    return true;
  });
  return bits;
}

// Calls `check` with each random world in which a device can be chosen.
template <typename Check>
void on_one_device(Check check) {
  for (uint64_t seed = 0; seed < 1500 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("world " + std::to_string(seed));
    Case with(seed);
    const PlanningView view = view_of(with.world, with.replay);
    const Result<Choices> choices = choices_of(view);
    if (!choices.ok()) continue;
    Trials trials(view, with.world.residency);
    OneDevice device(trials, *choices);
    check(with, view, *choices, device);
  }
}

TEST(OneDevice, RaisesWhatThePlainClockAllows) {
  int made = 0, refused = 0;
  on_one_device([&](Case& with, const PlanningView& view, const Choices& choices, OneDevice& device) {
    const int depth = choices.depths.back();
    const std::vector<Bits> bits = device.lowest({depth, choices.widths.front()});
    std::vector<Raise> raises;
    for (int i = 0; i < 30; ++i)
      raises.push_back({{static_cast<int16_t>(with.random.between(0, depth - 1)),
                         static_cast<int16_t>(with.random.between(0, choices.widths.front() - 1))},
                        drawn(with.random, view.shape)});
    const size_t all = raises.size();
    std::vector<Raise> plainly = raises;
    EXPECT_EQ(device.raised(depth, bits, raises), raised_plainly(view, with.world.residency, depth, bits, plainly));
    ASSERT_EQ(raises.size(), plainly.size());
    for (size_t i = 0; i < raises.size(); ++i) EXPECT_TRUE(raises[i].id == plainly[i].id && raises[i].to == plainly[i].to);
    made += static_cast<int>(raises.size());
    refused += static_cast<int>(all - raises.size());
  });
  EXPECT_GT(made, 2000);
  EXPECT_GT(refused, 2000);
}

TEST(OneDevice, ListsTheSizesThatAreInTimeOneByOne) {
  int in_time = 0, late = 0;
  on_one_device([&](Case&, const PlanningView&, const Choices& choices, OneDevice& device) {
    std::vector<Size> want;
    for (const int depth : choices.depths)
      for (const int width : choices.widths)
        if (device.in_time(depth, device.lowest({depth, width})))
          want.push_back({depth, width});
        else
          ++late;
    EXPECT_EQ(device.sizes_in_time(), want);
    in_time += static_cast<int>(want.size());
  });
  EXPECT_GT(in_time, 1000);
  EXPECT_GT(late, 1000);
}

}  // namespace
}  // namespace tessera::testing
