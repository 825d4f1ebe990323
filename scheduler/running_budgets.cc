// Keeps budgets by the time from which they are in force.
#include "scheduler/running_budgets.h"

#include <algorithm>

namespace tessera {
namespace {

Status check(const Budgets& budgets) {
  if (budgets.latency.ns >= 0 && budgets.memory.n >= 0 && budgets.preload.n >= 0) return {};
  return Error{ErrorCode::kInvalid, "changed budgets must not be negative: latency " + to_string(budgets.latency) +
                                        ", memory " + to_string(budgets.memory) + ", preload " + to_string(budgets.preload)};
}

bool earlier(const BudgetChange& a, const BudgetChange& b) { return a.after < b.after; }

}  // namespace

Status RunningBudgets::begin(const RequestOptions& options, Duration arrival) {
  for (const BudgetChange& change : options.budget_changes) {
    TESSERA_TRY(check(change.budgets));
    if (change.after.ns < 0)
      return Error{ErrorCode::kInvalid, "budgets that change " + to_string(change.after) + " after the arrival"};
  }
  const std::lock_guard lock(mutex_);
  runs_ = true;
  arrival_ = arrival;
  first_ = options.budgets;
  changes_ = options.budget_changes;
  std::stable_sort(changes_.begin(), changes_.end(), earlier);
  return {};
}

Budgets RunningBudgets::end(Duration latency) {
  const std::lock_guard lock(mutex_);
  runs_ = false;
  return at(latency);
}

Status RunningBudgets::change(const Budgets& budgets, Duration now) {
  TESSERA_TRY(check(budgets));
  const std::lock_guard lock(mutex_);
  if (!runs_) return Error{ErrorCode::kInvalid, "session: no request runs whose budgets could change"};
  const Duration after = listener_ != nullptr ? listener_->change_budgets(budgets) : std::max(Duration{}, now - arrival_);
  const BudgetChange change{after, budgets};
  changes_.insert(std::upper_bound(changes_.begin(), changes_.end(), change, earlier), change);
  return {};
}

Budgets RunningBudgets::now(Duration elapsed) const {
  const std::lock_guard lock(mutex_);
  return at(elapsed);
}

void RunningBudgets::listen(BudgetListener* listener, Duration elapsed) {
  const std::lock_guard lock(mutex_);
  listener_ = listener;
  if (listener_ == nullptr) return;
  const auto later = std::upper_bound(changes_.begin(), changes_.end(), BudgetChange{elapsed, {}}, earlier);
  listener_->begin(at(elapsed), {later, changes_.end()});
}

Budgets RunningBudgets::at(Duration elapsed) const {
  const auto later = std::upper_bound(changes_.begin(), changes_.end(), BudgetChange{elapsed, {}}, earlier);
  return later == changes_.begin() ? first_ : std::prev(later)->budgets;
}

}  // namespace tessera
