// Checks plans: depth, widths, bits, placement, what is kept, and the predicted latency and peak.
#include "scheduler/plan_check.h"

#include <algorithm>
#include <bit>
#include <string>

namespace tessera {
namespace {

std::string layer_text(int layer) { return "layer " + std::to_string(layer); }
Error illegal(std::string what) { return {ErrorCode::kInternal, std::move(what)}; }

Status check_depth(const PlanningView& view, const Plan& plan) {
  if (!view.shape.legal_depth(plan.depth))
    return illegal("depth " + std::to_string(plan.depth) + " is not one of the model's " +
                   std::to_string(view.shape.depths.size()) + " legal depths");
  if (view.depth && plan.depth != *view.depth)
    return illegal("depth " + std::to_string(plan.depth) + "; the request fixes " + std::to_string(*view.depth));
  return {};
}

}  // namespace

Status check_layer(const PlanningView& view, const Plan& plan, int layer) {
  const int width = slice_count(plan.slice_set(layer));
  if (!view.shape.legal_width(width))
    return illegal(layer_text(layer) + ": " + std::to_string(width) + " slices are not a legal width of the model");
  if (view.width && width != *view.width)
    return illegal(layer_text(layer) + ": " + std::to_string(width) + " slices; the request fixes " +
                   std::to_string(*view.width));
  for (int j = 0; j < plan.slices; ++j) {
    const Bits bits = plan.bits_of({static_cast<int16_t>(layer), static_cast<int16_t>(j)});
    if (bits == kAbsent) continue;
    const std::string shard = layer_text(layer) + " slice " + std::to_string(j) + ": " + std::to_string(bits) + " bits";
    if (!view.shape.has_bits(bits)) return illegal(shard + " are not in the store");
    if (view.bits && bits != *view.bits) return illegal(shard + "; the request fixes " + std::to_string(*view.bits));
  }
  for (const LayerPart& part : plan.placement[layer])
    if (std::find(view.compute_devices.begin(), view.compute_devices.end(), part.device) == view.compute_devices.end())
      return illegal(layer_text(layer) + ": device " + view.platform.devices[part.device].name +
                     " is not one that this request may compute on");
  return {};
}

Bytes kept_bytes(const PlanningView& view, const Plan& plan) {
  Bytes kept;
  for (const ShardId id : plan.keep) {
    const ResidentShard* held = view.residency.find(id);
    const Bits bits = plan.bits_of(id);
    const SpaceId space = plan.space_of(view.platform, id);
    if (view.platform.memory(space) != 0) continue;  // a device's own memory bounds what it keeps
    kept += held != nullptr && held->bits == bits ? held->bytes : view.shape.bytes_of(id, bits);
  }
  for (const ResidentShard& held : view.residency.shards)
    if (plan.stays(held) && view.platform.memory(held.space) == 0) kept += held.bytes;
  return kept;
}

Status check_support(const Platform& platform, const ModelShape& shape, const TaskGraph& graph,
                     const std::vector<DeviceBinding>& bindings) {
  for (const Task& task : graph.tasks()) {
    const DeviceId device = task.cost.device;
    const std::string& name = platform.devices[device].name;
    if (device >= bindings.size() || bindings[device].backend == nullptr)
      return illegal(graph.name(task.id) + ": device " + name + " has no backend on this machine");
    const Support support = bindings[device].backend->supports(bindings[device].device, task.cost, shape);
    if (!support.yes) return illegal(graph.name(task.id) + ": device " + name + " cannot run it: " + support.why);
  }
  return {};
}

namespace {

Status check_budgets(const PlanningView& view, const Prediction& predicted) {
  if (predicted.peak > view.budgets.memory)
    return illegal("predicted peak " + std::to_string(predicted.peak.n) + " bytes; the memory budget is " +
                   std::to_string(view.budgets.memory.n));
  if (!view.best_effort && predicted.latency > view.budgets.latency)
    return illegal("predicted latency " + to_string(predicted.latency) + " (" + std::to_string(predicted.latency.ns) +
                   " ns); the budget is " + to_string(view.budgets.latency) + " (" +
                   std::to_string(view.budgets.latency.ns) + " ns)");
  return {};
}

// The preload buffer holds at most its budget, or what was preloaded before the request on the policy's own word.
Status check_keep(const PlanningView& view, const Plan& plan) {
  const Bytes kept = kept_bytes(view, plan);
  const Bytes room = std::max(view.budgets.preload, view.residency.charged_to(view.platform, 0));
  if (kept > room)
    return illegal("keeps " + std::to_string(kept.n) + " bytes in the preload buffer; its budget is " +
                   std::to_string(view.budgets.preload.n));
  return {};
}

Status check(const PlanningView& view, const Plan& plan, const ReplayedPlan& replayed,
             const std::vector<DeviceBinding>& bindings) {
  TESSERA_TRY(check_depth(view, plan));
  for (int l = 0; l < plan.depth; ++l) TESSERA_TRY(check_layer(view, plan, l));
  TESSERA_TRY(check_keep(view, plan));
  if (!bindings.empty()) TESSERA_TRY(check_support(view.platform, view.shape, replayed.lowered.graph, bindings));
  return check_budgets(view, replayed.prediction);
}

}  // namespace

Error illegal_plan(std::string_view policy, const Error& why) {
  return {ErrorCode::kInternal, "policy " + std::string(policy) + ": illegal plan: " + why.message};
}

Status check_plan(const PlanningView& view, std::string_view policy, const Plan& plan, const ReplayedPlan& replayed,
                  const std::vector<DeviceBinding>& bindings) {
  if (const Status status = check(view, plan, replayed, bindings); !status.ok()) return illegal_plan(policy, status.error());
  return {};
}

}  // namespace tessera
