// Runs described machines in virtual time: the answer is exactly the prediction, and the same on every machine.
#include "session_rig.h"

namespace tessera {
namespace {

using testing::plain_plan;
using testing::Script;
using testing::script_plain;
using testing::scripted;

// A described model on a described machine; costs are round numbers.
struct Described {
  explicit Described(int cpus = 1) {
    testing::register_all();
    shape = testing::plain_shape(6, 12);
    accuracy = random_importance(shape, 1);
    machine.platform = testing::plain_platform(cpus);
    machine.virtual_time = true;
    machine.costs = std::make_shared<CostBook>();
    for (int d = 0; d <= cpus; ++d)
      machine.costs->set_guess(static_cast<DeviceId>(d),
                               [costs = testing::PlainCosts()](const CostKey& key) { return costs.estimate(key); });
    session = Session::open(shape, nullptr, accuracy, machine, {}).take();
  }
  Result<Answer> run(const RequestOptions& options, int tokens = 8) {
    return session->run(options, std::vector<int32_t>(tokens, 2), std::vector<int32_t>(tokens, 0));
  }
  ModelShape shape;
  AccuracyModel accuracy;
  Machine machine;
  std::unique_ptr<Session> session;
};

TEST(SessionVirtual, TakesExactlyAsLongAndAsManyBytesAsPredicted) {
  Described d;
  script_plain(6, 12, 6);
  const auto answer = d.run(scripted());
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  const Prediction& predicted = answer->planned->plan.predicted;
  EXPECT_EQ(answer->latency, predicted.latency);
  EXPECT_EQ(answer->peak, predicted.peak);
  EXPECT_EQ(answer->io, predicted.io);
  // Loads take a microsecond a page: 9 of rows, 6 layers of 72, 2 of the exit head; the last layer computes 120 us more,
  // and each layer before it.
  EXPECT_EQ(answer->latency, microseconds(9 + 72 + 6 * 120));
  EXPECT_TRUE(answer->logits.empty());
}

TEST(SessionVirtual, KeepsWhatTheRealSessionWouldKeep) {
  Described d;
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 3, 4, view.residency);
    plan.keep = {{1, 2}, {0, 0}};
    return Decision{plan};
  };
  RequestOptions options = scripted();
  options.budgets.preload = mib(1);
  const auto cold = d.run(options);
  ASSERT_TRUE(cold.ok()) << cold.error().message;
  EXPECT_EQ(d.session->held(), d.shape.resident_bytes + kib(16) * 2 + kib(8));
  const auto warm = d.run(options);
  ASSERT_TRUE(warm.ok());
  EXPECT_EQ(cold->io - warm->io, kib(16) * 2 + kib(8));
}

TEST(SessionVirtual, RunsEveryRegisteredPolicyWithinItsBudgetsOrSaysWhatWouldWork) {
  Described d(2);
  int feasible = 0, infeasible = 0;
  for (const auto& entry : policies().entries()) {
    if (entry.name == "scripted") continue;
    for (const Duration latency : {microseconds(20), milliseconds(1), milliseconds(3)})
      for (const Bytes memory : {kib(40), kib(600), mib(16)}) {
        SCOPED_TRACE(entry.name + " under " + to_string(latency) + " and " + to_string(memory));
        RequestOptions options;
        options.policy = entry.name;
        options.budgets = {latency, memory, memory < mib(1) ? Bytes{} : kib(256)};
        const Status preloaded = d.session->preload(options, 8);
        ASSERT_TRUE(preloaded.ok()) << preloaded.error().message;
        const auto answer = d.run(options);
        ASSERT_TRUE(answer.ok()) << answer.error().message;
        if (answer->planned->infeasible) {
          ++infeasible;
          continue;
        }
        ++feasible;
        EXPECT_LE(answer->latency, latency);
        EXPECT_LE(answer->peak, memory);
        EXPECT_EQ(answer->latency, answer->planned->plan.predicted.latency);
      }
  }
  EXPECT_GT(feasible, 5);
  EXPECT_GT(infeasible, 5);
}

}  // namespace
}  // namespace tessera
