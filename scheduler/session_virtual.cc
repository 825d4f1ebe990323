// Executes requests in virtual time: the same graph under the same rules, with nothing to bind; and where a device of a
// simulated machine fails in a request's middle, goes on with the others, as under the wall clock.
#include <algorithm>
#include <map>
#include <utility>

#include "framework/saturating.h"
#include "scheduler/store_session.h"
#include "scheduler/takeover.h"

namespace tessera {
namespace {

constexpr Duration kLatestStart = milliseconds(1'000'000'000'000);  // thirty years

// What a run that failed had read.
Bytes read_by(const TaskGraph& graph, const RunReport& report) {
  Bytes bytes;
  for (const Task& task : graph.tasks())
    if (task.kind == TaskKind::kLoad && report.tasks[task.id].state == TaskState::kDone) bytes.n += task.cost.bytes;
  return bytes;
}

}  // namespace

Status StoreSession::execute(const RequestOptions& options, const Input& input, Answer& answer) {
  SimulatedMachine* const simulation = machine_.simulation.get();
  if (options.starts_at < Duration{} || options.starts_at > kLatestStart)
    return Error{ErrorCode::kInvalid, "request starts at " + to_string(options.starts_at) +
                                          " of virtual time; give 0 to 10^9 s since the machine began"};
  Loss loss;
  Duration elapsed = simulation != nullptr ? simulation->setup(options.draw, first_) : Duration{};
  for (uint32_t attempt = 0;; ++attempt) {
    Attempt run(*this, options, static_cast<int>(input.ids.size()), answer, {}, elapsed);
    RunLimits& run_limits = run.limits();
    run_limits.moment = {saturating_add(options.starts_at, elapsed), options.draw, attempt, first_};
    run_limits.stop_on_failure = simulation != nullptr;
    if (simulation != nullptr && planner_.has_spare() && !loss.patient) run_limits.suspect_floor = suspect_floors(options);
    answer.report = executor_->run(run.graph(), nullptr, run_limits);
    TESSERA_TRY(run.report(answer));
    raise_peaks(answer);
    elapsed = saturating_add(elapsed, answer.report.makespan);
    answer.latency = elapsed;
    if (answer.report.status.ok()) break;
    if (simulation == nullptr) return answer.report.status;
    TESSERA_TRY(recover_virtually(options, input, elapsed, loss, answer));
  }
  if (simulation != nullptr) first_ = false;
  answer.io += answer.executed->plan.predicted.io;
  answer.peak = answer.peaks.empty() ? Bytes{} : answer.peaks[0];
  keep_virtually(answer.executed->plan);
  return {};
}

// As recover() does, but for buffers and for time: planning takes none here.
Status StoreSession::recover_virtually(const RequestOptions& options, const Input& input, Duration elapsed, Loss& loss,
                                       Answer& answer) {
  const PlannedRequest& failed = *answer.executed;
  const std::vector<DeviceFault> faults = faults_of(failed.graph, machine_.platform, answer.report);
  const bool hopeless = cancel_.load() || faults.empty() || !note(faults, loss);
  std::optional<int> layer =
      hopeless ? std::nullopt : resume_point(failed.graph, machine_.platform, failed.plan, answer.report);
  if (!layer) layer = failed.plan.resumes_at;
  if (!hopeless) salvage_virtually(failed, answer.report, layer.value_or(0));
  for (const DeviceId device : loss.devices) residents_.drop_space(device);
  if (hopeless) return answer.report.status;
  answer.io += read_by(failed.graph, answer.report);
  Result<PlannedRequest> rest = plan_rest(options, input, {failed.plan, layer, loss.devices, elapsed});
  if (!rest.ok() && !loss.slow.empty() && !loss.patient) {  // who was only slow may take its time
    std::erase_if(loss.devices, [&](DeviceId d) { return loss.slow.count(d) != 0; });
    loss.patient = true;
    rest = plan_rest(options, input, {failed.plan, layer, loss.devices, elapsed});
  }
  return go_on_with(std::move(rest), faults, layer, elapsed, answer);
}

// What a binder would have saved: shards of `layer` and later ones that lie whole in the host's memory, and of the layers
// before it what the plan keeps.
void StoreSession::salvage_virtually(const PlannedRequest& failed, const RunReport& report, int layer) {
  const Plan& plan = failed.plan;
  const auto kept = [&](ShardId id) { return std::find(plan.keep.begin(), plan.keep.end(), id) != plan.keep.end(); };
  const auto drop = [&](ShardId id) {
    if (residents_.find(id) != nullptr) residents_.drop(id);
  };
  std::map<ShardId, SpaceId> there;  // what the run brought in
  for (const Task& task : failed.graph.tasks()) {
    if (report.tasks[task.id].state != TaskState::kDone || task.layer < 0) continue;
    const bool moved = task.kind == TaskKind::kTransfer && task.payload == Payload::kWeights;
    for_each_slice(task.slice_set, [&](int slice) {
      const ShardId id{task.layer, static_cast<int16_t>(slice)};
      if (task.cost.op == Op::kLoadShards || moved) {
        if (moved && there.find(id) == there.end()) drop(id);
        there[id] = task.space;
      } else if ((task.cost.op == Op::kLayer || task.cost.op == Op::kFfnPart) && !kept(id)) {
        if (there.erase(id) == 0) drop(id);
      }
    });
  }
  for (const auto& [id, space] : there)
    if (id.layer < layer ? kept(id) : space == kHostSpace)
      residents_.hold(id, {{}, space, plan.bits_of(id), false, shape_.bytes_of(id, plan.bits_of(id)).n});
}

// The residents after a run in virtual time: what the binder would have kept.
void StoreSession::keep_virtually(const Plan& plan) {
  std::vector<ShardId> keep = plan.keep;
  std::sort(keep.begin(), keep.end());
  const Residency before = residents_.residency();
  for (const ResidentShard& held : before.shards)
    if (!plan.stays(held) && !std::binary_search(keep.begin(), keep.end(), held.id)) residents_.drop(held.id);
  for (const ShardId id : keep) {
    const SpaceId space = plan.space_of(machine_.platform, id);
    const ResidentShard* held = before.find(id);
    if (held == nullptr || !plan.uses(machine_.platform, *held) || held->space != space)
      residents_.hold(id, {{}, space, plan.bits_of(id), false, shape_.bytes_of(id, plan.bits_of(id)).n});
  }
  if (residents_.find_exit(plan.depth) == nullptr)
    residents_.hold_exit(plan.depth, nullptr, shape_.exit_bytes[plan.depth - 1].n);
}

}  // namespace tessera
