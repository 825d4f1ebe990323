// Runs random workloads of three models under every registered policy: what must hold whatever they decide. And how the
// accuracy of a sequence is counted.
#include "sequence_rig.h"

namespace tessera {
namespace {

using testing::at;
using testing::SequenceRig;

struct RandomWorkload : SequenceRig {
  RandomWorkload(uint64_t seed, const std::string& policy) : SequenceRig(3, 3, 4) {
    Arrivals& poisson = workload.apps[0].arrivals;
    poisson.kind = Arrivals::Kind::kPoisson;
    poisson.requests = 12;
    poisson.interval = microseconds(400);
    Arrivals& bursts = workload.apps[1].arrivals;
    bursts.kind = Arrivals::Kind::kBursts;
    bursts.requests = 12;
    bursts.interval = milliseconds(2);
    bursts.burst_least = 2;
    bursts.burst_most = 4;
    bursts.step_most = microseconds(100);
    Arrivals& regular = workload.apps[2].arrivals;
    regular.requests = 8;
    regular.interval = milliseconds(1);
    workload.apps[1].reclaimed_after = milliseconds(3);
    workload.hopeless = seed % 2 == 0 ? Workload::Hopeless::kDrop : Workload::Hopeless::kBestEffort;
    options.seed = seed;
    for (size_t a = 0; a < 3; ++a) {
      workload.apps[a].preloaded = a != 1;
      models[a].options.policy = policy;
      models[a].options.budgets.latency = microseconds(300 + 200 * static_cast<int64_t>(a));
      models[a].options.budgets.preload = kib(64);
      models[a].tokens = {8, 16};
    }
  }
};

std::vector<std::string> real_policies() {
  testing::register_all();
  std::vector<std::string> names;
  for (const auto& entry : policies().entries())
    if (entry.name != "scripted") names.push_back(entry.name);
  return names;
}

void expect_sound(const SequenceReport& report, Bytes memory, int64_t requests) {
  ASSERT_EQ(static_cast<int64_t>(report.served.size()), requests);
  EXPECT_LE(report.peak, memory);
  Duration free;
  int64_t missed = 0, dropped = 0;
  for (const Served& served : report.served) {
    EXPECT_EQ(served.start, std::max(served.arrival, free)) << "one at a time, and never idle while somebody waits";
    EXPECT_EQ(served.latency, served.end - served.arrival);
    EXPECT_LE(served.peak, memory);
    EXPECT_LE(served.planned_for, served.budget);
    if (served.start == served.arrival) { EXPECT_EQ(served.planned_for, served.budget); }
    if (served.answered && !served.infeasible) {
      EXPECT_FALSE(served.missed) << "a plan that was feasible keeps its deadline where nothing disturbs it";
      EXPECT_LE(served.end - served.start, served.planned_for);
    }
    EXPECT_EQ(served.answered, !served.ran.bits.empty());
    free = served.end;
    missed += served.missed;
    dropped += !served.answered;
  }
  EXPECT_EQ(report.missed, missed);
  EXPECT_EQ(report.dropped, dropped);
  EXPECT_EQ(report.ended, free);
}

TEST(SequenceProperty, MemoryHoldsForAllModelsTogetherUnderEveryPolicy) {
  for (const std::string& policy : real_policies()) {
    int64_t answered = 0, evicted = 0;
    for (uint64_t seed = 0; seed < 2; ++seed) {
      for (const Bytes memory : {kib(220), kib(420), mib(4)}) {
        SCOPED_TRACE(policy + ", seed " + std::to_string(seed) + ", " + to_string(memory));
        RandomWorkload rig(seed, policy);
        rig.options.memory = memory;
        const SequenceReport report = rig.run();
        expect_sound(report, memory, 32);
        answered += 32 - report.dropped;
        evicted += report.evicted.n;
      }
    }
    EXPECT_GT(answered, 40) << policy;
    // `preload` holds whole models: they must have given way to each other.
    if (policy == "preload") { EXPECT_GT(evicted, 0); }
  }
}

TEST(SequenceProperty, EqualSeedsGiveEqualReportsAndOthersDoNot) {
  const auto trace = [](uint64_t seed) {
    RandomWorkload rig(seed, "sti");
    rig.options.memory = kib(300);
    std::vector<std::tuple<int, int, int64_t, int64_t, int64_t, EffectivePlan>> out;
    for (const Served& served : rig.run().served)
      out.emplace_back(served.app, served.index, served.start.ns, served.end.ns, served.peak.n, served.ran);
    return out;
  };
  EXPECT_EQ(trace(3), trace(3));
  EXPECT_NE(trace(3), trace(4));
}

// Says that a plan of depth d is right on sentence s where s < d.
class DepthIsTruth final : public PlanEvaluator {
 public:
  Result<std::vector<std::shared_ptr<const Evaluation>>> evaluate(std::span<const EvaluationWanted> wanted) override {
    std::vector<std::shared_ptr<const Evaluation>> out;
    for (const EvaluationWanted& one : wanted) {
      auto evaluation = std::make_shared<Evaluation>();
      for (int s = 0; s < 4; ++s) evaluation->labels.push_back(s < one.plan.depth ? 1 : 0);
      asked += one.sentences.size();
      out.push_back(std::move(evaluation));
    }
    return out;
  }
  const std::vector<int>& labels() const override { return labels_; }
  const std::vector<int>& tokens() const override { return labels_; }
  std::string key(const EffectivePlan&) const override { return ""; }
  Counts counts() const override { return {}; }
  void release() override {}
  size_t asked = 0;

 private:
  std::vector<int> labels_ = {1, 1, 1, -1};
};

Served request(int app, int index, int depth) {
  Served served;
  served.app = app;
  served.index = index;
  served.sentence = index % 4;
  served.answered = depth > 0;
  served.ran.depth = depth;
  return served;
}

TEST(SequenceAccuracy, IsTheShareOfRightAnswersAmongThoseWithALabel) {
  // Sentences 0, 1, 2, 3 and 0 again; the second was dropped, the fourth has no label. Another app's do not count.
  const std::vector<Served> served = {request(0, 0, 1), request(1, 0, 1), request(0, 1, 0),
                                      request(0, 2, 2), request(0, 3, 2), request(0, 4, 1)};
  DepthIsTruth evaluator;
  const auto accuracy = sequence_accuracy(served, 0, evaluator);
  ASSERT_TRUE(accuracy.ok()) << accuracy.error().message;
  EXPECT_EQ(accuracy->outcome, (std::vector<int8_t>{1, 0, 0, -1, 1}));
  EXPECT_EQ(accuracy->examples, 4);
  EXPECT_EQ(accuracy->right, 2);
  EXPECT_DOUBLE_EQ(accuracy->share(), 0.5);
  EXPECT_EQ(evaluator.asked, 3u);  // what was dropped or has no label is not measured
}

TEST(SequenceAccuracy, RefusesAnotherDataSet) {
  const std::vector<Served> served = {request(0, 0, 1), request(0, 1, 1)};
  std::vector<Served> other = served;
  other[1].sentence = 4;
  DepthIsTruth evaluator;
  EXPECT_FALSE(sequence_accuracy(other, 0, evaluator).ok());
  EXPECT_EQ(sequence_accuracy(served, 2, evaluator)->examples, 0);
}

}  // namespace
}  // namespace tessera
