// Checks that each way in which a plan can be illegal is found and named.
#include "scheduler/plan_check.h"

#include <gtest/gtest.h>

#include "graph_cases.h"

namespace tessera {
namespace {

using testing::plain_plan;
using testing::plain_platform;
using testing::plain_shape;
using testing::PlainCosts;

// A request whose plan is legal until a test spoils something.
struct Fixture {
  ModelShape shape = plain_shape();
  AccuracyModel accuracy;
  Platform platform = plain_platform(2);
  PlainCosts costs;
  Residency residency;
  Budgets budgets;
  std::optional<int> depth, width;
  std::optional<Bits> bits;
  bool best_effort = false;
  Plan plan = plain_plan(shape, 2, 3, 4);

  Status check() const {
    const GraphReplay replay({shape, accuracy, platform, costs, residency, 0, 8, kUnlimited, shape.resident_bytes});
    const auto replayed = replay.replay_fully(plan);
    if (!replayed.ok()) return illegal_plan("p", replayed.error());
    PlanningView view{shape, accuracy, platform,    costs, replay, residency, budgets, {1}, 0,
                      8,     0,        best_effort, depth, width,  bits,      0.95,    {}};
    return check_plan(view, "p", plan, *replayed, {});
  }
  void expect_illegal(const std::string& part) const {
    const Status status = check();
    ASSERT_FALSE(status.ok()) << "expected: " << part;
    EXPECT_EQ(status.error().code, ErrorCode::kInternal);
    EXPECT_EQ(status.error().message.rfind("policy p: illegal plan: ", 0), 0u) << status.error().message;
    EXPECT_NE(status.error().message.find(part), std::string::npos) << status.error().message;
  }
};

TEST(PlanCheck, AcceptsALegalPlan) {
  const Status status = Fixture{}.check();
  EXPECT_TRUE(status.ok()) << status.error().message;
}

TEST(PlanCheck, RefusesDepthsAndWidthsThatTheModelDoesNotHave) {
  Fixture f;
  f.shape.depths = {1};
  f.expect_illegal("depth 2 is not one of the model's 1 legal depths");
  f = {};
  f.shape.widths = {2, 4};
  f.expect_illegal("layer 0: 3 slices are not a legal width");
}

TEST(PlanCheck, RefusesBitsThatTheStoreDoesNotHold) {
  Fixture f;
  f.shape.bitwidths = {2, 6};
  f.expect_illegal("layer 0 slice 0: 4 bits are not in the store");
}

TEST(PlanCheck, RefusesWhatTheRequestFixesOtherwise) {
  Fixture f;
  f.depth = 1;
  f.expect_illegal("depth 2; the request fixes 1");
  f = {};
  f.width = 4;
  f.expect_illegal("layer 0: 3 slices; the request fixes 4");
  f = {};
  f.bits = 2;
  f.expect_illegal("layer 0 slice 0: 4 bits; the request fixes 2");
}

TEST(PlanCheck, RefusesDevicesThatTheRequestMayNotUse) {
  Fixture f;
  f.plan.placement[1] = {{2, 0b111}};
  f.expect_illegal("layer 1: device cpu1 is not one that this request may compute on");
}

TEST(PlanCheck, RefusesToKeepMoreThanThePreloadBudget) {
  Fixture f;
  f.plan.keep = {{0, 0}, {0, 1}};
  f.budgets.preload = kib(16) * 2;
  EXPECT_TRUE(f.check().ok());
  f.budgets.preload = f.budgets.preload - Bytes{1};
  f.expect_illegal("keeps 32768 bytes in the preload buffer; its budget is 32767");
}

TEST(PlanCheck, AllowsToKeepWhatWasPreloadedBeforeTheRequest) {
  Fixture f;
  f.residency.shards = {{{0, 0}, 4, true, kib(400)}};
  f.plan = plain_plan(f.shape, 2, 3, 4, f.residency);
  f.plan.keep = {{0, 0}};
  const Status status = f.check();
  EXPECT_TRUE(status.ok()) << status.error().message;
}

TEST(PlanCheck, RefusesPlansBeyondTheirBudgets) {
  Fixture f;
  f.budgets.latency = microseconds(1);
  f.expect_illegal("predicted latency");
  f.expect_illegal("(1000 ns)");
  f.best_effort = true;
  EXPECT_TRUE(f.check().ok());
  f.budgets.memory = kib(20);
  f.expect_illegal("the memory budget is 20480");
}

TEST(PlanCheck, AcceptsAPlanThatMeetsItsBudgetsToTheByteAndTheNanosecond) {
  Fixture f;
  const GraphReplay replay(
      {f.shape, f.accuracy, f.platform, f.costs, f.residency, 0, 8, kUnlimited, f.shape.resident_bytes});
  const Prediction predicted = *replay.replay(f.plan);
  f.budgets = {predicted.latency, predicted.peak, {}};
  EXPECT_TRUE(f.check().ok());
  f.budgets.latency -= nanoseconds(1);
  f.expect_illegal("predicted latency");
  f.budgets = {predicted.latency, predicted.peak - Bytes{1}, {}};
  f.expect_illegal("predicted peak");
}

// A device that refuses exact weights.
class Picky final : public Backend {
 public:
  std::vector<DeviceDescription> describe() const override { return {}; }
  Support supports(int, const CostKey& key, const ModelShape&) const override {
    if (key.bits[bits_level(kExact)] > 0) return {false, "no exact weights"};
    return {};
  }
  Estimate estimate(int, const CostKey&, const ModelShape&) const override { return {}; }
  Result<Buffer> allocate(int, Bytes) override { return Buffer{}; }
  void release(Buffer&) override {}
  Result<Ticket> submit(int, const Task&, const Operands&) override { return kDone; }
  Status wait(int, Ticket, Duration) override { return {}; }
  Status transfer(int, MemoryRef, MemoryRef, Bytes) override { return {}; }
};

TEST(PlanCheck, RefusesTasksThatTheirDeviceDoesNotSupport) {
  Fixture f;
  f.plan = plain_plan(f.shape, 1, 2, kExact);
  const GraphReplay replay({f.shape, f.accuracy, f.platform, f.costs, f.residency, 0, 8, kUnlimited, {}});
  const auto replayed = replay.replay_fully(f.plan);
  ASSERT_TRUE(replayed.ok());
  PlanningView view{f.shape, f.accuracy, f.platform, f.costs, replay, f.residency, f.budgets, {1}, 0,
                    8,       0,          false,      {},      {},     {},          0.95,      {}};
  Picky picky;
  const Status status = check_plan(view, "p", f.plan, *replayed, {{&picky, 0}, {&picky, 1}});
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message,
            "policy p: illegal plan: load L0 32b [0-1]: device disk0 cannot run it: no exact weights");
  const Status unbound = check_plan(view, "p", f.plan, *replayed, {{&picky, 0}});
  ASSERT_FALSE(unbound.ok());
  EXPECT_NE(unbound.error().message.find("embed: device cpu0 has no backend"), std::string::npos) << unbound.error().message;
}

}  // namespace
}  // namespace tessera
