// What a policy learns of a running request, what it may ask, and how it changes what has not been loaded yet.
//
// Life, for a policy whose replans(knobs) is true (docs/design.md, "Re-planning in flight"), request by request:
//   kBegan          first: the plan, decided now or reused, is about to run
//   kDeviceLost     instead, where a device failed and others go on with what is left of the request: with the new plan,
//                   before its first task
//   kTaskEnded      after each task that ended well, up to the end of the last load of shards: nothing can be changed then
//   kBudgetChanged  when Session::change_budgets() was called, or RequestOptions::budget_changes came due
// A request without loads of shards has no events. None of them comes during decide() or preload().
// Threads: a lane's, or that of change_budgets()' caller; one call at a time for a policy object, each sees what the one
// before wrote. Other lanes go on meanwhile; events that come during a call follow it, on the same thread. The lane that
// calls starts nothing until the call returns: be quick. In virtual time a call takes no time, and it comes after all that
// ends at its instant and before anything starts there; equal requests get equal events. The editor is valid during the call
// only.
//
// What can be changed: a shard of the plan that a load brings, while neither that load (nor the transfer behind it) nor any
// task that computes with the shard has started. So: not residents, not what was loaded, nor depth, placement, order, keep.
// A shard that was left out stays out. The graph keeps its tasks and their order; a load that has nothing left to bring
// takes no time and no memory.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "framework/plan.h"
#include "framework/result.h"
#include "framework/task_graph.h"

namespace tessera {

struct PlanningView;

struct Event {
  enum class Kind { kBegan, kTaskEnded, kDeviceLost, kBudgetChanged } kind = Kind::kTaskEnded;
  Duration now;     // since the request's arrival: when it happened
  Budgets budgets;  // in force now
  // Of kTaskEnded, all times since the arrival; of an earlier attempt's plan nothing is told. The task is
  // editor.graph().task(task).
  TaskId task = kNoTask;
  Duration started;
  Duration predicted_end;  // the decided plan's timeline, at its quantile
  Duration expected_end;   // the same at the middle of the cost models
  Duration planned;        // how long the task as it was run should have taken, at the plan's quantile
  Duration expected;       // and at the middle
  // Of kDeviceLost.
  std::optional<DeviceId> device;
};

// One shard to other bits; kAbsent: it is left out.
struct ShardEdit {
  ShardId shard;
  Bits bits = kAbsent;
};

// A load of shards that can still be changed, as it stands. One layer's; the slices' bits are those of plan().
struct PendingLoad {
  TaskId task = kNoTask;
  int16_t layer = 0;
  SliceMask slices = 0;
  Bytes bytes;
  Duration planned, expected;  // at the plan's quantile, and at the middle
};

// A task that has started and not ended.
struct RunningTask {
  TaskId task = kNoTask;
  Duration started;  // since the arrival
};

// How tasks go against the middle of the cost models, in millionths: 1,300,000 is 30 % slower.
struct Pace {
  int64_t loads = 1'000'000;  // of loads and transfers
  int64_t computes = 1'000'000;
};

struct Forecast {
  Duration end;        // logits, since the arrival
  Duration loads_end;  // the last load of shards, since the arrival
  Bytes peak;          // of the host's memory, from now on
  Bytes io;            // bytes that have not begun to be loaded
  Micro loss;          // of the whole plan
  bool loss_known = false;
};

// Valid during one on_event(). Nothing here blocks but revise(), which may wait a moment for other lanes to start or end a
// task.
class PlanEditor {
 public:
  virtual ~PlanEditor() = default;

  // What the plan was decided from: shape, accuracy, costs, knobs, ... Its budgets, residency and replay are those of the
  // start; Event::budgets are in force.
  virtual const PlanningView& view() const = 0;
  // As revised so far; `predicted` is the decided plan's, `explain` is empty.
  virtual const Plan& plan() const = 0;
  // The tasks of plan(), as revised: cost keys, estimates, bytes.
  virtual const TaskGraph& graph() const = 0;
  // In the order of issue. A lane may start one of them right after: revise() has the last word.
  virtual std::vector<PendingLoad> pending() const = 0;
  virtual std::vector<RunningTask> running() const = 0;
  // Measured over expected, summed over the tasks of the request that have ended; a million before the first.
  virtual Pace pace() const = 0;

  // When the rest would end if `edits` were made (none: as it stands), each task that has not ended taking its estimate at
  // `quantile` times `pace`; by the replay's recurrence, memory included: about a microsecond a task. kInvalid: revise()
  // would refuse the edits; kInfeasible: for want of memory.
  virtual Result<Forecast> forecast(std::span<const ShardEdit> edits, double quantile, const Pace& pace) const = 0;
  // Makes all of the edits or none. An error says why not, and nothing has changed then. kInvalid: not a legal plan (width,
  // bits that the store or the request does not have, a part without slices, more kept than the preload budget), or too
  // late: something has started. kInfeasible: the reservations of the rest might not all be granted. `why`: shown to the
  // user.
  virtual Status revise(std::span<const ShardEdit> edits, std::string_view why) = 0;

  // One shard: whether it could be done.
  bool set_bits(ShardId shard, Bits bits, std::string_view why = {}) { return change({shard, bits}, why); }
  bool drop(ShardId shard, std::string_view why = {}) { return change({shard, kAbsent}, why); }

 private:
  bool change(const ShardEdit& edit, std::string_view why) { return revise({&edit, 1}, why).ok(); }
};

}  // namespace tessera
