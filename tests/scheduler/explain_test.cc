// Explains plans whose alternatives can be told by hand; and asks the planner itself about every alternative of many plans.
#include <gmock/gmock.h>

#include "described_session.h"
#include "scheduler/neighbour_plan.h"

namespace tessera {
namespace {

using testing::DescribedSession;
using ::testing::HasSubstr;
using testing::plain_plan;
using testing::plain_shape;
using testing::Script;
using testing::script_plain;
using testing::scripted;

// Two layers of four slices at 2 bits. In microseconds: rows 0-9, layer 0 loaded 9-17, computed 17-57, layer 1 loaded 17-25,
// computed 57-97: a bit more of layer 0 delays all, of layer 1 nothing.
struct Explained {
  explicit Explained(Duration latency, Bytes memory = kUnlimited, ModelShape shape = plain_shape(2, 4))
      : described(std::move(shape)) {
    script_plain(2, 4, 2);
    options.budgets.latency = latency;
    options.budgets.memory = memory;
    planned = described.plan(options);
    explanation = described.explain(options, *planned);
  }
  const BitsCandidate& candidate(int layer, int slice, Bits bits) const {
    for (const ShardChoice& shard : explanation.shards)
      for (const BitsCandidate& c : shard.candidates)
        if (shard.id == ShardId{static_cast<int16_t>(layer), static_cast<int16_t>(slice)} && c.bits == bits) return c;
    ADD_FAILURE() << "no candidate " << layer << '.' << slice << '@' << int{bits};
    return explanation.shards.front().candidates.front();
  }
  DescribedSession described;
  RequestOptions options = scripted();
  std::shared_ptr<const PlannedRequest> planned;
  PlanExplanation explanation;
};

TEST(Explain, TellsByHowMuchAnAlternativeIsLate) {
  const Explained e(microseconds(98));
  EXPECT_EQ(e.candidate(0, 0, 4).outcome.verdict, Verdict::kLate);
  EXPECT_EQ(e.candidate(0, 0, 4).outcome.late_by, microseconds(1));
  EXPECT_EQ(e.candidate(0, 3, 32).outcome.late_by, microseconds(29));
  EXPECT_THAT(e.candidate(0, 0, 4).outcome.why, HasSubstr("late by 1.00 us"));
}

TEST(Explain, NamesThePolicyThatPassedABetterPlanOver) {
  const Explained e(microseconds(98));
  const BitsCandidate& better = e.candidate(1, 2, 6);
  EXPECT_EQ(better.outcome.verdict, Verdict::kBetter);
  EXPECT_EQ(better.outcome.loss_change.n,
            e.described.accuracy.loss_delta({1, 2}, 6).n - e.described.accuracy.loss_delta({1, 2}, 2).n);
  EXPECT_THAT(better.outcome.why, HasSubstr("scripted passed it over"));
}

TEST(Explain, TellsWhatLessBitsLose) {
  const Explained e(microseconds(98));
  EXPECT_EQ(e.candidate(0, 1, kAbsent).outcome.verdict, Verdict::kWorse);
  EXPECT_THAT(e.candidate(0, 1, kAbsent).outcome.why, HasSubstr("fits, but loses"));
}

TEST(Explain, TellsWhenAShardIsLoadedAndComputed) {
  const Explained e(microseconds(98));
  const Outcome& own = e.candidate(1, 0, 2).outcome;
  EXPECT_EQ(own.verdict, Verdict::kChosen);
  ASSERT_TRUE(own.load && own.compute);
  EXPECT_EQ(own.load->start, microseconds(17));
  EXPECT_EQ(own.load->end, microseconds(25));
  EXPECT_EQ(own.compute->start, microseconds(57));
  EXPECT_EQ(own.compute->end, microseconds(97));
  const Outcome& other = e.candidate(1, 0, 6).outcome;  // behind the layer's other slices
  EXPECT_EQ(other.load->start, microseconds(23));
  EXPECT_EQ(other.load->end, microseconds(29));
}

TEST(Explain, TellsHowMuchMemoryIsMissing) {
  const Explained all(microseconds(98));
  const Bytes peak = all.planned->plan.predicted.peak;
  const Explained e(microseconds(98), peak);
  const BitsCandidate& exact = e.candidate(1, 0, 32);
  ASSERT_EQ(exact.outcome.verdict, Verdict::kMemory);
  ASSERT_TRUE(exact.outcome.short_by);
  EXPECT_THAT(exact.outcome.why, HasSubstr("more than --memory leaves"));
  const Bytes enough = peak + *exact.outcome.short_by;
  EXPECT_NE(Explained(microseconds(98), enough).candidate(1, 0, 32).outcome.verdict, Verdict::kMemory);
  EXPECT_EQ(Explained(microseconds(98), enough - kib(1)).candidate(1, 0, 32).outcome.verdict, Verdict::kMemory);
}

TEST(Explain, KnowsWhichWidthsAreLegal) {
  ModelShape shape = plain_shape(2, 4);
  shape.widths = {2, 4};
  const Explained e(microseconds(98), kUnlimited, shape);
  EXPECT_EQ(e.candidate(0, 0, kAbsent).outcome.verdict, Verdict::kIllegal);
  EXPECT_EQ(e.candidate(0, 0, kAbsent).outcome.why, "not legal: layer 0 would have 3 slices; the model runs with 2, 4");
}

TEST(Explain, KnowsWhatTheRequestFixes) {
  Explained e(microseconds(98));
  e.options.bits = 2;
  e.explanation = e.described.explain(e.options, *e.planned);
  EXPECT_EQ(e.candidate(1, 0, 4).outcome.verdict, Verdict::kIllegal);
  EXPECT_THAT(e.candidate(1, 0, 4).outcome.why, HasSubstr("--bits fixes 2"));
}

TEST(Explain, SaysWhatBindsALayer) {
  const Explained e(microseconds(98));
  ASSERT_EQ(e.explanation.layers.size(), 2U);
  EXPECT_EQ(e.explanation.layers[0].binding, "latency: slice 0 at 4 bits is late by 1.00 us");
  EXPECT_THAT(e.explanation.layers[1].binding, HasSubstr("the policy: 4 next steps fit"));
}

TEST(Explain, DoesNotPretendToKnowWhatOnlyPrefixesTell) {
  Explained e(microseconds(98));
  e.described.accuracy.prefixes_only = true;
  e.explanation = e.described.explain(e.options, *e.planned);
  EXPECT_EQ(e.candidate(0, 1, kAbsent).outcome.verdict, Verdict::kUnknown);
  EXPECT_EQ(e.candidate(0, 3, kAbsent).outcome.verdict, Verdict::kWorse);
}

TEST(Explain, ShowsADeeperExitAndWhyItIsNotTaken) {
  DescribedSession d(plain_shape(3, 4));
  script_plain(2, 4, 2);
  RequestOptions options = scripted();
  options.budgets.latency = microseconds(120);
  const PlanExplanation e = d.explain(options, *d.plan(options));
  ASSERT_EQ(e.exits.size(), 3U);
  EXPECT_EQ(e.exits[0].outcome.verdict, Verdict::kWorse);
  EXPECT_EQ(e.exits[1].outcome.verdict, Verdict::kChosen);
  EXPECT_EQ(e.exits[2].outcome.verdict, Verdict::kLate);
  EXPECT_EQ(e.exits[2].outcome.late_by, microseconds(97 + 40 - 120));
}

TEST(Explain, TriesEachDeviceAndTheirSplits) {
  DescribedSession d(plain_shape(2, 4), 2);
  script_plain(2, 4, 2);
  const PlanExplanation e = d.explain(scripted(), *d.plan(scripted()));
  const std::vector<PlacementCandidate>& all = e.layers[1].candidates;
  ASSERT_EQ(all.size(), 3U);  // cpu0 as chosen, cpu1, both
  EXPECT_EQ(all[0].outcome.verdict, Verdict::kChosen);
  EXPECT_EQ(all[1].outcome.verdict, Verdict::kEqual);
  ASSERT_EQ(all[2].parts.size(), 2U);
  EXPECT_EQ(all[2].parts[0].slices, SliceMask{0b0011});
  EXPECT_EQ(all[2].outcome.verdict, Verdict::kEqual);  // attention and FFN parts take as long as a fused layer each here
}

TEST(Explain, OfAPlanThatIsLateSaysWhatWouldBeLessLate) {
  Explained e(microseconds(98));
  e.options.budgets.latency = microseconds(50);
  e.options.best_effort = true;
  e.explanation = e.described.explain(e.options, *e.described.plan(e.options));
  EXPECT_EQ(e.candidate(0, 0, kAbsent).outcome.verdict, Verdict::kBetter);
  EXPECT_THAT(e.candidate(0, 0, kAbsent).outcome.why, HasSubstr("sooner: scripted passed it over"));
  EXPECT_EQ(e.candidate(0, 0, 4).outcome.verdict, Verdict::kLate);
}

TEST(Explain, KeepsTheOrderOfLoadsThatThePolicyChose) {
  const ModelShape shape = plain_shape(2, 2);
  const Platform platform = testing::plain_platform();
  Plan plan = plain_plan(shape, 2, 2, 4);
  plan.loads = {{Op::kLoadShards, 1, 4, 0b01},
                {Op::kLoadExit, -1, kAbsent, 0},
                {Op::kLoadShards, 1, 4, 0b10},
                {Op::kLoadShards, 0, 4, 0b11},
                {Op::kLoadRows, -1, kAbsent, 0}};
  const Plan raised = with_bits(platform, {}, plan, {1, 0}, 6);
  ASSERT_EQ(raised.loads.size(), 5U);
  EXPECT_EQ(raised.loads[0].bits, 6);
  EXPECT_EQ(raised.loads[0].slices, SliceMask{0b01});
  const Plan lowered = with_bits(platform, {}, plan, {0, 1}, 2);
  ASSERT_EQ(lowered.loads.size(), 6U);
  EXPECT_EQ(lowered.loads[3].slices, SliceMask{0b01});
  EXPECT_EQ(lowered.loads[4].bits, 2);
  EXPECT_EQ(lowered.loads[5].op, Op::kLoadRows);
  const Plan gone = with_bits(platform, {}, plan, {1, 1}, kAbsent);
  EXPECT_EQ(gone.loads.size(), 4U);
}

TEST(Explain, RefusesALayerThatThePlanDoesNotHave) {
  Explained e(microseconds(98));
  const SessionPlanner planner =
      SessionPlanner::create(e.described.shape, e.described.accuracy, e.described.machine, {}).take();
  const auto out = explain_plan({planner, e.options, 8, {}}, *e.planned, {true, 2});
  ASSERT_FALSE(out.ok());
  EXPECT_THAT(out.error().message, HasSubstr("the plan has layers 0 to 1"));
}

// What the planner says of a plan that a policy hands in.
bool planner_takes(DescribedSession& d, RequestOptions options, const Plan& plan) {
  options.policy = "scripted";
  Script::now().decide = [&](const PlanningView&) -> Result<Decision> { return Decision{plan}; };
  options.seed = static_cast<uint64_t>(Script::now().decisions);  // no plan is reused
  return d.session->plan(options, DescribedSession::kTokens).ok();
}

bool keeps_budgets(Verdict verdict) {
  return verdict == Verdict::kWorse || verdict == Verdict::kEqual || verdict == Verdict::kBetter ||
         verdict == Verdict::kUnknown;
}

TEST(Explain, TheVerdictsOnEveryAlternativeAreThePlannersOwn) {
  testing::register_all();
  int taken = 0, refused = 0, better = 0;
  for (const uint64_t seed : {1, 2})
    for (const auto& entry : policies().entries()) {
      if (entry.name == "scripted") continue;
      DescribedSession d(plain_shape(2, 3), 1, seed);
      for (const Budgets budgets : {Budgets{microseconds(90), kUnlimited, {}}, Budgets{microseconds(180), kib(300), kib(60)},
                                    Budgets{microseconds(120), kib(120), {}}}) {
        RequestOptions options;
        options.policy = entry.name;
        options.budgets = budgets;
        const auto planned = d.plan(options);
        ASSERT_NE(planned, nullptr) << entry.name;
        if (planned->infeasible) continue;
        const Residency residency = planned->drops_residents ? Residency{} : d.session->residency();
        const PlanExplanation e = d.explain(options, *planned);
        for (const ShardChoice& shard : e.shards)
          for (const BitsCandidate& c : shard.candidates) {
            if (c.outcome.verdict == Verdict::kChosen) continue;
            if (c.outcome.why.find("no slice left") != std::string::npos) continue;  // nothing to hand in
            SCOPED_TRACE(entry.name + " " + to_string(budgets.latency) + " " + std::to_string(shard.id.layer) + "." +
                         std::to_string(shard.id.slice) + "@" + std::to_string(c.bits) + ": " + c.outcome.why);
            Plan plan = with_bits(d.machine.platform, residency, planned->plan, shard.id, c.bits);
            if (c.outcome.why.find("leaves the preload buffer") != std::string::npos) std::erase(plan.keep, shard.id);
            if (planned->drops_residents) continue;  // the planner would be asked under the residents first
            const bool takes = planner_takes(d, options, plan);
            EXPECT_EQ(takes, keeps_budgets(c.outcome.verdict));
            ++(takes ? taken : refused);
            if (c.outcome.verdict != Verdict::kBetter) continue;
            ++better;
            EXPECT_LT(d.accuracy.loss(plan.depth, plan.bits), planned->plan.predicted.loss);
          }
      }
    }
  EXPECT_GT(taken, 100);
  EXPECT_GT(refused, 100);
  EXPECT_GT(better, 0);
}

}  // namespace
}  // namespace tessera
