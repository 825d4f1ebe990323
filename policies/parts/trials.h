// Tries candidates: replays them under a residency and holds them against the budgets.
#pragma once

#include <optional>

#include "framework/policy.h"

namespace tessera {

// Lives as long as one decision. `residency` is the view's own, or what would be resident.
class Trials {
 public:
  Trials(const PlanningView& view, const Residency& residency) : view_(view), residency_(residency) {}

  // Whether the plan's replay keeps both budgets; its prediction is then in plan.predicted.
  bool fits(Plan& plan);
  // Under the given memory; nothing where the plan can never run in it.
  std::optional<Prediction> replay(const Plan& plan, Bytes memory);
  // The first error that is no matter of budgets: a bug of the policy, to be returned as such.
  const Status& status() const { return status_; }
  int count() const { return count_; }
  const PlanningView& view() const { return view_; }
  const Residency& residency() const { return residency_; }

 private:
  const PlanningView& view_;
  const Residency& residency_;
  Status status_;
  int count_ = 0;
};

}  // namespace tessera
