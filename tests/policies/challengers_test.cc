// greedy-byte, knapsack, random and fixed: small cases by construction, and what each promises.
#include <set>

#include <gtest/gtest.h>

#include "framework/registry.h"
#include "tests/policies/fake_view.h"

namespace tessera::testing {
namespace {

Micro loss(const World& world, const Plan& plan) { return world.accuracy.loss(plan.depth, plan.bits); }

World board(int64_t latency_ms) {
  World world = sti_board();
  world.budgets.latency = milliseconds(latency_ms);
  return world;
}

// One layer of two shards, 2 bits or exact; 10 ns of compute; a byte takes a nanosecond. Shard 0 is a thousand times the
// more important by STI's probe, but saves less loss when it is raised.
World two_shards() {
  World world;
  ModelShape& shape = world.shape;
  shape.name = "two";
  shape.layers = 1;
  shape.slices = shape.heads = 2;
  shape.hidden = 2;
  shape.ffn = 2;
  shape.max_tokens = 8;
  shape.labels = 2;
  shape.depths = {1};
  shape.widths = {2};
  shape.bitwidths = {2, kExact};
  shape.exit_bytes.assign(1, {});
  shape.shard_bytes.assign(2 * kBitsLevels, {});
  for (int j = 0; j < 2; ++j) {
    shape.shard_bytes[static_cast<size_t>(j) * kBitsLevels + 2] = Bytes{10};
    shape.shard_bytes[static_cast<size_t>(j) * kBitsLevels + 9] = Bytes{100};
  }
  world.accuracy = random_importance(shape, 1);
  for (int j = 0; j < 2; ++j)
    world.accuracy.sensitivity[static_cast<size_t>(j) * kBitsLevels + 2] = Micro{j == 0 ? 1'000 : 3'000};
  world.accuracy.importance_accuracy = {{900'000}, {900}};
  world.platform.name = "one";
  world.platform.devices.resize(2);
  world.platform.devices[0].kind = DeviceKind::kStorage;
  world.tokens = 4;
  world.costs.layer = {0, 10, 10};
  world.costs.ns_per_byte = 1;
  world.budgets.latency = nanoseconds(120);  // 10 + 100 bytes and 10 of compute: one shard exact
  return world;
}

class RaisesWhatSavesMost : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(ByLoss, RaisesWhatSavesMost, ::testing::Values("greedy-byte", "knapsack", "elastic"),
                         [](const auto& param) { return param.param == "greedy-byte" ? "greedy_byte" : param.param; });

TEST_P(RaisesWhatSavesMost, NotWhatTheProbeRanksFirst) {
  const World world = two_shards();
  const Plan plan = plan_of(GetParam(), world);
  EXPECT_EQ(plan.bits_of({0, 0}), 2);
  EXPECT_EQ(plan.bits_of({0, 1}), kExact);
  World io = world;
  io.knobs = {{"slack", "io"}};
  EXPECT_EQ(plan_of("sti", io).bits_of({0, 0}), kExact) << "sti follows its probe";
}

TEST(Elastic, KeepsStisPlanWhereTheGainCannotBeTold) {
  World world = two_shards();
  EXPECT_NE(plan_of("elastic", world).bits, plan_of("sti", world).bits) << "2,000 millionths of a nat apart";
  for (int j = 0; j < 2; ++j) world.accuracy.sensitivity[static_cast<size_t>(j) * kBitsLevels + 2].n /= 10;
  EXPECT_EQ(plan_of("elastic", world).bits, plan_of("sti", world).bits) << "200";
}

TEST(GreedyByte, TakesTwoSmallRaisesBeforeOneThatSavesMoreButCostsMore) {
  World world = two_shards();
  ModelShape& shape = world.shape;
  shape.bitwidths = {2, 4, kExact};
  for (int j = 0; j < 2; ++j) shape.shard_bytes[static_cast<size_t>(j) * kBitsLevels + 4] = Bytes{20};
  world.accuracy.sensitivity[4] = Micro{200};                  // 800 saved for 10 bytes
  world.accuracy.sensitivity[kBitsLevels + 4] = Micro{1'500};  // 1,500 for 10
  world.budgets.latency = nanoseconds(50);
  EXPECT_EQ(histogram(plan_of("greedy-byte", world)), (std::map<int, int>{{4, 2}}));
  EXPECT_EQ(plan_of("greedy-byte", world).predicted.latency, nanoseconds(50));
}

TEST(GreedyByte, WeighsByTimeWhereAsked) {
  World world = board(400);
  world.costs.per_load = 50'000'000;  // a load's call costs more than most bytes
  EXPECT_EQ(fault(world, FakeReplay(world), plan_of("greedy-byte", world)), "");
  world.knobs = {{"per", "ns"}};
  EXPECT_EQ(fault(world, FakeReplay(world), plan_of("greedy-byte", world)), "");
}

TEST(Challengers, ChooseStisSizeWhereNothingBindsButTime) {
  for (const int64_t latency : {200, 400, 600, 1000}) {
    World world = board(latency);
    world.hold_layers(1, 6);
    const Plan sti = plan_of("sti", world);
    for (const char* policy : {"greedy-byte", "knapsack"}) {
      const Plan plan = plan_of(policy, world);
      EXPECT_EQ(plan.depth, sti.depth) << policy;
      EXPECT_EQ(plan.width(), sti.width()) << policy;
    }
  }
}

// Where IO binds, ranking by loss per byte beats ranking by an importance that has nothing to do with loss.
TEST(Challengers, LoseLessThanARandomOrderWhereIoBinds) {
  int64_t random_order = 0, greedy = 0, knapsack = 0;
  for (const int64_t latency : {500, 700, 900, 1200}) {
    World world = board(latency);
    world.costs.ns_per_byte *= 6;
    greedy += loss(world, plan_of("greedy-byte", world)).n;
    knapsack += loss(world, plan_of("knapsack", world)).n;
    world.knobs = {{"importance", "random"}, {"slack", "io"}};
    random_order += loss(world, plan_of("sti", world)).n;
  }
  EXPECT_LE(greedy, random_order);
  EXPECT_LE(knapsack, random_order);
}

TEST(RandomPolicy, DrawsAnotherPlanForAnotherSeedAndTheSameForTheSame) {
  std::set<std::vector<Bits>> plans;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    World world = board(900);
    world.seed = seed;
    const Plan plan = plan_of("random", world);
    EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
    EXPECT_EQ(plan.bits, plan_of("random", world).bits);
    plans.insert(plan.bits);
  }
  EXPECT_GT(plans.size(), 8u);
}

TEST(RandomPolicy, SpendsItsBudget) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    World world = board(900);
    world.seed = seed;
    const Plan plan = plan_of("random", world);
    // Nothing can be raised any more: not even the least raise of the last layer fits.
    for (int j = 0; j < 12; ++j) {
      const Bits bits = plan.bits_of({static_cast<int16_t>(plan.depth - 1), static_cast<int16_t>(j)});
      if (bits == kAbsent || bits == kExact) continue;
      World tight = world;
      Plan more = plan;
      more.bits[static_cast<size_t>(plan.depth - 1) * 12 + static_cast<size_t>(j)] = bits == 6 ? kExact : Bits(bits + 1);
      more.loads = loads_for(tight.platform, tight.residency, more);
      EXPECT_GT(FakeReplay(tight).replay(more)->latency, world.budgets.latency);
    }
  }
}

TEST(Fixed, RunsTheFullModelWhereNothingIsGiven) {
  const Plan plan = plan_of("fixed", board(8000));
  EXPECT_EQ(plan.depth, 12);
  EXPECT_EQ(histogram(plan), (std::map<int, int>{{32, 144}}));
}

TEST(Fixed, IsInfeasibleRatherThanSmallerAndNamesWhatWouldDo) {
  World world = board(1000);
  const Result<Decision> decision = decide("fixed", world);
  ASSERT_TRUE(decision.ok());
  const Infeasible* infeasible = std::get_if<Infeasible>(&*decision);
  ASSERT_NE(infeasible, nullptr);
  ASSERT_TRUE(infeasible->latency);
  EXPECT_NE(infeasible->why.find("the full model, 12x12 at 32 bits"), std::string::npos) << infeasible->why;
  world.budgets.latency = *infeasible->latency;
  EXPECT_EQ(plan_of("fixed", world).depth, 12);
}

TEST(Fixed, FillsInWhatIsNotGiven) {
  World world = board(8000);
  world.width = 4;
  EXPECT_EQ(histogram(plan_of("fixed", world)), (std::map<int, int>{{32, 48}}));
  world.bits = Bits{3};
  EXPECT_EQ(histogram(plan_of("fixed", world)), (std::map<int, int>{{3, 48}}));
}

// ---- sti's ablations

TEST(StiAblations, HoldsAndKeepsNothingWithoutPreload) {
  World world = board(600);
  world.knobs = {{"preload", "off"}};
  register_policies();
  const FakeReplay replay(world);
  EXPECT_TRUE(policies().find("sti")->make()->preload(view_of(world, replay))->shards.empty());
  EXPECT_TRUE(plan_of("sti", world).keep.empty());
}

TEST(StiAblations, RaisesInAnOrderOfItsOwnForEachSeedWhereAsked) {
  World world = board(400);
  world.hold_layers(1, 6);
  const Plan profiled = plan_of("sti", world);
  world.knobs = {{"importance", "random"}};
  world.seed = 1;
  const Plan one = plan_of("sti", world);
  world.seed = 2;
  const Plan two = plan_of("sti", world);
  EXPECT_NE(one.bits, profiled.bits);
  EXPECT_NE(one.bits, two.bits);
  EXPECT_EQ(histogram(one), histogram(profiled)) << "the same budgets";
}

}  // namespace
}  // namespace tessera::testing
