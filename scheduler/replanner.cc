// Queues what happens for the policy, and makes its edits where nothing that they touch has started.
#include "scheduler/replanner.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "framework/clock.h"
#include "framework/saturating.h"
#include "scheduler/plan_replay.h"

namespace tessera {
namespace {

constexpr int64_t kMillion = 1'000'000;
constexpr int kMostChanges = 8;  // of budgets, that one thread tells the policy of in one turn

// Of nanoseconds, saturating.
int64_t times_ppm(int64_t ns, int64_t ppm) {
  const __int128 scaled = static_cast<__int128>(ns) * ppm / kMillion;
  return static_cast<int64_t>(std::min<__int128>(scaled, kForever.ns));
}

bool is_shard_load(const Task& task) { return task.cost.op == Op::kLoadShards; }

Plan without_reasons(Plan plan) {
  plan.explain.clear();
  return plan;
}

}  // namespace

Replanner::Replanner(ReplanInputs inputs)
    : in_(std::move(inputs)),
      plan_(without_reasons(in_.planned.plan)),
      graph_(in_.planned.graph),
      what_if_(graph_),
      revision_(in_.view, in_.planned.buffers, plan_, graph_),
      capacity_(in_.capacity),
      most_(in_.capacity[0]),
      budgets_(in_.view.budgets) {
  progress_.start.assign(graph_.size(), kForever);
  progress_.end.assign(graph_.size(), kForever);
  for (const Task& task : graph_.tasks()) open_loads_ += is_shard_load(task) ? 1 : 0;
}

void Replanner::begin(const Budgets& budgets, const std::vector<BudgetChange>& later) {
  const std::lock_guard lock(mutex_);
  budgets_ = budgets;
  changes_ = later;
  next_change_ = 0;
}

// ---- what happens

void Replanner::began(RunControl& control) {
  {
    const std::lock_guard lock(mutex_);
    control_ = &control;
    offset_ = in_.virtual_time ? in_.offset : WallClock::instance().now() - in_.arrival;
    const bool changed = budgets_.latency != in_.view.budgets.latency || budgets_.memory != in_.view.budgets.memory ||
                         budgets_.preload != in_.view.budgets.preload;
    queue_.clear();  // of changes before the run
    if (open_loads_ == 0) return;
    queue_.push_back({in_.lost ? Event::Kind::kDeviceLost : Event::Kind::kBegan, kNoTask, {}, {}});
    if (changed) queue_budgets({});
    raise_due({});
  }
  deliver();
}

void Replanner::started(const Task& task, Duration now) {
  const std::lock_guard lock(mutex_);
  progress_.start[task.id] = last_ = now;
}

void Replanner::ended(const Task& task, const TaskTiming& timing) {
  {
    const std::lock_guard lock(mutex_);
    progress_.end[task.id] = last_ = timing.end;
    const bool open = open_loads_ > 0;
    if (is_shard_load(task)) --open_loads_;
    if (timing.state == TaskState::kDone && !task.empty) {
      add_to_pace(task, timing);
      if (open) queue_.push_back({Event::Kind::kTaskEnded, task.id, timing, timing.end});
    }
    if (!in_.virtual_time) raise_due(timing.end);
    if (queue_.empty()) return;
  }
  deliver();
}

void Replanner::finished() {
  std::unique_lock lock(mutex_);
  queue_.clear();
  open_loads_ = 0;  // changes of budgets are not told any more
  idle_.wait(lock, [this] { return !delivering_; });
  control_ = nullptr;
}

Duration Replanner::next_alarm() {
  const std::lock_guard lock(mutex_);
  if (!queue_.empty()) return {};  // another thread changed the budgets
  return next_change_ < changes_.size() ? changes_[next_change_].after - offset_ : kForever;
}

void Replanner::alarm(Duration now) {
  {
    const std::lock_guard lock(mutex_);
    raise_due(now);
  }
  deliver();
}

Duration Replanner::change_budgets(const Budgets& budgets) {
  Duration now;
  {
    const std::lock_guard lock(mutex_);
    budgets_ = budgets;
    if (control_ == nullptr) return in_.lead;
    now = in_.virtual_time ? last_ : control_->now();
    queue_budgets(now);
  }
  if (!in_.virtual_time) deliver();  // else the executor's thread does: next_alarm()
  return offset_ + now;
}

void Replanner::raise_due(Duration now) {
  bool any = false;
  for (; next_change_ < changes_.size() && changes_[next_change_].after <= offset_ + now; ++next_change_) {
    budgets_ = changes_[next_change_].budgets;
    any = true;
  }
  if (any) queue_budgets(now);
}

// One that waits tells of later changes, too: it is told with what is in force then.
void Replanner::queue_budgets(Duration now) {
  const auto tells = [](const Queued& queued) { return queued.kind == Event::Kind::kBudgetChanged; };
  if (open_loads_ > 0 && std::none_of(queue_.begin(), queue_.end(), tells))
    queue_.push_back({Event::Kind::kBudgetChanged, kNoTask, {}, now});
}

void Replanner::add_to_pace(const Task& task, const TaskTiming& timing) {
  Sums& sums = task.kind == TaskKind::kCompute ? computes_ : loads_;
  sums.measured += (timing.end - timing.start).ns;
  sums.expected += duration(task, 0.5).ns;
}

// Asks the policy about what is queued, unless another thread is at it: that one takes ours, too. Who asks gets back to its
// tasks however often budgets change: what is left over waits for the next task that ends.
void Replanner::deliver() {
  std::unique_lock lock(mutex_);
  if (delivering_ || control_ == nullptr) return;
  delivering_ = true;
  for (int changes = 0; !queue_.empty();) {
    const Event event = event_of(queue_.front());
    if (event.kind == Event::Kind::kBudgetChanged && ++changes > kMostChanges) break;
    queue_.pop_front();
    lock.unlock();
    if (event.kind != Event::Kind::kTaskEnded) settle_memory();
    in_.policy.on_event(event, *this);
    settle_memory();
    lock.lock();
  }
  delivering_ = false;
  idle_.notify_all();
}

Event Replanner::event_of(const Queued& queued) const {
  Event event;
  event.kind = queued.kind;
  event.now = offset_ + queued.now;
  event.budgets = budgets_;
  if (queued.kind == Event::Kind::kDeviceLost) event.device = in_.lost;
  if (queued.kind != Event::Kind::kTaskEnded) return event;
  const Task& task = graph_.task(queued.task);
  event.task = queued.task;
  event.started = offset_ + queued.timing.start;
  event.predicted_end = in_.lead + in_.planned.timeline.end[queued.task];
  event.expected_end = in_.lead + in_.planned.expected[queued.task];
  event.planned = duration(task, plan_.quantile);
  event.expected = duration(task, 0.5);
  return event;
}

Budgets Replanner::budgets() const {
  const std::lock_guard lock(mutex_);
  return budgets_;
}

// ---- memory

std::vector<Bytes> Replanner::wanted_capacity() const {
  std::vector<Bytes> wanted = capacity_;
  wanted[0] = memory_capacities(in_.view.platform, budgets().memory)[0];
  return wanted;
}

// That edits may count on: what has come but is not in force yet may go again.
std::vector<Bytes> Replanner::usable_capacity() const {
  std::vector<Bytes> usable = wanted_capacity();
  usable[0] = std::min(usable[0], capacity_[0]);
  return usable;
}

// More is there at once; less, where the rest can do with it.
void Replanner::settle_memory() {
  const std::vector<Bytes> wanted = wanted_capacity();
  if (wanted[0] == capacity_[0]) return;
  if (wanted[0] < capacity_[0] && !rest(progress(), nullptr, wanted, 0.5, {}).ok()) return;
  capacity_ = wanted;
  most_ = std::max(most_, wanted[0]);
  control_->set_capacity(0, wanted[0]);
}

// ---- what is, and what would be

// Without what the first load carries of the time before the run.
Duration Replanner::duration(const Task& task, double quantile) const {
  if (task.empty) return {};
  const Duration whole = std::max(Duration{}, task.estimate.at(quantile));
  if (task.cost.op != Op::kLoadRows) return whole;
  return std::max(Duration{}, whole - (quantile > 0.5 ? in_.setup_high : in_.setup));
}

RunProgress Replanner::progress() const {
  const std::lock_guard lock(mutex_);
  RunProgress out = progress_;
  out.now = control_->now();
  return out;
}

std::vector<PendingLoad> Replanner::pending() const {
  const RunProgress at = progress();
  std::vector<PendingLoad> out;
  for (const Task& task : graph_.tasks()) {
    if (!is_shard_load(task) || task.empty || at.start[task.id] != kForever) continue;
    out.push_back(
        {task.id, task.layer, task.slice_set, {task.cost.bytes}, duration(task, plan_.quantile), duration(task, 0.5)});
  }
  return out;
}

std::vector<RunningTask> Replanner::running() const {
  const RunProgress at = progress();
  std::vector<RunningTask> out;
  for (TaskId id = 0; id < graph_.size(); ++id)
    if (at.start[id] != kForever && at.end[id] == kForever) out.push_back({id, offset_ + at.start[id]});
  return out;
}

Pace Replanner::pace() const {
  const std::lock_guard lock(mutex_);
  const auto ratio = [](const Sums& sums) {
    return sums.expected > 0 ? static_cast<int64_t>(static_cast<__int128>(sums.measured) * kMillion / sums.expected)
                             : kMillion;
  };
  return {ratio(loads_), ratio(computes_)};
}

// The replay of what has not ended, with the draft's tasks where there is one.
Result<Timeline> Replanner::rest(const RunProgress& at, const PlanDraft* draft, const std::vector<Bytes>& capacity,
                                 double quantile, const Pace& pace) const {
  const auto put = [&](Task task) {
    const int64_t ppm = task.kind == TaskKind::kCompute ? pace.computes : pace.loads;
    task.planned = {times_ppm(duration(task, quantile).ns, std::max<int64_t>(0, ppm))};
    what_if_.revise(task);
  };
  for (const Task& task : graph_.tasks()) put(task);
  if (draft != nullptr)
    for (const Task& task : draft->tasks) put(task);
  return replay_rest(what_if_, capacity, in_.held, at);
}

Status Replanner::check_waiting(const PlanDraft& draft) const {
  const std::lock_guard lock(mutex_);
  for (const Task& task : draft.tasks)
    if (progress_.start[task.id] != kForever)
      return Error{ErrorCode::kInvalid, "revision: too late: '" + graph_.name(task.id) + "' has started"};
  return {};
}

Result<Forecast> Replanner::forecast(std::span<const ShardEdit> edits, double quantile, const Pace& pace) const {
  TESSERA_ASSIGN(const PlanDraft draft, revision_.draft(edits, budgets().preload));
  TESSERA_TRY(check_waiting(draft));
  const RunProgress at = progress();
  TESSERA_ASSIGN(const Timeline timeline, rest(at, &draft, draft.grows ? usable_capacity() : capacity_, quantile, pace));
  Forecast out;
  out.end = offset_ + timeline.makespan;
  out.peak = timeline.peak.empty() ? Bytes{} : timeline.peak[0];
  for (const Task& task : what_if_.tasks()) {
    if (is_shard_load(task) && !task.empty) out.loads_end = std::max(out.loads_end, offset_ + timeline.end[task.id]);
    if (task.kind == TaskKind::kLoad && at.start[task.id] == kForever) out.io += Bytes{task.cost.bytes};
  }
  const AccuracyModel& accuracy = in_.view.accuracy;
  if (accuracy.layers != in_.view.shape.layers || accuracy.slices != in_.view.shape.slices) return out;
  out.loss = accuracy.loss(plan_.depth, draft.plan.bits);
  out.loss_known = accuracy.knows(plan_.depth, draft.plan.bits);
  return out;
}

// ---- changes

Status Replanner::revise(std::span<const ShardEdit> edits, std::string_view why) {
  TESSERA_ASSIGN(PlanDraft draft, revision_.draft(edits, budgets().preload));
  if (draft.edits.empty()) return {};
  TESSERA_TRY(check_waiting(draft));
  if (draft.grows) {
    const Result<Timeline> granted = rest(progress(), &draft, usable_capacity(), 0.5, {});
    if (!granted.ok()) return granted.error();
  }
  std::vector<TaskId> tasks;
  for (const Task& task : draft.tasks) tasks.push_back(task.id);
  std::vector<Revision> made = revisions_of(draft, why);
  if (!control_->revise(tasks, [&] { revision_.apply(std::move(draft)); }))
    return Error{ErrorCode::kInvalid, "revision: too late: something that it touches has started, or a task has failed"};
  revisions_.insert(revisions_.end(), std::move_iterator(made.begin()), std::move_iterator(made.end()));
  return {};
}

std::vector<Revision> Replanner::revisions_of(const PlanDraft& draft, std::string_view why) const {
  std::map<std::tuple<int, Bits, Bits>, SliceMask> groups;  // (layer, from, to)
  for (const ShardEdit& edit : draft.edits)
    groups[{edit.shard.layer, plan_.bits_of(edit.shard), edit.bits}] |= SliceMask{1} << edit.shard.slice;
  const Duration now = offset_ + control_->now();
  std::vector<Revision> out;
  for (const auto& [group, slices] : groups)
    out.push_back({now, std::get<0>(group), slices, std::get<1>(group), std::get<2>(group), std::string(why)});
  return out;
}

Result<PlannedRequest> Replanner::executed() const {
  PlannedRequest out = in_.planned;
  std::vector<PlanReason> reasons = std::move(out.plan.explain);
  out.plan = plan_;
  out.plan.explain = std::move(reasons);
  out.graph = graph_;
  std::vector<Bytes> capacity = in_.capacity;
  capacity[0] = most_;  // what was loaded while there was more stays
  TESSERA_ASSIGN(out.timeline, replay(out.graph, capacity, in_.held));
  TaskGraph typical = graph_;
  for (Task task : graph_.tasks()) {
    task.planned = std::max(Duration{}, task.estimate.at(0.5));
    typical.revise(task);
  }
  TESSERA_ASSIGN(Timeline expected, replay(typical, capacity, in_.held));
  out.plan.predicted = predict(in_.view.shape, in_.view.accuracy, out.plan, out.graph, out.timeline);
  out.plan.predicted.expected = expected.makespan;
  out.expected = std::move(expected.end);
  return out;
}

}  // namespace tessera
