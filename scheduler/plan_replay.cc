// Replays plans: the graph's recurrence gives times and peak, the graph its bytes, the accuracy model the rest.
#include "scheduler/plan_replay.h"

#include <algorithm>

namespace tessera {
namespace {

// What lies in a device's own memory from the start must fit there. (The host's budget is held against the whole peak.)
Status check_held(const Platform& platform, const std::vector<Bytes>& held) {
  for (size_t m = 1; m < held.size(); ++m) {
    const MemoryDescription& memory = platform.memories[m];
    if (held[m] > memory.capacity)
      return Error{ErrorCode::kInfeasible, "memory " + memory.name + ": activations and residents need " +
                                               to_string(held[m]) + ", " + to_string(memory.capacity) +
                                               " there; give fewer tokens, or leave its device out of --devices"};
  }
  return {};
}

}  // namespace

Prediction predict(const ModelShape& shape, const AccuracyModel& accuracy, const Plan& plan, const TaskGraph& graph,
                   const Timeline& timeline) {
  Prediction out;
  out.latency = timeline.makespan;
  out.peak = timeline.peak.empty() ? Bytes{} : timeline.peak[0];
  out.peaks = timeline.peak;
  for (const Task& task : graph.tasks()) {
    if (task.kind == TaskKind::kLoad) out.io += Bytes{task.cost.bytes};
    out.energy.value += task.estimate.energy.value;
  }
  if (accuracy.layers != shape.layers || accuracy.slices != shape.slices) return out;
  out.loss = accuracy.loss(plan.depth, plan.bits);
  out.accuracy_known = accuracy.profiled() && accuracy.knows(plan.depth, plan.bits);
  if (out.accuracy_known) out.accuracy = accuracy.accuracy(out.loss);
  return out;
}

CachedCosts::Packed CachedCosts::pack(const CostKey& key) {
  Packed out{};
  out[0] = key.device | uint64_t{static_cast<uint8_t>(key.op)} << 8 | uint64_t{key.batch} << 16 |
           uint64_t{key.tokens} << 32 | uint64_t{key.slices} << 48 | uint64_t{key.reads} << 56;
  for (int i = 0; i < 8; ++i) out[1] |= uint64_t{key.bits[i]} << (8 * i);
  out[2] = key.bits[8] | uint64_t{key.bits[9]} << 8 | uint64_t{key.decoded} << 16 | uint64_t{key.to_host} << 17;
  out[3] = static_cast<uint64_t>(key.bytes);
  return out;
}

size_t CachedCosts::Hash::operator()(const Packed& key) const {
  uint64_t h = 0;
  for (const uint64_t word : key) {  // the finaliser of MurmurHash3 over each word
    h = (h ^ word) * 0xff51afd7ed558ccdULL;
    h ^= h >> 32;
  }
  return h;
}

Estimate CachedCosts::estimate(const CostKey& key) const {
  const auto [it, fresh] = known_.try_emplace(pack(key));
  if (fresh) it->second = costs_.estimate(key);
  return it->second;
}

std::vector<Bytes> memory_capacities(const Platform& platform, Bytes budget) {
  std::vector<Bytes> out{budget};
  for (size_t m = 0; m < platform.memories.size(); ++m) {
    if (m == 0)
      out[0] = std::min(budget, platform.memories[0].capacity);
    else
      out.push_back(platform.memories[m].capacity);
  }
  return out;
}

std::vector<Bytes> held_from_start(Bytes base, const std::vector<Bytes>& residents, const std::vector<Bytes>& fixed) {
  std::vector<Bytes> held(std::max(residents.size(), fixed.size()));
  for (size_t m = 0; m < residents.size(); ++m) held[m] += residents[m];
  for (size_t m = 0; m < fixed.size(); ++m) held[m] += fixed[m];
  if (!held.empty()) held[0] += base;
  return held;
}

Result<Prediction> GraphReplay::replay(const Plan& plan) const {
  return replay_if(plan, context_.memory, context_.residency);
}

Result<Prediction> GraphReplay::replay_if(const Plan& plan, Bytes memory, const Residency& residency) const {
  TESSERA_ASSIGN(const ReplayedPlan replayed, replay_under(plan, memory, residency));
  return replayed.prediction;
}

Result<ReplayedPlan> GraphReplay::replay_fully(const Plan& plan) const {
  return replay_under(plan, context_.memory, context_.residency);
}

Result<ReplayedPlan> GraphReplay::replay_under(const Plan& plan, Bytes memory, const Residency& residency) const {
  ReplayedPlan out;
  TESSERA_ASSIGN(out.lowered,
                 lower(context_.shape, plan, residency, context_.platform, context_.storage, costs_, context_.tokens));
  const std::vector<Bytes> held = held_from_start(context_.base, out.lowered.residents, out.lowered.fixed);
  TESSERA_TRY(check_held(context_.platform, held));
  TESSERA_ASSIGN(out.timeline, tessera::replay(out.lowered.graph, memory_capacities(context_.platform, memory), held));
  out.prediction = predict(context_.shape, context_.accuracy, plan, out.lowered.graph, out.timeline);
  return out;
}

}  // namespace tessera
