// Lets a policy revise the plan of one running request: tells it what happens, answers what it asks, makes its edits.
//
//   lanes: a task ends ─► queue ─► whoever is free asks the policy ─► draft ─► memory still granted? ─► executor: nothing of
//   changed budgets   ─►                                                      it started? rewrite it : refuse
//
// Who finds another thread asking the policy leaves the event there and goes on. However often budgets change, lanes get on.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "framework/executor.h"
#include "framework/policy.h"
#include "framework/replay.h"
#include "scheduler/plan_revision.h"
#include "scheduler/running_budgets.h"
#include "scheduler/session.h"

namespace tessera {

struct ReplanInputs {
  Policy& policy;
  const PlanningView& view;  // of the decision
  const PlannedRequest& planned;
  std::vector<Bytes> capacity, held;  // as in the run's RunLimits
  Duration setup;  // of the predictions: what the first load of rows carries (scheduler/request_margins.h)
  Duration setup_high;
  bool virtual_time = false;
  Duration arrival;              // by the wall clock, or
  Duration offset;               // in virtual time: from the arrival to the run's beginning
  Duration lead;                 // of a plan for what was left of a request: from the arrival to its decision
  std::optional<DeviceId> lost;  // of such a plan: who failed
};

// One run's; outlives it and its binder. RunWatch and BudgetListener from the threads that they name; plan() and graph()
// are the run's, from its start to its end; the rest before or after the run.
class Replanner final : public RunWatch, public PlanEditor, public BudgetListener {
 public:
  explicit Replanner(ReplanInputs inputs);

  const std::vector<Revision>& revisions() const { return revisions_; }
  // As it was run, with what would have been predicted for it.
  Result<PlannedRequest> executed() const;

  void began(RunControl& control) override;
  void started(const Task& task, Duration now) override;
  void ended(const Task& task, const TaskTiming& timing) override;
  void finished() override;
  Duration next_alarm() override;
  void alarm(Duration now) override;

  void begin(const Budgets& budgets, const std::vector<BudgetChange>& later) override;
  Duration change_budgets(const Budgets& budgets) override;

  const PlanningView& view() const override { return in_.view; }
  const Plan& plan() const override { return plan_; }
  const TaskGraph& graph() const override { return graph_; }
  std::vector<PendingLoad> pending() const override;
  std::vector<RunningTask> running() const override;
  Pace pace() const override;
  Result<Forecast> forecast(std::span<const ShardEdit> edits, double quantile, const Pace& pace) const override;
  Status revise(std::span<const ShardEdit> edits, std::string_view why) override;

 private:
  struct Queued {
    Event::Kind kind = Event::Kind::kTaskEnded;
    TaskId task = kNoTask;
    TaskTiming timing;
    Duration now;  // since the run began
  };
  struct Sums {
    int64_t measured = 0, expected = 0;  // ns
  };
  void raise_due(Duration now);                             // under mutex_
  void add_to_pace(const Task& task, const TaskTiming& t);  // under mutex_
  void queue_budgets(Duration now);                         // under mutex_
  void deliver();
  Event event_of(const Queued& queued) const;  // under mutex_
  void settle_memory();
  std::vector<Bytes> wanted_capacity() const;
  std::vector<Bytes> usable_capacity() const;
  Budgets budgets() const;
  Duration duration(const Task& task, double quantile) const;
  RunProgress progress() const;
  Status check_waiting(const PlanDraft& draft) const;
  Result<Timeline> rest(const RunProgress& at, const PlanDraft* draft, const std::vector<Bytes>& capacity, double quantile,
                        const Pace& pace) const;
  std::vector<Revision> revisions_of(const PlanDraft& draft, std::string_view why) const;

  const ReplanInputs in_;
  Plan plan_;                  // written by the policy's turn only, under the executor's lock
  TaskGraph graph_;            // likewise
  mutable TaskGraph what_if_;  // of the policy's turn
  PlanRevision revision_;
  std::vector<Bytes> capacity_;  // in force; of the policy's turn
  Bytes most_;                   // of the host's memory that was in force
  std::vector<Revision> revisions_;

  mutable std::mutex mutex_;  // guards all below; never held while the policy is asked or the run is changed
  std::condition_variable idle_;
  RunControl* control_ = nullptr;
  Duration offset_;  // from the arrival to the run's beginning
  Duration last_;    // when something last started or ended
  RunProgress progress_;
  Sums loads_, computes_;
  int open_loads_ = 0;  // of shards, that have not ended
  Budgets budgets_;
  std::vector<BudgetChange> changes_;  // still to come
  size_t next_change_ = 0;
  std::deque<Queued> queue_;
  bool delivering_ = false;
};

}  // namespace tessera
