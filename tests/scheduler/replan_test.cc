// Re-plans requests on real devices: what is answered is what the revised plan answers, whoever edits when.
#include <thread>

#include "fault_rig.h"
#include "framework/random.h"
#include "replan_cases.h"

namespace tessera {
namespace {

using testing::edited;
using testing::FaultRig;
using testing::plain_plan;
using testing::Rig;
using testing::Script;
using testing::script_plain;
using testing::script_spread;
using testing::scripted;
using testing::whole_layer;
using Kind = Event::Kind;

using testing::kIds;

testing::TinyModel four_layers() {
  testing::TinyModel model;
  model.layers = 4;
  model.depths = {4};
  return model;
}

std::vector<float> logits_of(Rig& rig, const Plan& plan) {
  Script::now().on_event = nullptr;
  Script::now().decide = [plan](const PlanningView&) -> Result<Decision> { return Decision{plan}; };
  rig.session = Session::open(rig.tiny.store->shape(), rig.tiny.store.get(), rig.accuracy, rig.machine, {}).take();
  const auto answer = rig.run(scripted(), kIds);
  if (!answer.ok()) ADD_FAILURE() << answer.error().message;
  return answer.ok() ? answer->logits : std::vector<float>{};
}

TEST(Replan, EditsOfEveryKindAnswerAsIfTheyHadBeenDecidedSo) {
  Rig rig(four_layers());
  const std::vector<std::vector<ShardEdit>> cases{
      {{{3, 0}, 2}},                                                                // lower
      {{{1, 2}, kExact}, {{3, 1}, 6}},                                              // raise
      {{{2, 3}, kAbsent}},                                                          // leave out
      {{{1, 0}, 1}, {{1, 1}, 6}, {{1, 2}, kAbsent}, {{3, 3}, kExact}, {{2, 0}, 5}}  // all in one
  };
  for (const std::vector<ShardEdit>& edits : cases) {
    SCOPED_TRACE(edits.size());
    script_plain(4, 4, 4);
    rig.session = Session::open(rig.tiny.store->shape(), rig.tiny.store.get(), rig.accuracy, rig.machine, {}).take();
    Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
      if (event.kind != Kind::kBegan) return;
      const Status done = editor.revise(edits, "because");
      EXPECT_TRUE(done.ok()) << done.error().message;
    };
    const auto answer = rig.run(scripted(), kIds);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    const Plan want = edited(answer->planned->plan, edits);
    EXPECT_EQ(answer->executed->plan.bits, want.bits);
    EXPECT_EQ(testing::text_of(answer->executed->plan.loads), testing::text_of(want.loads));
    EXPECT_EQ(answer->logits, logits_of(rig, want));
    testing::expect_logits(answer->logits, testing::reference_logits(*rig.tiny.store, want, kIds), 2e-3);
  }
}

TEST(Replan, KeepsWhatWasReallyLoadedAndAnswersWithItNextTime) {
  Rig rig(four_layers());
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 4, 4, 4, view.residency);
    if (const ResidentShard* held = view.residency.find({2, 1}); held != nullptr) plan.bits[2 * 4 + 1] = held->bits;
    plan.loads = loads_for(view.platform, view.residency, plan);
    plan.keep = {{2, 0}, {2, 1}, {2, 2}};
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = mib(1);
  Script::now().on_event = [](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kBegan) return;
    EXPECT_TRUE(editor.set_bits({2, 1}, 6));
    EXPECT_TRUE(editor.drop({2, 2}));
  };
  const auto first = rig.run(options, kIds);
  ASSERT_TRUE(first.ok()) << first.error().message;
  const Residency held = rig.session->residency();
  ASSERT_EQ(held.shards.size(), 2u);
  EXPECT_EQ(held.find({2, 1})->bits, 6);
  EXPECT_EQ(held.find({2, 1})->bytes, rig.tiny.store->shape().bytes_of({2, 1}, 6));
  Script::now().on_event = nullptr;
  const auto second = rig.run(options, kIds);
  ASSERT_TRUE(second.ok()) << second.error().message;
  EXPECT_LT(second->io, first->io);
  testing::expect_logits(second->logits, testing::reference_logits(*rig.tiny.store, second->planned->plan, kIds), 2e-3);
}

TEST(Replan, RevisedRequestsTeachCostsButNoMargins) {
  Rig rig(four_layers());
  script_plain(4, 4, 4);
  Script::now().on_event = [](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kBegan) return;
    EXPECT_TRUE(editor.set_bits({3, 0}, 2));
  };
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(rig.run(scripted(), kIds).ok());
  EXPECT_TRUE(rig.machine.costs->requests().save().empty());
  Script::now().on_event = nullptr;
  ASSERT_TRUE(rig.run(scripted(), kIds).ok());
  EXPECT_FALSE(rig.machine.costs->requests().save().empty());
}

// Editing at every event, whatever runs: what could be done is what the answer says.
TEST(Replan, EditsThatRaceWithStartsAreMadeWholeOrNotAtAll) {
  Rig rig(four_layers());
  script_plain(4, 4, 4);
  uint64_t seed = 0;
  Script::now().on_event = [&](const Event&, PlanEditor& editor) {
    const uint64_t z = splitmix64(seed);
    const Bits bits[] = {kAbsent, 1, 2, 4, 6, kExact};
    const ShardId a{static_cast<int16_t>(z % 4), static_cast<int16_t>(z / 4 % 4)};
    const ShardId b{static_cast<int16_t>(z / 16 % 4), static_cast<int16_t>(z / 64 % 4)};
    const std::vector<ShardEdit> edits{{a, bits[z / 256 % 6]}, {b, bits[z / 2048 % 6]}};
    static_cast<void>(editor.forecast(edits, 0.5, editor.pace()));
    static_cast<void>(editor.revise(edits, "at random"));
  };
  for (int i = 0; i < 40; ++i) {
    SCOPED_TRACE(i);
    const auto answer = rig.run(scripted(), kIds);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    testing::expect_logits(answer->logits, testing::reference_logits(*rig.tiny.store, answer->executed->plan, kIds), 2e-3);
    std::vector<Bits> bits = answer->planned->plan.bits;
    for (const Revision& r : answer->revisions)
      for (int j = 0; j < 4; ++j) {
        if ((r.slices >> j & 1) == 0) continue;
        EXPECT_EQ(bits[static_cast<size_t>(r.layer) * 4 + j], r.from);
        bits[static_cast<size_t>(r.layer) * 4 + j] = r.to;
      }
    EXPECT_EQ(bits, answer->executed->plan.bits);
  }
}

TEST(Replan, BudgetsChangedByAnotherThreadReachThePolicyAndTheAnswer) {
  Rig rig(four_layers());
  script_plain(4, 4, 4);
  Budgets tight;
  tight.latency = nanoseconds(1);
  std::atomic<int> heard{0};
  std::atomic<bool> go{false}, changed{false};
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    if (event.kind == Kind::kBegan) {
      go = true;
      while (!changed) std::this_thread::yield();  // it is queued: this thread asks the policy
    }
    if (event.kind != Kind::kBudgetChanged) return;
    ++heard;
    EXPECT_EQ(event.budgets.latency, nanoseconds(1));
    for (const PendingLoad& load : editor.pending()) static_cast<void>(editor.set_bits({load.layer, 0}, 1));
  };
  std::thread other([&] {
    while (!go) std::this_thread::yield();
    EXPECT_TRUE(rig.session->change_budgets(tight).ok());
    changed = true;
  });
  const auto answer = rig.run(scripted(), kIds);
  other.join();
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(heard, 1);
  EXPECT_EQ(answer->budgets.latency, nanoseconds(1));
  EXPECT_EQ(answer->late, answer->latency - nanoseconds(1));
  EXPECT_EQ(answer->revisions.size(), 4u);
  EXPECT_FALSE(rig.session->change_budgets(tight).ok()) << "nothing runs";
}

TEST(Replan, BudgetsMayChangeAtAnyMomentOfManyRequests) {
  Rig rig(four_layers());
  script_plain(4, 4, 4);
  Script::now().on_event = [](const Event& event, PlanEditor& editor) {
    if (event.kind != Kind::kBudgetChanged) return;
    for (const PendingLoad& load : editor.pending()) static_cast<void>(editor.set_bits({load.layer, 0}, 1));
  };
  std::atomic<bool> stop{false};
  std::thread other([&] {
    for (int64_t n = 1; !stop; ++n) {
      static_cast<void>(rig.session->change_budgets({milliseconds(n), kUnlimited, {}}));
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < 40; ++i) {
    const auto answer = rig.run(scripted(), kIds);
    EXPECT_TRUE(answer.ok());
    if (!answer.ok()) break;
    testing::expect_logits(answer->logits, testing::reference_logits(*rig.tiny.store, answer->executed->plan, kIds), 2e-3);
  }
  stop = true;
  other.join();
}

// Layer 0 on the island, layer 1 split between it and the processor.
TEST(Replan, PartsOnADeviceWithBuffersOfItsOwnAreEditedWithTheirTransfers) {
  const std::vector<ShardEdit> edits{{{0, 1}, 2}, {{0, 3}, kExact}, {{1, 0}, 4}, {{1, 1}, kAbsent}, {{1, 3}, kExact}};
  for (const testing::IslandKind& kind :
       {testing::IslandKind{}, testing::IslandKind{.link = false}, testing::IslandKind{.host_visible = true},
        testing::IslandKind{.link = false, .shared = true}}) {
    FaultRig rig(kind);
    script_spread();
    Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
      if (event.kind != Kind::kBegan) return;
      const Status done = editor.revise(edits, "");
      EXPECT_TRUE(done.ok()) << done.error().message;
    };
    const auto revised = rig.run(scripted(), kIds);
    ASSERT_TRUE(revised.ok()) << revised.error().message;
    const Plan want = edited(revised->planned->plan, edits);
    EXPECT_EQ(revised->executed->plan.bits, want.bits);
    EXPECT_EQ(revised->logits, logits_of(rig, want));
  }
}

TEST(Replan, ADeviceThatIsLostIsToldBeforeTheOthersGoOn) {
  FaultRig rig;
  script_spread();
  std::vector<Kind> heard;
  std::optional<DeviceId> lost;
  Duration at;
  Script::now().on_event = [&](const Event& event, PlanEditor& editor) {
    if (event.kind == Kind::kBegan) { EXPECT_TRUE(editor.set_bits({1, 1}, 4)); }  // what was revised stays so
    if (event.kind != Kind::kTaskEnded) heard.push_back(event.kind);
    if (event.kind != Kind::kDeviceLost) return;
    lost = event.device;
    at = event.now;
    for (const PendingLoad& load : editor.pending())
      for (int16_t j = 0; j < 4; ++j)
        if ((load.slices >> j & 1) != 0) { EXPECT_TRUE(editor.set_bits({load.layer, j}, 2)); }
  };
  rig.faulty[2]->inject({testing::Fault::kFails, 0, 5, true});  // in layer 1
  const auto answer = rig.run(testing::impatient(), kIds);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  ASSERT_EQ(answer->taken_over.size(), 1u);
  EXPECT_EQ(heard.front(), Kind::kBegan);
  EXPECT_EQ(answer->taken_over[0].planned->plan.bits_of({1, 1}), 4) << "as it was run";
  if (heard.size() > 1) {  // nothing is asked where the rest lies in host memory already
    EXPECT_EQ(heard[1], Kind::kDeviceLost);
    EXPECT_EQ(lost, testing::kIsland);
    EXPECT_GE(at, answer->taken_over[0].at);
  }
  testing::expect_logits(answer->logits, testing::reference_logits(*rig.tiny.store, answer->executed->plan, kIds), 2e-3);
}

}  // namespace
}  // namespace tessera
