// Executes a bound request, and where a device fails in its middle, saves what can be used and goes on with the others.
#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "framework/clock.h"
#include "framework/run_rules.h"
#include "scheduler/store_session.h"
#include "scheduler/takeover.h"

namespace tessera {
namespace {

// Free pages that may stay beyond the account of a request, so that small changes of plan cost no page faults.
constexpr Bytes kArenaSlack = mib(2);

constexpr Duration kEmulatedSuspectAfter = milliseconds(1000);

// A device that failed so often takes no part in later requests.
constexpr int kSuspectsToQuarantine = 2;

// Of a run whose device had no memory for its buffers.
RunReport never_started(const TaskGraph& graph, DeviceId device, const Error& why) {
  RunReport report;
  report.status = why;
  report.tasks.assign(graph.size(), {{}, {}, TaskState::kCancelled});
  report.faults.push_back({graph.lane(device).front(), why, false, false, true});
  return report;
}

}  // namespace

Status StoreSession::execute_bound(const RequestOptions& options, const Input& input, Duration arrival, Answer& answer) {
  Loss loss;
  for (;;) {
    const PlannedRequest& planned = *answer.planned;
    const int tokens = static_cast<int>(input.ids.size());
    Attempt run(*this, options, tokens, answer, arrival, WallClock::instance().now() - arrival);
    set_arena_limit(planned, run.may_grow());
    auto binder =
        std::make_unique<RequestBinder>(BinderInputs{*store_, machine_.platform, run.plan(), run.graph(), planned.buffers,
                                                     arena_, pool_, residents_, input.ids, input.types});
    TESSERA_TRY(attempt(options, *binder, loss, run, answer));
    raise_peaks(answer);
    if (answer.report.status.ok()) {
      answer.logits = binder->logits();
      binder->keep();
      break;
    }
    TESSERA_TRY(recover(options, input, arrival, std::move(binder), loss, answer));
  }
  answer.label = static_cast<int>(std::max_element(answer.logits.begin(), answer.logits.end()) - answer.logits.begin());
  answer.peak = answer.peaks.empty() ? Bytes{} : answer.peaks[0];
  return {};
}

// One run of the answer's plan; its report tells what failed. An error where nothing can be told.
Status StoreSession::attempt(const RequestOptions& options, RequestBinder& binder, const Loss& loss, Attempt& run,
                             Answer& answer) {
  if (Status ready = binder.prepare(); !ready.ok()) {
    const std::optional<DeviceId> device = binder.refused_by();
    if (!device) return ready;
    answer.report = never_started(run.graph(), *device, ready.error());
    return run.report(answer);
  }
  if (run.plan().resumes_at) binder.set_hidden(loss.hidden);
  run.limits().stop_on_failure = true;
  if (planner_.has_spare() && !loss.patient) run.limits().suspect_floor = suspect_floors(options);
  answer.report = executor_->run(run.graph(), &binder, run.limits());
  answer.io += binder.io();
  return run.report(answer);
}

// Pages of the plan's peak; of the budget, where the plan may come to need more.
void StoreSession::set_arena_limit(const PlannedRequest& planned, bool may_grow) {
  const Bytes peak = may_grow ? std::max(planned.plan.predicted.peak, planned_for_.memory) : planned.plan.predicted.peak;
  if (peak == kUnlimited)
    arena_.set_limit(kUnlimited);
  else
    arena_.set_limit(std::max(Bytes{0}, peak - base_ + left_bytes_) + kArenaSlack);
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
  const PlannedRequest& failed = *answer.executed;
  const std::vector<DeviceFault> faults = faults_of(failed.graph, machine_.platform, answer.report);
  const bool abandoned = binder->abandoned();
  const bool hopeless = cancel_.load() || faults.empty() || !note(faults, loss);
  std::optional<int> layer =
      hopeless ? std::nullopt : resume_point(failed.graph, machine_.platform, failed.plan, answer.report);
  if (!layer) layer = failed.plan.resumes_at;  // its x was copied: loss.hidden still has it
  if (layer != failed.plan.resumes_at) loss.hidden = binder->hidden();
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
  if (!rest.ok() && !loss.slow.empty() && !loss.patient) {  // better late than never: who was only slow may take its time
    await_slow(loss);
    if (cancel_.load()) return cancelled_error();
    rest = plan_rest(options, input, {failed.plan, layer, loss.devices, elapsed});
  }
  return go_on_with(std::move(rest), faults, layer, elapsed, answer);
}

// What was given up goes into the answer, and the rest takes its place.
Status StoreSession::go_on_with(Result<PlannedRequest> rest, const std::vector<DeviceFault>& faults,
                                std::optional<int> layer, Duration elapsed, Answer& answer) {
  if (!rest.ok())
    return Error{ErrorCode::kDevice, "device " + faults.front().name + " failed: " + faults.front().error +
                                         "; nothing could take over: " + rest.error().message};
  answer.taken_over.push_back({faults, layer, elapsed, answer.executed, std::move(answer.report)});
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
  clear_left_behind();
}

// Where memory is short, what was saved may be what there is no room for.
Result<PlannedRequest> StoreSession::plan_rest(const RequestOptions& asked, const Input& input,
                                               const SessionPlanner::Rest& rest) {
  RequestOptions options = asked;
  options.budgets = planned_for_ = budgets_.now(rest.elapsed);
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

}  // namespace tessera
