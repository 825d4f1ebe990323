// A described model on a described machine, in virtual time, with round costs; asked, explained and re-planned by tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "scheduler/explain.h"
#include "scheduler/what_if.h"
#include "session_rig.h"

namespace tessera::testing {

// One microsecond a page loaded, ten a slice computed (PlainCosts); requests have 8 tokens, whose rows take 9 pages.
struct DescribedSession {
  explicit DescribedSession(ModelShape made, int cpus = 1, uint64_t seed = 1) : shape(std::move(made)) {
    register_all();
    accuracy = random_importance(shape, seed);
    machine.platform = plain_platform(cpus);
    machine.virtual_time = true;
    machine.costs = std::make_shared<CostBook>();
    for (int d = 0; d <= cpus; ++d)
      machine.costs->set_guess(static_cast<DeviceId>(d),
                               [costs = PlainCosts()](const CostKey& key) { return costs.estimate(key); });
    session = Session::open(shape, nullptr, accuracy, machine, {}).take();
  }
  std::shared_ptr<const PlannedRequest> plan(const RequestOptions& options) {
    EXPECT_TRUE(session->preload(options, kTokens).ok());
    auto planned = session->plan(options, kTokens);
    if (!planned.ok()) {
      ADD_FAILURE() << planned.error().message;
      return nullptr;
    }
    return planned.take();
  }
  PlanExplanation explain(const RequestOptions& options, const PlannedRequest& planned, ExplainScope scope = {}) {
    const SessionPlanner planner = SessionPlanner::create(shape, accuracy, machine, shape.resident_bytes).take();
    auto out = explain_plan({planner, options, kTokens, session->residency()}, planned, scope);
    if (!out.ok()) ADD_FAILURE() << out.error().message;
    return out.ok() ? out.take() : PlanExplanation{};
  }
  Result<BudgetProbe> probe(const RequestOptions& options) {
    return BudgetProbe::create(shape, accuracy, machine, shape.resident_bytes, options, kTokens);
  }
  static constexpr int kTokens = 8;
  ModelShape shape;
  AccuracyModel accuracy;
  Machine machine;
  std::unique_ptr<Session> session;
};

}  // namespace tessera::testing
