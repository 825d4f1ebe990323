// Finds what a failed run left whole, and places the rest of its plan on the devices that are left.
#include "scheduler/takeover.h"

#include <algorithm>

namespace tessera {
namespace {

// The layer whose input a task writes into the host's buffers; nothing where it writes none.
std::optional<int> writes_hidden(const Task& task, const Platform& platform) {
  const bool host = platform.space(task.cost.device) == kHostSpace;
  if (task.kind == TaskKind::kTransfer)
    return task.payload == Payload::kHidden && task.cost.to_host ? std::optional<int>(task.layer) : std::nullopt;
  if (task.kind != TaskKind::kCompute || !host) return std::nullopt;
  if (task.cost.op == Op::kEmbed) return 0;
  if (task.cost.op == Op::kLayer || (task.cost.op == Op::kCombine && task.cost.slices == 1)) return task.layer + 1;
  return std::nullopt;
}

CostKey layer_key(const Plan& plan, int layer, DeviceId device, int tokens) {
  CostKey key;
  key.device = device;
  key.tokens = static_cast<uint16_t>(tokens);
  for (int j = 0; j < plan.slices; ++j) {
    const Bits bits = plan.bits_of({static_cast<int16_t>(layer), static_cast<int16_t>(j)});
    if (bits == kAbsent) continue;
    ++key.slices;
    ++key.bits[bits_level(bits)];
  }
  return key;
}

bool runs_all_of(const Takeover& t, const CostKey& layer) {
  for (const Op op : {Op::kLayer, Op::kAttentionPart, Op::kFfnPart}) {
    CostKey key = layer;
    key.op = op;
    if (!t.supports(key)) return false;
  }
  return true;
}

bool can_be_home(const Takeover& t, DeviceId device) {
  for (const Op op : {Op::kEmbed, Op::kCombine, Op::kExit}) {
    CostKey key;
    key.device = device;
    key.op = op;
    key.tokens = static_cast<uint16_t>(t.tokens);
    if (!t.supports(key)) return false;
  }
  return true;
}

bool is_left(const Takeover& t, DeviceId device) {
  return std::find(t.devices.begin(), t.devices.end(), device) != t.devices.end();
}

// That computes the plan's layers soonest, by the middle of its cost model.
std::optional<DeviceId> soonest(const Takeover& t, const Plan& plan) {
  std::optional<DeviceId> best;
  Duration least = kForever;
  for (const DeviceId device : t.devices) {
    Duration sum;
    bool able = true;
    for (int l = 0; l < plan.depth && able; ++l) {
      const CostKey key = layer_key(plan, l, device, t.tokens);
      able = runs_all_of(t, key);
      sum += t.costs.estimate(key).mean;
    }
    if (!able || sum >= least) continue;
    least = sum;
    best = device;
  }
  return best;
}

std::optional<DeviceId> new_home(const Takeover& t, const Plan& plan) {
  if (plan.home && is_left(t, *plan.home)) return plan.home;
  for (const bool on_host : {true, false})
    for (const DeviceId device : t.devices)
      if ((t.platform.space(device) == kHostSpace) == on_host && can_be_home(t, device)) return device;
  return std::nullopt;
}

// The parts that are left, and one more, or more of one, for what the others had.
std::vector<LayerPart> without_lost(const Takeover& t, const std::vector<LayerPart>& parts, DeviceId heir) {
  std::vector<LayerPart> out;
  SliceMask orphans = 0;
  for (const LayerPart& part : parts) {
    if (is_left(t, part.device))
      out.push_back(part);
    else
      orphans |= part.slices;
  }
  if (orphans == 0) return out;
  for (LayerPart& part : out)
    if (part.device == heir) {
      part.slices |= orphans;
      return out;
    }
  out.push_back({heir, orphans});
  return out;
}

}  // namespace

bool can_answer(const Takeover& t) {
  CostKey layer;
  layer.tokens = static_cast<uint16_t>(t.tokens);
  layer.slices = 1;
  layer.bits[1] = 1;
  const auto computes = [&](DeviceId device) {
    layer.device = device;
    return runs_all_of(t, layer);
  };
  const auto embeds = [&](DeviceId device) { return can_be_home(t, device); };
  return std::any_of(t.devices.begin(), t.devices.end(), computes) &&
         std::any_of(t.devices.begin(), t.devices.end(), embeds);
}

std::vector<DeviceFault> faults_of(const TaskGraph& graph, const Platform& platform, const RunReport& report) {
  std::vector<DeviceFault> out;
  for (const bool given_up : {true, false})
    for (const TaskFault& fault : report.faults) {
      const Task& task = graph.task(fault.task);
      // A device that has no room for what would be read into it, not storage.
      const bool no_room = fault.unbound && task.kind == TaskKind::kLoad && task.space != kHostSpace;
      const DeviceId device = no_room ? task.space : task.cost.device;
      if (fault.given_up != given_up || fault.error.code == ErrorCode::kData) continue;
      // A link that fails takes its device along.
      DeviceId owner = device;
      for (size_t d = 0; d < platform.devices.size(); ++d)
        if (computes(platform.devices[d].kind) && platform.link_of(static_cast<DeviceId>(d)) == device)
          owner = static_cast<DeviceId>(d);
      const bool known = std::any_of(out.begin(), out.end(), [&](const DeviceFault& f) { return f.device == owner; });
      if (known) continue;
      out.push_back(
          {owner, platform.devices[owner].name, graph.name(fault.task), fault.error.message, fault.overdue, given_up});
    }
  return out;
}

std::optional<int> resume_point(const TaskGraph& graph, const Platform& platform, const Plan& plan,
                                const RunReport& report) {
  std::optional<int> point = plan.resumes_at;
  for (const Task& task : graph.tasks()) {
    const TaskState state = report.tasks[task.id].state;
    const std::optional<int> writes = writes_hidden(task, platform);
    if (!writes || state == TaskState::kWaiting || state == TaskState::kCancelled) continue;
    if (state != TaskState::kDone) return std::nullopt;  // it may have written some of x
    point = writes;
  }
  return point;
}

Result<Plan> place_anew(const Takeover& t, const Plan& plan, std::optional<int> layer) {
  const std::optional<DeviceId> heir = soonest(t, plan), home = new_home(t, plan);
  if (!heir || !home)
    return Error{ErrorCode::kDevice,
                 std::string("no device is left that can ") + (heir ? "embed and run the exit head" : "compute the layers")};
  Plan out = plan;
  out.home = home;
  out.pipelined = true;
  out.resumes_at = layer;
  out.loads.clear();
  for (std::vector<LayerPart>& parts : out.placement) parts = without_lost(t, parts, *heir);
  const int first = layer.value_or(0);
  std::erase_if(out.keep, [&](ShardId id) { return id.layer < first; });
  return out;
}

Plan cut_to(const Plan& plan, int depth) {
  Plan out = plan;
  out.depth = depth;
  out.bits.resize(static_cast<size_t>(depth) * plan.slices);
  out.placement.resize(depth);
  std::erase_if(out.keep, [&](ShardId id) { return id.layer >= depth; });
  return out;
}

}  // namespace tessera
