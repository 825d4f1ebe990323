// Spoils tasks of devices in the middle of requests: the answer must be the same, late at most, and nothing may hang or
// leak.
#include <random>

#include "fault_rig.h"

namespace tessera {
namespace {

using testing::kCpu;
using testing::kDisk;
using testing::kIds;
using testing::kIsland;
using testing::kLink;

using testing::Fault;
using testing::FaultRig;
using testing::impatient;
using testing::Injection;
using testing::plain_plan;
using testing::Script;
using testing::script_spread;
using testing::scripted;

TEST(Islands, AnswerBitForBitAsTheDeviceWithin) {
  for (const testing::IslandKind& kind :
       {testing::IslandKind{}, testing::IslandKind{.link = false}, testing::IslandKind{.host_visible = true},
        testing::IslandKind{.link = false, .shared = true}}) {
    FaultRig rig(kind);
    testing::script_plain(2, 4, 6);
    const auto plain = rig.run(scripted(), kIds);
    ASSERT_TRUE(plain.ok()) << plain.error().message;
    script_spread();
    RequestOptions options = scripted();
    options.seed = 1;
    const auto spread = rig.run(options, kIds);
    ASSERT_TRUE(spread.ok()) << spread.error().message;
    EXPECT_EQ(spread->logits, plain->logits);
    EXPECT_EQ(spread->peaks.size(), rig.machine.platform.memories.size());
  }
}

TEST(Islands, KeepWeightsInTheirOwnMemoryForTheNextRequest) {
  FaultRig rig;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan;
    plan = plain_plan(view.shape, 2, 4, 6);
    plan.home = kCpu;
    for (auto& parts : plan.placement) parts = {{kIsland, 0b1111}};
    for (int16_t l = 0; l < 2; ++l)
      for (int16_t j = 0; j < 4; ++j) plan.keep.push_back({l, j});
    plan.loads = loads_for(view.platform, view.residency, plan);
    return Decision{plan};
  };
  const auto first = rig.run(scripted(), kIds);
  ASSERT_TRUE(first.ok()) << first.error().message;
  ASSERT_EQ(rig.session->residency().shards.size(), 8u);
  EXPECT_EQ(rig.session->residency().shards[0].space, kIsland);
  EXPECT_EQ(rig.session->residency().charged_to(rig.machine.platform, 0), Bytes{}) << "costs no host memory";
  const auto second = rig.run(scripted(), kIds);
  ASSERT_TRUE(second.ok()) << second.error().message;
  EXPECT_EQ(second->logits, first->logits);
  EXPECT_LT(second->io, first->io);
}

TEST(Faults, AFailingDeviceIsTakenOverFromTheLayerThatItLost) {
  FaultRig rig;
  script_spread();
  const auto whole = rig.run(impatient(), kIds);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  rig.faulty[2]->inject({Fault::kFails, 0, 5, true});  // in layer 1
  const auto got = rig.run(impatient(), kIds);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->logits, whole->logits);
  ASSERT_EQ(got->taken_over.size(), 1u);
  EXPECT_EQ(got->taken_over[0].layer, 1);
  EXPECT_EQ(got->taken_over[0].faults[0].name, "island0");
  EXPECT_EQ(got->planned->plan.placement[1].size(), 1u);
}

TEST(Faults, ADeviceThatHangsIsLeftAndItsMemoryCountsUntilItEnds) {
  FaultRig rig;
  script_spread();
  const auto whole = rig.run(impatient(), kIds);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  const Bytes before = rig.session->held();
  rig.faulty[2]->inject({Fault::kHangs, 0, 1, true});
  const auto got = rig.run(impatient(), kIds);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->logits, whole->logits);
  ASSERT_EQ(got->taken_over.size(), 1u);
  EXPECT_TRUE(got->taken_over[0].faults[0].given_up);
  EXPECT_GT(rig.session->held(), before);
  testing::script_plain(2, 4, 6);
  rig.faulty[2]->release_hanging();
  ASSERT_TRUE(rig.run(impatient(), kIds).ok());
  EXPECT_EQ(rig.session->held(), before);
}

// Layer 0 on cpu0, layer 1 on the island, which keeps its weights.
void script_halves() {
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 4, 6);
    plan.home = kCpu;
    plan.placement[1] = {{kIsland, 0b1111}};
    for (int16_t j = 0; j < 4; ++j) plan.keep.push_back({1, j});
    plan.loads = loads_for(view.platform, view.residency, plan);
    return Decision{plan};
  };
}

TEST(Faults, ResidentsThatAHangingDeviceMayStillReadStayUntilItEnds) {
  FaultRig rig;
  script_halves();
  const auto whole = rig.run(impatient(), kIds);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  const ResidentShard* held = rig.session->residency().find({1, 0});
  ASSERT_TRUE(held != nullptr && held->space == kIsland);
  rig.faulty[2]->inject({Fault::kHangs, 0, 1, true});  // layer 1
  const int64_t before = rig.island->allocated();
  const auto got = rig.run(impatient(), kIds);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->logits, whole->logits);
  EXPECT_EQ(rig.island->allocated(), before) << "freed while its device reads it";
  const ResidentShard* again = rig.session->residency().find({1, 0});
  EXPECT_TRUE(again == nullptr || again->space == kHostSpace);
}

TEST(Faults, ADeviceThatHasNoMemoryIsTakenOver) {
  for (const testing::IslandKind& kind : {testing::IslandKind{}, testing::IslandKind{.host_visible = true}})
    for (const int allowed : {0, 1, 3}) {  // its buffers; the weights of its first layer
      SCOPED_TRACE(allowed);
      FaultRig rig(kind);
      script_spread();
      const auto whole = rig.run(impatient(), kIds);
      ASSERT_TRUE(whole.ok()) << whole.error().message;
      rig.open();
      rig.faulty[2]->allow_allocations(allowed);
      const auto got = rig.run(impatient(), kIds);
      ASSERT_TRUE(got.ok()) << got.error().message;
      EXPECT_EQ(got->logits, whole->logits);
      ASSERT_EQ(got->taken_over.size(), 1u);
      EXPECT_EQ(got->taken_over[0].faults[0].name, "island0");
      EXPECT_GE(got->peaks.size(), 2u) << "memory that only the first attempt used";
    }
}

TEST(Faults, ADeviceThatWasOnlySlowGoesOnWhereTheOthersFailToo) {
  FaultRig rig;
  script_halves();
  const auto whole = rig.run(impatient(), kIds);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  rig.open();
  rig.faulty[1]->inject({Fault::kFails, 0, 2});   // layer 1, as it takes over
  rig.faulty[2]->inject({Fault::kStalls, 0, 1});  // layer 1
  const auto got = rig.run(impatient(), kIds);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->logits, whole->logits);
  ASSERT_EQ(got->taken_over.size(), 2u);
  EXPECT_EQ(got->taken_over[0].layer, 1);
  EXPECT_EQ(got->taken_over[1].layer, 1) << "what was done before the first failure is lost by the second";
}

TEST(Faults, ADeviceThatWasOnlySlowIsForgivenOnce) {
  FaultRig rig;
  script_halves();
  rig.faulty[1]->inject({Fault::kFails, 0, 2, true});
  rig.faulty[2]->inject({Fault::kStalls, 0, 1, true});
  const auto got = rig.run(impatient(), kIds);
  ASSERT_FALSE(got.ok());
  EXPECT_NE(got.error().message.find("nothing could take over"), std::string::npos) << got.error().message;
}

TEST(Faults, WhereNothingIsLeftTheErrorNamesTheDeviceAndTheTask) {
  FaultRig rig;
  script_spread();
  rig.faulty[1]->inject({Fault::kFails, 0, 0, true});
  rig.faulty[2]->inject({Fault::kFails, 0, 0, true});
  const auto got = rig.run(impatient(), kIds);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kDevice);
  EXPECT_NE(got.error().message.find("nothing could take over"), std::string::npos) << got.error().message;
  EXPECT_NE(got.error().message.find("embed"), std::string::npos) << got.error().message;
}

TEST(Faults, ALateAnswerSaysByHowMuch) {
  FaultRig rig;
  script_spread();
  rig.faulty[2]->inject({Fault::kHangs, 0, 1, true});
  RequestOptions options = impatient();
  options.budgets.latency = milliseconds(20);  // the hanging device is suspect only after 50 ms
  const auto got = rig.run(options, kIds);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_GT(got->late.ns, 0);
  EXPECT_EQ(got->late, got->latency - options.budgets.latency);
}

TEST(Faults, AnExitThatIsHigherUpKeepsTheLatencyWhereTheWholeDepthCannot) {
  FaultRig rig;
  script_spread();
  rig.faulty[2]->inject({Fault::kRefuses, 0, 0, true});
  // A layer on cpu0 that takes an hour: only the shallowest exit is left.
  const ModelShape& shape = rig.tiny.store->shape();
  rig.machine.costs->set_guess(kCpu, [&](const CostKey& key) {
    Estimate e = rig.island->estimate(0, key, shape);
    if (key.op == Op::kLayer || key.op == Op::kAttentionPart) e.mean = e.p95 = e.mean + milliseconds(3'600'000);
    return e;
  });
  RequestOptions options = impatient();
  options.budgets.latency = milliseconds(2 * 3'600'000 - 1000);
  const auto got = rig.run(options, kIds);
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->planned->plan.depth, 1);
}

// A random placement, random bits, a random fault.
struct Drawn {
  Injection injection;
  int victim = 0;  // of FaultRig::faulty
  std::function<Result<Decision>(const PlanningView&)> decide;
};

Drawn draw(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint64_t>(n)); };
  Drawn out;
  const Fault faults[] = {Fault::kRefuses, Fault::kFails, Fault::kSlow, Fault::kWrongSize, Fault::kFails, Fault::kHangs};
  out.injection = {faults[below(6)], 0, below(8), below(2) == 0};
  out.victim = below(4) == 0 ? 1 : 2;
  if (out.victim == 2 && below(3) == 0) out.injection.device = 1;  // the link
  if (below(12) == 0) {  // storage has no other, and is given the hard limit's time: it only fails, once
    out.victim = 0;
    out.injection.device = 0;
    out.injection.for_good = false;
    if (out.injection.fault == Fault::kHangs) out.injection.fault = Fault::kFails;
  }
  const uint64_t places = random();
  out.decide = [places](const PlanningView& view) -> Result<Decision> {
    std::mt19937_64 dice(places);
    Plan plan = plain_plan(view.shape, 2, 4, view.shape.bitwidths[dice() % view.shape.bitwidths.size()]);
    plan.home = dice() % 2 ? kCpu : kIsland;
    for (auto& parts : plan.placement) {
      const SliceMask on_island = dice() & 0b1111;
      parts.clear();
      if (on_island != 0b1111) parts.push_back({kCpu, 0b1111 & ~on_island});
      if (on_island != 0) parts.push_back({kIsland, on_island});
    }
    if (view.compute_devices.size() == 1) {  // the other one is quarantined
      for (auto& parts : plan.placement) parts = {{view.compute_devices[0], 0b1111}};
      plan.home = view.compute_devices[0];
    }
    for (int16_t j = 0; j < 4; ++j)
      if (dice() % 4 == 0) plan.keep.push_back({static_cast<int16_t>(dice() % 2), j});
    plan.loads = loads_for(view.platform, view.residency, plan);
    return Decision{plan};
  };
  return out;
}

class ThousandFaults : public ::testing::TestWithParam<int> {};

TEST_P(ThousandFaults, NeitherHangNorLeakNorChangeTheAnswer) {
  constexpr int kSeeds = 84;  // x 12
  const testing::IslandKind kinds[] = {{}, {.host_visible = true}, {.shared = true}};
  FaultRig rig(kinds[GetParam() % 3]);
  int hit = 0, taken_over = 0;
  for (int i = 0; i < kSeeds; ++i) {
    const auto seed = static_cast<uint64_t>(GetParam() * kSeeds + i);
    SCOPED_TRACE(seed);
    const Drawn drawn = draw(seed);
    testing::FaultyBackend& victim = *rig.faulty[static_cast<size_t>(drawn.victim)];
    rig.open();
    Script::now().decide = drawn.decide;
    RequestOptions options = impatient();
    options.budgets.preload = mib(64);
    for (auto& backend : rig.faulty) backend->inject({});
    const auto clean = rig.run(options, kIds);
    ASSERT_TRUE(clean.ok()) << clean.error().message;
    victim.inject(drawn.injection);
    for (uint64_t request = 1; request <= 2; ++request) {
      options.seed = request;
      const auto got = rig.run(options, kIds);
      ASSERT_TRUE(got.ok()) << got.error().message;
      EXPECT_EQ(got->logits, clean->logits);
      for (const TakenOver& lost : got->taken_over) {
        EXPECT_FALSE(lost.faults.at(0).name.empty());
        EXPECT_FALSE(lost.faults.at(0).task.empty());
      }
      taken_over += !got->taken_over.empty();
    }
    hit += victim.hits() > 0;
    for (auto& backend : rig.faulty) backend->release_hanging();
  }
  EXPECT_GT(hit, kSeeds / 3);
  EXPECT_GT(taken_over, kSeeds / 4);
}

INSTANTIATE_TEST_SUITE_P(Faults, ThousandFaults, ::testing::Range(0, 12));

}  // namespace
}  // namespace tessera
