// Holds what a session keeps from request to request, and declares its steps: session.cc the way of a request,
// session_faults.cc what happens where a device fails in its middle, session_virtual.cc both in virtual time.
#pragma once

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "framework/clock.h"
#include "scheduler/binder.h"
#include "scheduler/device_pool.h"
#include "scheduler/plan_replay.h"
#include "scheduler/replanner.h"
#include "scheduler/running_budgets.h"
#include "scheduler/session.h"
#include "scheduler/session_planner.h"

namespace tessera {

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
    if (!machine.virtual_time)
      executor_ = make_wall_executor(machine.bindings);
    else if (machine.simulation == nullptr)
      executor_ = make_virtual_executor(nullptr);
    else
      executor_ = make_virtual_executor(&nominal_, machine.simulation.get());
  }
  ~StoreSession() override;
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
  Bytes give_way(Bytes bytes) override { return residents_.give_way(machine_.platform, bytes); }
  Status change_budgets(const Budgets& budgets) override {
    return budgets_.change(budgets, machine_.virtual_time ? Duration{} : WallClock::instance().now());
  }
  void cancel() override {
    if (running_.load()) cancel_.store(true);
  }

 private:
  // How long tasks last on a simulated machine, alone and at full speed: as its cost models say, without any margin.
  class NominalTime final : public SimulatedTime {
   public:
    explicit NominalTime(const Machine& machine) : machine_(machine) {}
    Result<Duration> duration(const Task& task) override { return machine_.costs->estimate(task.cost).mean; }

   private:
    const Machine& machine_;
  };
  bool real() const { return store_ != nullptr && !machine_.virtual_time; }
  Status check_input(const std::vector<int32_t>& ids, const std::vector<int32_t>& types) const;
  Result<SessionPlanner::Planned> find_plan(const RequestOptions& options, int tokens);
  void drop_unused(const PlannedRequest& planned);
  Status load_residents(const Residency& wanted);
  RunLimits limits(const PlannedRequest& planned);
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
  // One run of a plan: as it was decided, or of the copy that its policy may revise meanwhile.
  class Attempt {
   public:
    // `elapsed`: from the arrival to now, in virtual time to the run's beginning.
    Attempt(StoreSession& session, const RequestOptions& options, int tokens, const Answer& answer, Duration arrival,
            Duration elapsed);
    ~Attempt();
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    const Plan& plan() const { return replanner_ != nullptr ? replanner_->plan() : planned_->plan; }
    const TaskGraph& graph() const { return replanner_ != nullptr ? replanner_->graph() : planned_->graph; }
    const RunLimits& limits() const { return limits_; }
    RunLimits& limits() { return limits_; }
    bool may_grow() const { return replanner_ != nullptr; }
    // After the run: what was executed, and how it came to that.
    Status report(Answer& answer);

   private:
    StoreSession& session_;
    const std::shared_ptr<const PlannedRequest> planned_;
    RunLimits limits_;
    std::unique_ptr<SessionPlanner::RunningView> view_;  // null: nobody re-plans
    std::unique_ptr<Replanner> replanner_;
  };
  Status execute_request(const RequestOptions& options, const Input& input, Duration arrival, Answer& answer);
  // The most of all attempts at a request.
  static void raise_peaks(Answer& answer) {
    const std::vector<Bytes>& peak = answer.report.peak;
    answer.peaks.resize(std::max(answer.peaks.size(), peak.size()));
    for (size_t m = 0; m < peak.size(); ++m) answer.peaks[m] = std::max(answer.peaks[m], peak[m]);
  }
  Status execute(const RequestOptions& options, const Input& input, Answer& answer);
  Status recover_virtually(const RequestOptions& options, const Input& input, Duration elapsed, Loss& loss, Answer& answer);
  void salvage_virtually(const PlannedRequest& failed, const RunReport& report, int layer);
  Status execute_bound(const RequestOptions& options, const Input& input, Duration arrival, Answer& answer);
  Status attempt(const RequestOptions& options, RequestBinder& binder, const Loss& loss, Attempt& run, Answer& answer);
  Status recover(const RequestOptions& options, const Input& input, Duration arrival, std::unique_ptr<RequestBinder> binder,
                 Loss& loss, Answer& answer);
  Status go_on_with(Result<PlannedRequest> rest, const std::vector<DeviceFault>& faults, std::optional<int> layer,
                    Duration elapsed, Answer& answer);
  bool note(const std::vector<DeviceFault>& faults, Loss& loss);
  void await_slow(Loss& loss);
  void set_arena_limit(const PlannedRequest& planned, bool may_grow);
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
  NominalTime nominal_{machine_};
  std::unique_ptr<Executor> executor_;
  Bytes preload_budget_;              // of the last request
  bool first_ = true;                 // no request has run yet
  std::map<DeviceId, int> suspects_;  // failures by device
  std::vector<std::unique_ptr<TaskBinder>> left_behind_;
  Bytes left_bytes_;  // of the host's memory, in base_ too
  RunningBudgets budgets_;
  Budgets planned_for_;  // what the running plan was decided for
  std::atomic<bool> running_{false};
  std::atomic<bool> cancel_{false};
};

}  // namespace tessera
