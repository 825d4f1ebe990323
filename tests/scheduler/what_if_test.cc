// Plans again under other budgets: the steps that are found are steps, and the least ones.
#include <gmock/gmock.h>

#include "described_session.h"

namespace tessera {
namespace {

using testing::DescribedSession;
using testing::plain_plan;
using testing::plain_shape;
using testing::Script;
using testing::script_plain;
using testing::scripted;

constexpr Duration kPatience = milliseconds(60'000);

BudgetProbe probe_for(DescribedSession& d, const RequestOptions& options) { return d.probe(options).take(); }

Decision too_little() { return Infeasible{milliseconds(1), mib(1), milliseconds(1), mib(1), "too little"}; }

// More bits from 200 us and 4 MiB on; infeasible below 110 us or 1 MiB.
void script_steps() {
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    if (view.budgets.latency < microseconds(110) || view.budgets.memory < mib(1)) return too_little();
    const bool more = view.budgets.latency >= microseconds(200) && view.budgets.memory >= mib(4);
    return Decision{plain_plan(view.shape, 2, 4, more ? 4 : 2, view.residency)};
  };
}

RequestOptions options_of(Duration latency, Bytes memory) {
  RequestOptions options = scripted();
  options.budgets.latency = latency;
  options.budgets.memory = memory;
  return options;
}

TEST(WhatIf, DecidesAsTheSessionDoes) {
  for (const auto& entry : policies().entries()) {
    DescribedSession d(plain_shape(3, 4));
    if (entry.name == "scripted") continue;
    RequestOptions options;
    options.policy = entry.name;
    options.budgets = {microseconds(300), kib(500), kib(64)};
    const auto own = d.plan(options);
    BudgetProbe probe = probe_for(d, options);
    EXPECT_EQ(own->infeasible.has_value(), probe.now()->infeasible.has_value()) << entry.name;
    if (own->infeasible) continue;
    EXPECT_EQ(own->plan.bits, probe.now()->plan.bits) << entry.name;
    EXPECT_EQ(own->plan.predicted.latency, probe.now()->plan.predicted.latency) << entry.name;
    EXPECT_EQ(own->plan.predicted.peak, probe.now()->plan.predicted.peak) << entry.name;
  }
}

TEST(WhatIf, FindsTheLeastLatencyThatBuysSomething) {
  DescribedSession d(plain_shape(2, 4));
  script_steps();
  BudgetProbe probe = probe_for(d, options_of(microseconds(150), mib(8)));
  const auto price = shadow_price(probe, BudgetKind::kLatency, kPatience);
  ASSERT_TRUE(price.ok() && price->has_value() && (*price)->more);
  const BudgetStep& step = *(*price)->more;
  EXPECT_GE(step.by, microseconds(50).ns);
  EXPECT_LE(step.by, microseconds(51).ns);
  EXPECT_LT(step.by - step.within, microseconds(50).ns);
  ASSERT_TRUE(step.loss_change);
  EXPECT_LT(step.loss_change->n, 0);
  EXPECT_TRUE((*price)->in_full);
}

TEST(WhatIf, FindsTheLeastDecreaseThatCosts) {
  DescribedSession d(plain_shape(2, 4));
  script_steps();
  BudgetProbe probe = probe_for(d, options_of(microseconds(250), mib(8)));
  const auto price = shadow_price(probe, BudgetKind::kLatency, kPatience);
  ASSERT_TRUE(price.ok() && (*price)->less);
  EXPECT_FALSE((*price)->more);  // whatever the latency is
  EXPECT_GT((*price)->less->by, microseconds(50).ns);
  EXPECT_LE((*price)->less->by, microseconds(51).ns + 500);
  EXPECT_GT((*price)->less->loss_change->n, 0);
  const auto memory = shadow_price(probe, BudgetKind::kMemory, kPatience);
  ASSERT_TRUE(memory.ok() && (*memory)->less);
  EXPECT_NEAR(static_cast<double>((*memory)->less->by), static_cast<double>(mib(4).n), static_cast<double>(mib(4).n) / 50);
}

TEST(WhatIf, TellsFromWhereAnInfeasibleRequestIsFeasible) {
  DescribedSession d(plain_shape(2, 4));
  script_steps();
  BudgetProbe probe = probe_for(d, options_of(microseconds(10), mib(8)));
  ASSERT_TRUE(probe.now()->infeasible);
  const auto price = shadow_price(probe, BudgetKind::kLatency, kPatience);
  ASSERT_TRUE(price.ok() && (*price)->more);
  EXPECT_GE((*price)->more->by, microseconds(100).ns);
  EXPECT_LE((*price)->more->by, microseconds(101).ns);
  EXPECT_FALSE((*price)->more->loss_change);
  EXPECT_FALSE((*price)->less);
}

TEST(WhatIf, SaysWhereMoreBudgetHurts) {
  DescribedSession d(plain_shape(2, 4));
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    if (view.budgets.latency < microseconds(110)) return too_little();
    const bool worse = view.budgets.latency >= microseconds(200) && view.budgets.latency < microseconds(900);
    return Decision{plain_plan(view.shape, 2, 4, worse ? 2 : 4, view.residency)};
  };
  BudgetProbe probe = probe_for(d, options_of(microseconds(150), mib(8)));
  const auto price = shadow_price(probe, BudgetKind::kLatency, kPatience);
  ASSERT_TRUE(price.ok() && (*price)->hurts);
  EXPECT_GT((*price)->hurts->loss_change->n, 0);
}

TEST(WhatIf, EndsWithoutPatience) {
  DescribedSession d(plain_shape(2, 4));
  script_steps();
  BudgetProbe probe = probe_for(d, options_of(microseconds(150), mib(8)));
  const auto price = shadow_price(probe, BudgetKind::kLatency, Duration{});
  ASSERT_TRUE(price.ok() && price->has_value());
  EXPECT_FALSE((*price)->in_full);
  EXPECT_FALSE((*price)->more);
  EXPECT_EQ(probe.replans(), 1);
}

TEST(WhatIf, HasNoPriceForWhatIsUnlimited) {
  DescribedSession d(plain_shape(2, 4));
  script_plain(2, 4, 2);
  BudgetProbe probe = probe_for(d, options_of(kForever, kUnlimited));
  for (const BudgetKind kind : {BudgetKind::kLatency, BudgetKind::kMemory}) {
    const auto price = shadow_price(probe, kind, kPatience);
    ASSERT_TRUE(price.ok());
    EXPECT_FALSE(price->has_value());
  }
}

TEST(WhatIf, ListsWhatChanges) {
  const ModelShape shape = plain_shape(3, 2);
  const Plan from = plain_plan(shape, 2, 2, 2);
  Plan to = plain_plan(shape, 3, 1, 2);
  to.bits[0] = 6;
  const std::vector<ShardChange> list = changes(from, to);
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list[0].to, 6);                // 0.0
  EXPECT_EQ(list[1].to, kAbsent);          // 0.1
  EXPECT_EQ(list[2].id, (ShardId{1, 1}));  // 1.1 is gone
  EXPECT_EQ(list[3].id, (ShardId{2, 0}));  // 2.0 is new
  EXPECT_EQ(list[3].from, kAbsent);
}

TEST(WhatIf, EveryPolicysStepsAreStepsOfItsPlans) {
  for (const auto& entry : policies().entries()) {
    if (entry.name == "scripted") continue;
    SCOPED_TRACE(entry.name);
    DescribedSession d(plain_shape(2, 3));
    RequestOptions options;
    options.policy = entry.name;
    options.budgets = {microseconds(130), kib(400), {}};
    BudgetProbe probe = probe_for(d, options);
    const auto price = shadow_price(probe, BudgetKind::kLatency, kPatience);
    ASSERT_TRUE(price.ok()) << price.error().message;
    if (!(*price)->more) continue;
    Budgets budgets = options.budgets;
    budgets.latency.ns += (*price)->more->by;
    const auto again = probe.under(budgets);
    ASSERT_TRUE(again.ok() && !(*again)->infeasible);
    if (!probe.now()->infeasible) { EXPECT_LT((*again)->plan.predicted.loss, probe.now()->plan.predicted.loss); }
  }
}

}  // namespace
}  // namespace tessera
