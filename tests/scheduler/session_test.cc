// Runs requests end to end on small stores with the real backends, and checks answers, plans, residents and bytes.
#include <algorithm>

#include "session_rig.h"

namespace tessera {
namespace {

using testing::expect_logits;
using testing::plain_plan;
using testing::reference_logits;
using testing::Rig;
using testing::Script;
using testing::script_plain;
using testing::scripted;

const std::vector<int32_t> kIds = {2, 7, 11, 7, 42, 3};

TEST(Session, AnswersAsTheReferenceForEveryDepthWidthAndBitwidth) {
  Rig rig;
  for (const int depth : {1, 2})
    for (const int width : {1, 3, 4})
      for (const Bits bits : rig.tiny.store->shape().bitwidths) {
        SCOPED_TRACE(std::to_string(depth) + 'x' + std::to_string(width) + '@' + std::to_string(bits));
        script_plain(depth, width, bits);
        const auto answer = rig.run(scripted(), kIds);
        ASSERT_TRUE(answer.ok()) << answer.error().message;
        const std::vector<float> want = reference_logits(*rig.tiny.store, answer->planned->plan, kIds);
        expect_logits(answer->logits, want, 2e-4);
        EXPECT_EQ(answer->label, want[0] >= want[1] ? 0 : 1);
      }
}

TEST(Session, AnswersTheSameHoweverLoadsAreOrderedOverlappedOrKept) {
  Rig rig;
  std::vector<std::vector<float>> logits;
  for (int variant = 0; variant < 5; ++variant) {
    Script::now().decide = [variant](const PlanningView& view) -> Result<Decision> {
      Plan plan = plain_plan(view.shape, 2, 3, 4, view.residency);
      if (variant == 1) plan.pipelined = false;
      if (variant == 2) std::reverse(plan.loads.begin(), plan.loads.end());
      if (variant >= 3) plan.keep = {{0, 0}, {0, 1}};
      return Decision{plan};
    };
    RequestOptions options = scripted();
    options.budgets.preload = mib(1);
    options.seed = static_cast<uint64_t>(variant);
    auto answer = rig.run(options, kIds);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    logits.push_back(answer->logits);
  }
  for (const auto& other : logits) EXPECT_EQ(other, logits[0]);  // bit by bit
}

TEST(Session, AnswersTheSameWhereALayerIsSplit) {
  Rig rig;
  script_plain(2, 4, 6);
  const auto whole = rig.run(scripted(), kIds);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 4, 6, view.residency);
    plan.placement[0] = {{view.compute_devices[0], 0b0101}, {view.compute_devices[0], 0b1010}};
    return Decision{plan};
  };
  RequestOptions other = scripted();
  other.seed = 1;
  const auto split = rig.run(other, kIds);
  ASSERT_TRUE(split.ok()) << split.error().message;
  EXPECT_GT(split->planned->graph.size(), whole->planned->graph.size());
  EXPECT_EQ(split->logits, whole->logits);
}

TEST(Session, StaysWithinTheLeastMemoryThatThePlanNeedsAndReadsEachBlockOnce) {
  Rig rig;
  script_plain(2, 4, kExact);
  const auto planned = rig.session->plan(scripted(), 6);
  ASSERT_TRUE(planned.ok());
  RequestOptions options = scripted();
  options.budgets.memory = (*planned)->plan.predicted.peak;
  const auto answer = rig.run(options, {2, 7, 7, 7, 7, 3});
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_LE(answer->peak, options.budgets.memory);
  EXPECT_GE(answer->peak, rig.tiny.store->shape().resident_bytes);
  EXPECT_LT(answer->io, answer->planned->plan.predicted.io);  // four equal tokens share one block
  EXPECT_GT(answer->latency, answer->report.makespan);
  EXPECT_GT(answer->planned->planning, Duration{});
}

TEST(Session, ReusesAPlanUnderItsKeyAndNoOther) {
  Rig rig;
  script_plain(1, 2, 4);
  ASSERT_TRUE(rig.run(scripted(), kIds).ok());  // from here on the exit head is resident
  const auto first = rig.run(scripted(), kIds);
  const auto second = rig.run(scripted(), kIds);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(second->reused);
  EXPECT_EQ(first->planned->id, second->planned->id);
  const int before = Script::now().decisions;
  RequestOptions other = scripted();
  other.budgets.memory = mib(64);
  EXPECT_FALSE(rig.run(other, kIds)->reused);
  other = scripted();
  other.knobs["bits"] = "4";
  EXPECT_FALSE(rig.run(other, kIds)->reused);
  EXPECT_FALSE(rig.run(scripted(), {2, 7, 3})->reused);
  EXPECT_EQ(Script::now().decisions, before + 3);
}

TEST(Session, KeepsWhatThePlanKeepsAndLoadsItNoMore) {
  Rig rig;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 3, 4, view.residency);
    plan.keep = {{0, 0}, {0, 2}};
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = mib(1);
  const auto cold = rig.run(options, kIds);
  ASSERT_TRUE(cold.ok()) << cold.error().message;
  const ModelShape& shape = rig.tiny.store->shape();
  ASSERT_EQ(rig.session->residency().shards.size(), 2u);
  EXPECT_EQ(rig.session->residency().exits, std::vector<int>{2});
  EXPECT_EQ(rig.session->held(),
            shape.resident_bytes + shape.bytes_of({0, 0}, 4) + shape.bytes_of({0, 2}, 4) + shape.exit_bytes[1]);
  const auto warm = rig.run(options, kIds);
  ASSERT_TRUE(warm.ok()) << warm.error().message;
  EXPECT_EQ(warm->logits, cold->logits);
  EXPECT_EQ(cold->io - warm->io, shape.bytes_of({0, 0}, 4) + shape.bytes_of({0, 2}, 4) + shape.exit_bytes[1]);
  EXPECT_EQ(rig.session->residency().shards.size(), 2u);
}

TEST(Session, DropsResidentsThatAPlanUsesButDoesNotKeep) {
  Rig rig;
  bool keep = true;
  Script::now().decide = [&keep](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 2, 4, view.residency);
    if (keep) plan.keep = {{0, 0}, {1, 1}};
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = mib(1);
  ASSERT_TRUE(rig.run(options, kIds).ok());
  ASSERT_EQ(rig.session->residency().shards.size(), 2u);
  keep = false;
  const auto last = rig.run(options, kIds);
  ASSERT_TRUE(last.ok()) << last.error().message;
  expect_logits(last->logits, reference_logits(*rig.tiny.store, last->planned->plan, kIds), 2e-4);
  EXPECT_TRUE(rig.session->residency().shards.empty());
}

TEST(Session, KeepsWhatASmallerPlanHasNoUseForWhereThePlanSaysSo) {
  Rig rig;
  bool small = false, keep_unused = true;
  Script::now().decide = [&](const PlanningView& view) -> Result<Decision> {
    Plan plan = small ? plain_plan(view.shape, 1, 1, 4, view.residency) : plain_plan(view.shape, 2, 2, 4, view.residency);
    for (const ShardId id : {ShardId{0, 0}, {0, 1}, {1, 0}, {1, 1}})
      if (!small || id == ShardId{0, 0}) plan.keep.push_back(id);
    plan.keep_unused = keep_unused;
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = mib(1);
  ASSERT_TRUE(rig.run(options, kIds).ok());
  small = true;
  options.seed = 1;  // another plan
  const auto narrow = rig.run(options, kIds);
  ASSERT_TRUE(narrow.ok()) << narrow.error().message;
  expect_logits(narrow->logits, reference_logits(*rig.tiny.store, narrow->planned->plan, kIds), 2e-4);
  EXPECT_EQ(rig.session->residency().shards.size(), 4u);
  EXPECT_EQ(rig.session->residency().exits, (std::vector<int>{1, 2}));
  EXPECT_GE(narrow->peak, rig.session->held());
  keep_unused = false;
  options.seed = 2;
  ASSERT_TRUE(rig.run(options, kIds).ok());
  EXPECT_EQ(rig.session->residency().shards.size(), 1u);
}

TEST(Session, EvictsTopLayersWhenThePreloadBudgetShrinks) {
  Rig rig;
  const ModelShape& shape = rig.tiny.store->shape();
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 2, 4, view.residency);
    Bytes kept;
    for (const ShardId id : {ShardId{0, 0}, {0, 1}, {1, 0}, {1, 1}}) {
      kept += view.shape.bytes_of(id, 4);
      if (kept <= view.budgets.preload) plan.keep.push_back(id);
    }
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = mib(1);
  ASSERT_TRUE(rig.run(options, kIds).ok());
  ASSERT_EQ(rig.session->residency().shards.size(), 4u);
  options.budgets.preload = shape.bytes_of({0, 0}, 4) + shape.bytes_of({0, 1}, 4) + shape.bytes_of({1, 0}, 4);
  const auto planned = rig.session->plan(options, 6);
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  ASSERT_EQ(rig.session->residency().shards.size(), 3u);
  EXPECT_EQ(rig.session->residency().shards.back().id, (ShardId{1, 0}));
  ASSERT_TRUE(rig.run(options, kIds).ok());
  options.budgets.preload = {};
  ASSERT_TRUE(rig.run(options, kIds).ok());
  EXPECT_TRUE(rig.session->residency().shards.empty());
}

TEST(Session, PreloadsCodedAndDecodedShardsThatAnswerAlike) {
  Rig rig;
  script_plain(2, 3, 5);
  const auto cold = rig.run(scripted(), kIds);
  ASSERT_TRUE(cold.ok());
  for (const bool decoded : {false, true}) {
    Script::now().preload = [decoded](const PlanningView&) -> Result<Residency> {
      Residency wanted;
      for (int16_t l = 0; l < 2; ++l)
        for (int16_t j = 0; j < 3; ++j) wanted.shards.push_back({{l, j}, 5, decoded, {}});
      wanted.exits = {2};
      return wanted;
    };
    Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
      Plan plan = plain_plan(view.shape, 2, 3, 5, view.residency);
      for (int16_t l = 0; l < 2; ++l)
        for (int16_t j = 0; j < 3; ++j) plan.keep.push_back({l, j});
      return Decision{plan};
    };
    const Status preloaded = rig.session->preload(scripted(), 6);
    ASSERT_TRUE(preloaded.ok()) << preloaded.error().message;
    ASSERT_EQ(rig.session->residency().shards.size(), 6u);
    EXPECT_EQ(rig.session->residency().shards[0].decoded, decoded);
    const auto warm = rig.run(scripted(), kIds);
    ASSERT_TRUE(warm.ok()) << warm.error().message;
    EXPECT_LE(warm->io, kib(4) * 12);  // rows only
    EXPECT_EQ(warm->logits, cold->logits);
    EXPECT_EQ(rig.session->residency().shards.size(), 6u);
  }
}

TEST(Session, DropsResidentsWhereARequestIsFeasibleOnlyWithoutThem) {
  Rig rig;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 4, kExact, view.residency);
    for (int16_t j = 0; j < 4; ++j) plan.keep.push_back({0, j});
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = mib(8);
  ASSERT_TRUE(rig.run(options, kIds).ok());
  ASSERT_EQ(rig.session->residency().shards.size(), 4u);
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    if (!view.residency.shards.empty()) return Decision{Infeasible{}};
    return Decision{plain_plan(view.shape, 1, 1, 2, view.residency)};
  };
  const auto answer = rig.run(options, {2, 7, 3});
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_TRUE(answer->planned->drops_residents);
  EXPECT_TRUE(rig.session->residency().shards.empty());
  expect_logits(answer->logits, reference_logits(*rig.tiny.store, answer->planned->plan, {2, 7, 3}), 2e-4);
}

TEST(Session, PassesOnWhatIsInfeasible) {
  Rig rig;
  Script::now().decide = [](const PlanningView&) -> Result<Decision> {
    Infeasible no;
    no.latency = milliseconds(7);
    no.why = "too fast";
    return Decision{no};
  };
  const auto answer = rig.run(scripted(), kIds);
  ASSERT_TRUE(answer.ok());
  ASSERT_TRUE(answer->planned->infeasible.has_value());
  EXPECT_EQ(answer->planned->infeasible->latency, milliseconds(7));
  EXPECT_TRUE(answer->logits.empty());
}

TEST(Session, RunsEveryRegisteredPolicyToTheReferencesAnswer) {
  Rig rig;
  rig.accuracy = random_importance(rig.tiny.store->shape(), 1);
  for (const auto& entry : policies().entries()) {
    if (entry.name == "scripted") continue;
    SCOPED_TRACE(entry.name);
    RequestOptions options;
    options.policy = entry.name;
    options.budgets = {milliseconds(500), mib(8), kib(64)};
    const Status preloaded = rig.session->preload(options, 6);
    ASSERT_TRUE(preloaded.ok()) << preloaded.error().message;
    for (int request = 0; request < 3; ++request) {
      const auto answer = rig.run(options, kIds);
      ASSERT_TRUE(answer.ok()) << answer.error().message;
      ASSERT_FALSE(answer->planned->infeasible) << answer->planned->infeasible->why;
      expect_logits(answer->logits, reference_logits(*rig.tiny.store, answer->planned->plan, kIds), 2e-4);
      EXPECT_LE(answer->peak, mib(8));
    }
  }
}

}  // namespace
}  // namespace tessera
