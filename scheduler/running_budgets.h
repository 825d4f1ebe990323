// Keeps the budgets of the running request, which may change from any thread while it runs.
#pragma once

#include <mutex>
#include <vector>

#include "framework/units.h"
#include "scheduler/session.h"

namespace tessera {

// Whoever re-plans the running request, and so wants to know of changed budgets.
class BudgetListener {
 public:
  virtual ~BudgetListener() = default;
  // First: what is in force, and what is to come, in order of time.
  virtual void begin(const Budgets& budgets, const std::vector<BudgetChange>& later) = 0;
  // How long after the arrival that was.
  virtual Duration change_budgets(const Budgets& budgets) = 0;
};

// A session's. begin and end from the session's thread, around each request; change from any.
class RunningBudgets {
 public:
  // kInvalid for budgets that are negative, or change before the arrival.
  Status begin(const RequestOptions& options, Duration arrival);
  // The budgets in force `latency` after the arrival. From now on nothing runs.
  Budgets end(Duration latency);
  // kInvalid where nothing runs. `now`: as `arrival` (where somebody listens, that one says what time it is).
  Status change(const Budgets& budgets, Duration now);
  // In force `elapsed` after the arrival.
  Budgets now(Duration elapsed) const;
  // From now on (nullptr: no longer) changes go to the listener, too. When this returns, no call of the former is under way.
  void listen(BudgetListener* listener, Duration elapsed);

 private:
  Budgets at(Duration elapsed) const;
  mutable std::mutex mutex_;  // guards all below; held while the listener is called
  bool runs_ = false;
  Duration arrival_;
  Budgets first_;
  std::vector<BudgetChange> changes_;  // in order of time
  BudgetListener* listener_ = nullptr;
};

}  // namespace tessera
