// Runs requests: keeps what is resident, plans, binds, executes, and learns from what was measured.
#include "scheduler/session.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "framework/clock.h"
#include "scheduler/residency_preload.h"
#include "scheduler/store_session.h"

namespace tessera {
namespace {

// How long a session that closes waits for devices that still use its memory; then that memory is the process's for good.
constexpr Duration kFarewell = milliseconds(200);

Error unfit(const std::string& what) { return {ErrorCode::kInvalid, "session: " + what}; }

// Marks the session as running, so that cancel() reaches this request and no other.
class Running {
 public:
  Running(std::atomic<bool>& running, std::atomic<bool>& cancel) : running_(running) {
    cancel.store(false);
    running_.store(true);
  }
  ~Running() { running_.store(false); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  std::atomic<bool>& running_;
};

}  // namespace

StoreSession::~StoreSession() {
  const Duration until = WallClock::instance().now() + kFarewell;
  for (clear_left_behind(); !left_behind_.empty() && WallClock::instance().now() < until; clear_left_behind())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (std::unique_ptr<TaskBinder>& binder : left_behind_) (void)binder.release();  // for as long as the process lives
}

Status StoreSession::check_input(const std::vector<int32_t>& ids, const std::vector<int32_t>& types) const {
  const auto invalid = [](const std::string& what) { return Error{ErrorCode::kInvalid, "request: " + what}; };
  if (types.size() != ids.size())
    return invalid(std::to_string(ids.size()) + " ids, but " + std::to_string(types.size()) + " types");
  for (size_t t = 0; t < ids.size(); ++t) {
    if (ids[t] < 0 || ids[t] >= shape_.vocab)
      return invalid("token " + std::to_string(t) + " has id " + std::to_string(ids[t]) + "; the vocabulary holds " +
                     std::to_string(shape_.vocab));
    if (types[t] < 0 || types[t] >= shape_.token_types)
      return invalid("token " + std::to_string(t) + " has type " + std::to_string(types[t]) + "; the model knows " +
                     std::to_string(shape_.token_types));
  }
  return {};
}

Result<SessionPlanner::Planned> StoreSession::find_plan(const RequestOptions& options, int tokens) {
  if (options.budgets.preload < preload_budget_) residents_.shrink_to(machine_.platform, options.budgets.preload);
  preload_budget_ = options.budgets.preload;
  return planner_.plan(options, tokens, situation());
}

// What the plan does not use leaves before the run; its bytes are the request's.
void StoreSession::drop_unused(const PlannedRequest& planned) {
  if (planned.drops_residents) residents_.clear();
  const Residency before = residents_.residency();
  const Plan& plan = planned.plan;
  for (const ResidentShard& held : before.shards)
    if (!plan.stays(held) && !plan.uses(machine_.platform, held)) residents_.drop(held.id);
  for (const int depth : before.exits)
    if (!plan.exit_stays(depth)) residents_.drop_exit(depth);
}

Status StoreSession::preload(const RequestOptions& options, int tokens) {
  TESSERA_ASSIGN(const Residency wanted, planner_.preload(options, tokens));
  const Running running(running_, cancel_);
  preload_budget_ = options.budgets.preload;
  const Residency before = residents_.residency();
  for (const ResidentShard& held : before.shards) {
    const ResidentShard* keep = wanted.find(held.id);
    if (keep == nullptr || keep->bits != held.bits || keep->decoded != held.decoded) residents_.drop(held.id);
  }
  for (const int depth : before.exits)
    if (!std::binary_search(wanted.exits.begin(), wanted.exits.end(), depth)) residents_.drop_exit(depth);
  if (real()) {
    const bool limited = options.budgets.memory != kUnlimited;
    arena_.set_limit(limited ? std::max(Bytes{0}, options.budgets.memory - base_) : kUnlimited);
    TESSERA_TRY(load_residents(wanted));
    TESSERA_ASSIGN(const Bytes needed, planner_.rehearse(options, tokens, situation()));
    arena_.touch_ahead(needed);
    return {};
  }
  for (const ResidentShard& shard : wanted.shards)
    residents_.hold(shard.id, {{}, kHostSpace, shard.bits, shard.decoded, shard.bytes.n});
  for (const int depth : wanted.exits) residents_.hold_exit(depth, nullptr, shape_.exit_bytes[depth - 1].n);
  return {};
}

Status StoreSession::load_residents(const Residency& wanted) {
  std::vector<ResidentShard> missing;
  for (const ResidentShard& shard : wanted.shards)
    if (residents_.find(shard.id) == nullptr) missing.push_back(shard);
  std::vector<int> exits;
  for (const int depth : wanted.exits)
    if (residents_.find_exit(depth) == nullptr) exits.push_back(depth);
  if (missing.empty() && exits.empty()) return {};
  TESSERA_ASSIGN(const TaskGraph graph, lower_preload(shape_, missing, exits, planner_.storage(), *machine_.costs));
  auto owned = std::make_unique<PreloadBinder>(*store_, wanted, arena_, residents_);
  PreloadBinder& binder = *owned;  // stays, even where it is left behind
  RunLimits limits;
  limits.cancel = &cancel_;
  const RunReport report = executor_->run(graph, &binder, limits);
  if (binder.abandoned()) leave_behind(std::move(owned), {});
  TESSERA_TRY(report.status);
  return binder.status();
}

RunLimits StoreSession::limits(const PlannedRequest& planned) {
  RunLimits limits;
  limits.capacity = memory_capacities(machine_.platform, planned_for_.memory);
  limits.held = held_from_start(base_, planned.residents, planned.fixed);
  limits.cancel = &cancel_;
  return limits;
}

Result<Answer> StoreSession::run(const RequestOptions& options, const std::vector<int32_t>& ids,
                                 const std::vector<int32_t>& types) {
  const Duration arrival = WallClock::instance().now();
  const Running running(running_, cancel_);
  if (store_ == nullptr && !machine_.virtual_time)
    return Error{ErrorCode::kInvalid, "session: model " + shape_.name + " has no weights here; it can only be planned"};
  if (store_ != nullptr) TESSERA_TRY(check_input(ids, types));
  clear_left_behind();
  TESSERA_TRY(budgets_.begin(options, machine_.virtual_time ? Duration{} : arrival));
  planned_for_ = options.budgets;
  Answer answer;
  const Status done = execute_request(options, {ids, types}, arrival, answer);
  answer.budgets = budgets_.end(answer.latency);
  answer.late = std::max(Duration{}, answer.latency - answer.budgets.latency);
  TESSERA_TRY(done);
  if (!answer.planned->infeasible && !machine_.virtual_time && answer.taken_over.empty()) observe(options, answer);
  return answer;
}

// Plans and runs; fills all of the answer but what the budgets at its end say.
Status StoreSession::execute_request(const RequestOptions& options, const Input& input, Duration arrival, Answer& answer) {
  TESSERA_ASSIGN(SessionPlanner::Planned planned, find_plan(options, static_cast<int>(input.ids.size())));
  answer.planned = std::move(planned.request);
  answer.reused = planned.reused;
  answer.peak = held();
  if (!answer.planned->infeasible) {
    drop_unused(*answer.planned);
    TESSERA_TRY(machine_.virtual_time ? execute(options, input, answer) : execute_bound(options, input, arrival, answer));
  }
  if (machine_.virtual_time) return {};
  if (answer.planned->refused_by_margin) machine_.costs->doubt_requests({options.policy, first_});
  answer.latency = WallClock::instance().now() - arrival;
  return {};
}

// Measured times feed the cost models; what an emulator took says nothing about the device that it stands for.
void StoreSession::observe(const RequestOptions& options, const Answer& answer) {
  const PlannedRequest& planned = *answer.executed;
  RunReport report = answer.report;
  bool emulated = false;
  for (const Task& task : planned.graph.tasks()) {
    if (!machine_.platform.devices[task.cost.device].emulated) continue;
    report.tasks[task.id].state = TaskState::kWaiting;
    emulated = true;
  }
  machine_.costs->observe(planned.graph, report);
  const RequestKind kind{options.policy, std::exchange(first_, false)};
  if (emulated || !answer.revisions.empty()) return;  // whoever revises answers for less, or more, than was predicted
  const Margin& margin = planned.margin;
  const Prediction& predicted = planned.plan.predicted;
  RequestTiming timing;
  timing.setup = answer.latency - answer.report.makespan;
  timing.measured = answer.report.makespan;
  timing.expected = from_seconds((predicted.expected - margin.setup).seconds() / margin.middle);
  timing.planned = from_seconds((predicted.latency - margin.setup_high).seconds() / margin.high);
  timing.quantile = options.quantile;
  timing.late = answer.latency > predicted.latency;
  machine_.costs->observe_request(kind, timing);
}

Result<std::unique_ptr<Session>> Session::open(const ModelShape& shape, const Store* store, const AccuracyModel& accuracy,
                                               Machine& machine, Bytes tokenizer_bytes) {
  const std::vector<DeviceDescription>& devices = machine.platform.devices;
  if (machine.costs == nullptr)
    return unfit("platform " + machine.platform.name + " has no cost models; calibrate it first");
  for (size_t d = 0; d < devices.size() && store != nullptr && !machine.virtual_time; ++d)
    if (devices[d].available && (d >= machine.bindings.size() || machine.bindings[d].backend == nullptr))
      return unfit("device " + devices[d].name + " of platform " + machine.platform.name +
                   " has no backend; a described platform needs virtual time");
  const Bytes base = shape.resident_bytes + tokenizer_bytes;
  TESSERA_ASSIGN(SessionPlanner planner, SessionPlanner::create(shape, accuracy, machine, base));
  return std::unique_ptr<Session>(std::make_unique<StoreSession>(shape, store, machine, base, std::move(planner)));
}

}  // namespace tessera
