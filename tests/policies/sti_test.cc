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

struct Size3 {
  int depth, width;
  double bits;
};

struct Published {
  int64_t latency_ms;
  const char* size;
  std::map<int, int> bits;
};

class StiPublished : public ::testing::TestWithParam<Published> {};

// Sizes and bits are the published ones. Where Tessera's planner differs from the prototype, it does not show here: the
// prototype ends pass 3 one shard after a budget went negative (Tessera undoes that shard and goes on to those that still
// fit); it skips 3, 4 and 5 bits (no budget binds between 2 and 6 on this board); and layer 0, resident at 6 bits, has no
// budget to be raised from in either.
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

TEST(Sti, GetsTheSameMixWhateverTheImportance) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    World world = board(400);
    world.accuracy = random_importance(world.shape, seed);
    EXPECT_EQ(histogram(plan_of("sti", world)), (std::map<int, int>{{6, 19}, {32, 8}})) << "seed " << seed;
  }
}

TEST(Sti, StartsFromTheLowestOrTheHighestUniformBitwidthAlike) {
  for (const int64_t latency : {150, 200, 400, 600, 1000, 1428}) {
    World world = board(latency);
    const auto highest = histogram(plan_of("sti", world));
    world.knobs = {{"pass1", "lowest"}};
    EXPECT_EQ(histogram(plan_of("sti", world)), highest) << latency << " ms";
  }
}

TEST(Sti, DeepensBeforeItWidens) {
  const std::vector<int64_t>& layer = sti_board().costs.layer;
  for (int64_t latency = 124; latency <= 1500; latency += 7) {
    const Plan plan = plan_of("sti", board(latency));
    EXPECT_EQ(plan.depth, std::min<int64_t>(12, latency / 41)) << "as deep as the narrowest allows, at " << latency << " ms";
    const int64_t each = milliseconds(latency).ns / plan.depth;
    EXPECT_LE(layer[plan.width()], each);
    EXPECT_TRUE(plan.width() == 12 || layer[plan.width() + 1] > each) << "then as wide as fits, at " << latency << " ms";
  }
}

TEST(Sti, SubtractsTheLoadOfLayerZeroWhereItIsNotPreloaded) {
  World world = board(1428);
  EXPECT_EQ(size_of(plan_of("sti", world)), "12x12");
  world.residency = {};
  const Plan cold = plan_of("sti", world);
  EXPECT_EQ(size_of(cold), "12x11");
  EXPECT_EQ(fault(world, FakeReplay(world), cold), "");
}

TEST(Sti, RaisesTheMostImportantFirst) {
  const World world = board(400);
  const Plan plan = plan_of("sti", world);
  // No shard outside the exact ones is more important than an exact one of its own layer.
  for (int l = 0; l < plan.depth; ++l)
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) {
        const size_t at = static_cast<size_t>(l) * 12;
        if (plan.bits[at + a] != kExact || plan.bits[at + b] == kExact) continue;
        EXPECT_GE(world.accuracy.importance_accuracy[at + a], world.accuracy.importance_accuracy[at + b]);
      }
}

TEST(Sti, BreaksEqualAccuracyByLossThenById) {
  World world = board(150);
  world.accuracy.importance_accuracy.assign(144, {900'000});
  world.accuracy.importance_loss.assign(144, {50'000});
  world.accuracy.importance_loss[2 * 12 + 1] = {10'000};
  const Plan plan = plan_of("sti", world);
  EXPECT_EQ(plan.bits_of({2, 1}), kExact);
  EXPECT_EQ(plan.bits_of({1, 0}), kExact) << "of equal shards the first";
}

TEST(Sti, PassTwoGoesOnAfterAShardThatDoesNotFit) {
  World world = board(150);
  // Layer 1 may raise one shard only; ranking all of layer 1 before layer 2 must not end the pass.
  for (int j = 0; j < 12; ++j) world.accuracy.importance_accuracy[12 + j] = {990'000};
  const Plan plan = plan_of("sti", world);
  int exact[3] = {};
  for (int l = 0; l < 3; ++l)
    for (int j = 0; j < 3; ++j) exact[l] += plan.bits_of({static_cast<int16_t>(l), static_cast<int16_t>(j)}) == kExact;
  EXPECT_EQ(exact[1], 1);
  EXPECT_EQ(exact[2], 1);
}

TEST(Sti, PreloadsLayerZeroAtSixBitsIntoEightMebibytes) {
  World world = board(1428);
  world.residency = {};
  register_policies();
  const FakeReplay replay(world);
  const auto policy = policies().find("sti")->make();
  const Result<Residency> wanted = policy->preload(view_of(world, replay));
  ASSERT_TRUE(wanted.ok());
  ASSERT_EQ(wanted->shards.size(), 12u);
  EXPECT_EQ(wanted->total(), Bytes{12 * 442'368});
  for (const ResidentShard& shard : wanted->shards) {
    EXPECT_EQ(shard.id.layer, 0);
    EXPECT_EQ(shard.bits, 6);
  }
  world.residency = *wanted;
  const Plan plan = plan_of("sti", world);
  EXPECT_EQ(size_of(plan), "12x12");
  EXPECT_EQ(histogram(plan), (std::map<int, int>{{6, 118}, {32, 26}}));
  EXPECT_EQ(plan.keep.size(), 12u) << "and keeps them";
}

TEST(Sti, NamesTheLeastLatencyAsItIsWithTheBufferFilled) {
  World world = board(100);
  world.residency = {};
  register_policies();
  const FakeReplay replay(world);
  const Result<Residency> wanted = policies().find("sti")->make()->preload(view_of(world, replay));
  ASSERT_TRUE(wanted.ok());
  world.residency = *wanted;
  const Result<Decision> decision = decide("sti", world);
  ASSERT_TRUE(decision.ok() && std::holds_alternative<Infeasible>(*decision));
  EXPECT_EQ(std::get<Infeasible>(*decision).latency, milliseconds(123)) << "3x3, nothing waited for";
}

TEST(Sti, FillsTheWholeBufferBottomUpWhenAsked) {
  World world = board(1428);
  world.residency = {};
  world.knobs = {{"fill", "all"}};
  register_policies();
  const FakeReplay replay(world);
  const Result<Residency> wanted = policies().find("sti")->make()->preload(view_of(world, replay));
  ASSERT_TRUE(wanted.ok());
  ASSERT_EQ(wanted->shards.size(), 18u) << "8 MiB / 442,368 B";
  EXPECT_EQ(wanted->shards.back().id, (ShardId{1, 5}));
}

TEST(Sti, EvictsFromTheTopDownWhereTheBufferShrinks) {
  World world = board(600);
  world.hold_layers(2, 6);
  world.budgets.preload = Bytes{4 * 442'368};
  const Plan plan = plan_of("sti", world);
  ASSERT_FALSE(plan.keep.empty());
  EXPECT_EQ(plan.keep.front(), (ShardId{0, 0}));
  for (const ShardId id : plan.keep) EXPECT_LE(id, (ShardId{1, 0}));
}

TEST(Sti, LowersFidelityBeforeWidthAndWidthBeforeDepthWhereMemoryIsShort) {
  World world = board(1000);
  Size3 last{12, 7, 1e9};
  for (int64_t kilobytes = 40'000; kilobytes > 6'500; kilobytes -= 1'500) {
    world.budgets.memory = kib(kilobytes);
    const Result<Decision> decision = decide("sti", world);
    ASSERT_TRUE(decision.ok());
    const Plan* plan = std::get_if<Plan>(&*decision);
    if (plan == nullptr) break;
    EXPECT_EQ(fault(world, FakeReplay(world), *plan), "");
    EXPECT_LE(plan->depth, last.depth);
    if (plan->depth == last.depth) { EXPECT_LE(plan->width(), last.width); }
    last = {plan->depth, plan->width(), plan->mean_bits()};
  }
  EXPECT_EQ(last.depth, 12) << "loads of later layers only wait; depth costs no memory";
  EXPECT_LT(last.bits, 7);
}

TEST(Sti, PlansWithFewReplays) {
  World world = board(1000);
  plan_of("sti", world);
  EXPECT_EQ(world.replays, 1) << "one replay where nothing binds but time";
  world.replays = 0;
  world.budgets.memory = mib(12);
  plan_of("sti", world);
  EXPECT_LE(world.replays, 30);
}

TEST(Sti, ExplainsEveryShardOnce) {
  const World world = board(400);
  const Plan plan = plan_of("sti", world);
  ASSERT_EQ(plan.explain.size(), 27u);
  int preloaded = 0, pass1 = 0, pass2 = 0;
  for (const PlanReason& reason : plan.explain) {
    preloaded += reason.text == "preloaded at 6b";
    pass1 += reason.text.starts_with("pass 1: 6b");
    pass2 += reason.text.starts_with("pass 2: rank ") && reason.text.find("raised to exact") != std::string::npos;
  }
  EXPECT_EQ(preloaded, 3);
  EXPECT_EQ(pass1, 16);
  EXPECT_EQ(pass2, 8);
}

TEST(Sti, GivesItsSlackToIoWhenAsked) {
  World world = board(400);
  const double published = plan_of("sti", world).mean_bits();
  world.knobs = {{"slack", "io"}};
  const Plan plan = plan_of("sti", world);
  EXPECT_EQ(size_of(plan), "9x3");
  EXPECT_GT(plan.mean_bits(), published);
  EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
}

TEST(Sti, SpendsSpareTimeOnBitsWhereIoBinds) {
  World world = board(600);
  for (int64_t& layer : world.costs.layer) layer /= 4;  // compute four times faster: 3 bits no longer stream
  const Plan plan = plan_of("sti", world);
  EXPECT_EQ(size_of(plan), "12x12");
  EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
  EXPECT_GT(plan.mean_bits(), 4.5) << "of 600 ms compute takes 357; in what is left another 20 MB are read";
  world.knobs = {{"slack", "keep"}};
  EXPECT_LT(plan_of("sti", world).mean_bits(), 3.5) << "as published";
}

TEST(Sti, StreamsLowBitsWhereIoBinds) {
  World world = board(400);
  world.costs.ns_per_byte *= 8;  // a storage eight times slower: 6 bits no longer stream
  const Plan plan = plan_of("sti", world);
  EXPECT_EQ(size_of(plan), "9x3");
  EXPECT_EQ(fault(world, FakeReplay(world), plan), "");
  EXPECT_LT(plan.mean_bits(), 6);
}

TEST(Sti, LeavesTimeForRowsEmbeddingAndExit) {
  World world = board(1428);
  world.costs.rows = 3'000'000;
  world.costs.embed = 1'000'000;
  world.costs.exit = 1'000'000;
  const Plan plan = plan_of("sti", world);
  EXPECT_EQ(size_of(plan), "12x11");
  world.budgets.latency = milliseconds(1433);
  EXPECT_EQ(size_of(plan_of("sti", world)), "12x12");
}

TEST(Sti, PlansAtTheQuantileThatItIsAskedFor) {
  World world = board(600);
  world.costs.p95_factor = 1.3;
  EXPECT_EQ(plan_of("sti", world).depth, 12);
  world.quantile = 0.95;
  const Plan careful = plan_of("sti", world);
  EXPECT_EQ(size_of(careful), "11x3") << "12 layers of 41 ms at 1.3 are 640 ms";
  EXPECT_EQ(careful.quantile, 0.95);
}

}  // namespace
}  // namespace tessera::testing
