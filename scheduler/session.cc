// Runs requests: keeps what is resident, plans, binds, executes, and learns from what was measured.
#include "scheduler/session.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "framework/clock.h"
#include "scheduler/binder.h"
#include "scheduler/device_pool.h"
#include "scheduler/plan_replay.h"
#include "scheduler/residency_preload.h"
#include "scheduler/session_planner.h"

namespace tessera {
namespace {

// Free pages that may stay beyond the account of a request, so that small changes of plan cost no page faults.
constexpr Bytes kArenaSlack = mib(2);

constexpr Duration kEmulatedSuspectAfter = milliseconds(1000);

// How long a session that closes waits for devices that still use its memory; then that memory is the process's for good.
constexpr Duration kFarewell = milliseconds(200);

// A device that failed so often takes no part in later requests (architecture section 4).
constexpr int kSuspectsToQuarantine = 2;

class StoreSession final : public Session {
 public:
  StoreSession(const ModelShape& shape, const Store* store, Machine& machine, Bytes base, SessionPlanner planner)
      : shape_(shape),
        store_(store),
        machine_(machine),
        base_(base),
        planner_(std::move(planner)),
        pool_(machine.bindings),
        residents_(arena_, pool_) {
    executor_ = machine.virtual_time ? make_virtual_executor(nullptr) : make_wall_executor(machine.bindings);
  }
  ~StoreSession() override {
    const Duration until = WallClock::instance().now() + kFarewell;
    for (clear_left_behind(); !left_behind_.empty() && WallClock::instance().now() < until; clear_left_behind())
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    for (std::unique_ptr<TaskBinder>& binder : left_behind_) (void)binder.release();  // for as long as the process lives
  }
  StoreSession(const StoreSession&) = delete;
  StoreSession& operator=(const StoreSession&) = delete;

  Status preload(const RequestOptions& options, int tokens) override;
  Result<std::shared_ptr<const PlannedRequest>> plan(const RequestOptions& options, int tokens) override {
    TESSERA_ASSIGN(SessionPlanner::Planned planned, find_plan(options, tokens));
    return std::move(planned.request);
  }
  Result<Answer> run(const RequestOptions& options, const std::vector<int32_t>& ids,
                     const std::vector<int32_t>& types) override;
  const Residency& residency() const override { return residents_.residency(); }
  Bytes held() const override {
    return base_ + residents_.residency().charged_to(machine_.platform, 0) + residents_.exit_bytes();
  }
  void cancel() override {
    if (running_.load()) cancel_.store(true);
  }

 private:
  bool real() const { return store_ != nullptr && !machine_.virtual_time; }
  Status check_input(const std::vector<int32_t>& ids, const std::vector<int32_t>& types) const;
  Result<SessionPlanner::Planned> find_plan(const RequestOptions& options, int tokens);
  void drop_unused(const PlannedRequest& planned);
  Status load_residents(const Residency& wanted);
  RunLimits limits(const RequestOptions& options, const PlannedRequest& planned);
  struct Input {
    const std::vector<int32_t>& ids;
    const std::vector<int32_t>& types;
  };
  // What a request has lost so far, and what it saved.
  struct Loss {
    std::vector<DeviceId> devices;
    std::vector<float> hidden;  // x of the layer at which the plan goes on
    int storage_failures = 0;
    std::set<DeviceId> slow;  // of the devices: took too long
    bool patient = false;     // no device is suspect any more
  };
  Status execute(const RequestOptions& options, Answer& answer);
  Status execute_bound(const RequestOptions& options, const Input& input, Duration arrival, Answer& answer);
  Status recover(const RequestOptions& options, const Input& input, Duration arrival, std::unique_ptr<RequestBinder> binder,
                 Loss& loss, Answer& answer);
  bool note(const std::vector<DeviceFault>& faults, Loss& loss);
  void await_slow(Loss& loss);
  std::vector<Duration> suspect_floors(const RequestOptions& options) const;
  Result<PlannedRequest> plan_rest(const RequestOptions& options, const Input& input, const SessionPlanner::Rest& rest);
  // A device never ended a task and may still use its operands: they stay, and count, until it has.
  void leave_behind(std::unique_ptr<TaskBinder> binder, Bytes bytes) {
    arena_.pin(true);
    left_behind_.push_back(std::move(binder));
    left_bytes_ += bytes;
    count_left_behind(bytes);
  }
  void count_left_behind(Bytes bytes) {
    base_ += bytes;
    planner_.add_base(bytes);
  }
  void clear_left_behind() {
    if (left_behind_.empty()) return;
    for (size_t d = 0; d < machine_.platform.devices.size(); ++d)
      if (executor_->busy(static_cast<DeviceId>(d))) return;
    left_behind_.clear();
    count_left_behind(Bytes{-left_bytes_.n});
    left_bytes_ = {};
    arena_.pin(false);
  }
  void keep_virtually(const Plan& plan);
  void observe(const RequestOptions& options, const Answer& answer);
  SessionPlanner::Situation situation() const { return {residents_.residency(), residents_.fingerprint(), first_}; }

  const ModelShape& shape_;
  const Store* store_;  // null: only plans, or virtual time
  Machine& machine_;
  Bytes base_;  // resident parts and tokenizer
  SessionPlanner planner_;
  HostArena arena_;  // before what holds its pages
  DevicePool pool_;  // likewise
  ResidencyBuffer residents_;
  std::unique_ptr<Executor> executor_;
  Bytes preload_budget_;              // of the last request
  bool first_ = true;                 // no request has run yet
  std::map<DeviceId, int> suspects_;  // failures by device
  std::vector<std::unique_ptr<TaskBinder>> left_behind_;
  Bytes left_bytes_;  // of the host's memory, in base_ too
  std::atomic<bool> running_{false};
  std::atomic<bool> cancel_{false};
};

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

RunLimits StoreSession::limits(const RequestOptions& options, const PlannedRequest& planned) {
  RunLimits limits;
  limits.capacity = memory_capacities(machine_.platform, options.budgets.memory);
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
  TESSERA_ASSIGN(SessionPlanner::Planned planned, find_plan(options, static_cast<int>(ids.size())));
  Answer answer;
  answer.planned = std::move(planned.request);
  answer.reused = planned.reused;
  answer.peak = held();
  if (!answer.planned->infeasible) {
    drop_unused(*answer.planned);
    TESSERA_TRY(machine_.virtual_time ? execute(options, answer) : execute_bound(options, {ids, types}, arrival, answer));
  }
  if (answer.planned->refused_by_margin) machine_.costs->doubt_requests({options.policy, first_});
  answer.latency = machine_.virtual_time ? answer.report.makespan : WallClock::instance().now() - arrival;
  answer.late = std::max(Duration{}, answer.latency - options.budgets.latency);
  if (!answer.planned->infeasible && !machine_.virtual_time && answer.taken_over.empty()) observe(options, answer);
  return answer;
}

// In virtual time: the same graph, the same rules, nothing to bind.
Status StoreSession::execute(const RequestOptions& options, Answer& answer) {
  const PlannedRequest& planned = *answer.planned;
  answer.report = executor_->run(planned.graph, nullptr, limits(options, planned));
  TESSERA_TRY(answer.report.status);
  answer.io = planned.plan.predicted.io;
  answer.peaks = answer.report.peak;
  answer.peak = answer.peaks.empty() ? Bytes{} : answer.peaks[0];
  keep_virtually(planned.plan);
  return {};
}

Status StoreSession::execute_bound(const RequestOptions& options, const Input& input, Duration arrival, Answer& answer) {
  Loss loss;
  for (;;) {
    const PlannedRequest& planned = *answer.planned;
    arena_.set_limit(std::max(Bytes{0}, planned.plan.predicted.peak - base_) + kArenaSlack);
    RunLimits run_limits = limits(options, planned);
    run_limits.stop_on_failure = true;
    if (planner_.has_spare() && !loss.patient) run_limits.suspect_floor = suspect_floors(options);
    auto binder =
        std::make_unique<RequestBinder>(BinderInputs{*store_, machine_.platform, planned.plan, planned.graph,
                                                     planned.buffers, arena_, pool_, residents_, input.ids, input.types});
    TESSERA_TRY(binder->prepare());
    if (planned.plan.resumes_at) binder->set_hidden(loss.hidden);
    answer.report = executor_->run(planned.graph, binder.get(), run_limits);
    answer.io += binder->io();
    if (answer.report.status.ok()) {
      answer.logits = binder->logits();
      binder->keep();
      break;
    }
    TESSERA_TRY(recover(options, input, arrival, std::move(binder), loss, answer));
  }
  answer.label = static_cast<int>(std::max_element(answer.logits.begin(), answer.logits.end()) - answer.logits.begin());
  answer.peaks = answer.report.peak;
  answer.peak = answer.peaks.empty() ? Bytes{} : answer.peaks[0];
  return {};
}

// What an emulator takes depends on who else uses this machine: it is given more time before it is suspect.
std::vector<Duration> StoreSession::suspect_floors(const RequestOptions& options) const {
  std::vector<Duration> floors;
  for (const DeviceDescription& device : machine_.platform.devices)
    floors.push_back(device.emulated ? std::max(options.suspect_after, kEmulatedSuspectAfter) : options.suspect_after);
  return floors;
}

// After a run that failed: takes note of the devices that failed, saves what can be used, and plans the rest on the others.
// An error where nothing can take over, or where it was no device that failed.
Status StoreSession::recover(const RequestOptions& options, const Input& input, Duration arrival,
                             std::unique_ptr<RequestBinder> binder, Loss& loss, Answer& answer) {
  const PlannedRequest& failed = *answer.planned;
  const std::vector<DeviceFault> faults = faults_of(failed.graph, machine_.platform, answer.report);
  const bool abandoned = binder->abandoned();
  const bool hopeless = cancel_.load() || faults.empty() || !note(faults, loss);
  const std::optional<int> layer =
      hopeless ? std::nullopt : resume_point(failed.graph, machine_.platform, failed.plan, answer.report);
  if (layer) loss.hidden = binder->hidden();
  const Bytes held_by_it = abandoned ? binder->left_behind() : Bytes{};
  if (abandoned)
    leave_behind(std::move(binder), held_by_it);
  else if (!hopeless)
    binder->salvage(layer.value_or(0));
  binder.reset();
  for (const DeviceId device : loss.devices) {
    residents_.drop_space(device);
    pool_.trim(device);
  }
  if (hopeless) return answer.report.status;
  const Duration elapsed = WallClock::instance().now() - arrival;
  Result<PlannedRequest> rest = plan_rest(options, input, {failed.plan, layer, loss.devices, elapsed});
  if (!rest.ok() && !loss.slow.empty()) {  // better late than never: who was only slow may take its time
    await_slow(loss);
    rest = plan_rest(options, input, {failed.plan, layer, loss.devices, elapsed});
  }
  if (!rest.ok())
    return Error{ErrorCode::kDevice, "device " + faults.front().name + " failed: " + faults.front().error +
                                         "; nothing could take over: " + rest.error().message};
  answer.taken_over.push_back({faults, layer, elapsed, answer.planned, std::move(answer.report)});
  answer.planned = std::make_shared<const PlannedRequest>(rest.take());
  drop_unused(*answer.planned);
  return {};
}

// Forgives the devices that were slow, once one of them has ended what it was given, or the hard limit has passed.
void StoreSession::await_slow(Loss& loss) {
  const Duration until = WallClock::instance().now() + RunLimits{}.overdue_floor;
  const auto is_busy = [this](DeviceId device) {
    const DeviceId link = machine_.platform.link_of(device);
    return executor_->busy(device) || executor_->busy(link);
  };
  while (std::all_of(loss.slow.begin(), loss.slow.end(), is_busy) && WallClock::instance().now() < until && !cancel_.load())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::erase_if(loss.devices, [&](DeviceId d) { return loss.slow.count(d) != 0 && !is_busy(d); });
  loss.patient = true;
}

// Where memory is short, what was saved may be what there is no room for.
Result<PlannedRequest> StoreSession::plan_rest(const RequestOptions& options, const Input& input,
                                               const SessionPlanner::Rest& rest) {
  const int tokens = static_cast<int>(input.ids.size());
  Result<PlannedRequest> planned = planner_.take_over(options, tokens, residents_.residency(), rest);
  if (planned.ok() || planned.error().code != ErrorCode::kInfeasible) return planned;
  residents_.clear();
  return planner_.take_over(options, tokens, residents_.residency(), rest);
}

// False where the request cannot go on: storage failed twice, or a device that does nothing but fail is all that is left.
bool StoreSession::note(const std::vector<DeviceFault>& faults, Loss& loss) {
  for (const DeviceFault& fault : faults) {
    if (machine_.platform.devices[fault.device].kind == DeviceKind::kStorage) {
      if (fault.given_up || ++loss.storage_failures > 1) return false;
      continue;
    }
    loss.devices.push_back(fault.device);
    if (fault.overdue) loss.slow.insert(fault.device);
    if (fault.given_up || ++suspects_[fault.device] >= kSuspectsToQuarantine) planner_.quarantine(fault.device);
  }
  return true;
}

// The residents after a run in virtual time: what the binder would have kept.
void StoreSession::keep_virtually(const Plan& plan) {
  std::vector<ShardId> keep = plan.keep;
  std::sort(keep.begin(), keep.end());
  const Residency before = residents_.residency();
  for (const ResidentShard& held : before.shards)
    if (!plan.stays(held) && !std::binary_search(keep.begin(), keep.end(), held.id)) residents_.drop(held.id);
  for (const ShardId id : keep) {
    const SpaceId space = machine_.platform.space(plan.placement[id.layer][*plan.part_of(id)].device);
    const ResidentShard* held = before.find(id);
    if (held == nullptr || !plan.uses(machine_.platform, *held) || held->space != space)
      residents_.hold(id, {{}, space, plan.bits_of(id), false, shape_.bytes_of(id, plan.bits_of(id)).n});
  }
  if (residents_.find_exit(plan.depth) == nullptr)
    residents_.hold_exit(plan.depth, nullptr, shape_.exit_bytes[plan.depth - 1].n);
}

// Measured times feed the cost models; what an emulator took says nothing about the device that it stands for.
void StoreSession::observe(const RequestOptions& options, const Answer& answer) {
  const PlannedRequest& planned = *answer.planned;
  RunReport report = answer.report;
  bool emulated = false;
  for (const Task& task : planned.graph.tasks()) {
    if (!machine_.platform.devices[task.cost.device].emulated) continue;
    report.tasks[task.id].state = TaskState::kWaiting;
    emulated = true;
  }
  machine_.costs->observe(planned.graph, report);
  const RequestKind kind{options.policy, std::exchange(first_, false)};
  if (emulated) return;
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

Error unfit(const std::string& what) { return {ErrorCode::kInvalid, "session: " + what}; }

}  // namespace

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
