// Builds JSON documents from plans and answers.
#include "tools/render_json.h"

#include <map>

namespace tessera {
namespace {

Json slices_json(SliceMask slices) {
  Json list = Json::array();
  for (int j = 0; j < kMaxSlices; ++j)
    if ((slices >> j & 1) != 0) list.push_back(j);
  return list;
}

Json layers_json(const Plan& plan, const Platform& platform) {
  Json layers = Json::array();
  for (int l = 0; l < plan.depth; ++l) {
    Json placement = Json::array();
    for (const LayerPart& part : plan.placement[static_cast<size_t>(l)])
      placement.push_back({{"device", platform.devices[part.device].name}, {"slices", slices_json(part.slices)}});
    layers.push_back({{"layer", l}, {"slices", slices_json(plan.slice_set(l))}, {"placement", std::move(placement)}});
  }
  return layers;
}

const char* device_of(const Plan& plan, const Platform& platform, ShardId id) {
  for (const LayerPart& part : plan.placement[static_cast<size_t>(id.layer)])
    if ((part.slices >> id.slice & 1) != 0) return platform.devices[part.device].name.c_str();
  return "";
}

bool loaded(const Plan& plan, ShardId id) {
  for (const PlannedLoad& load : plan.loads)
    if (load.op == Op::kLoadShards && load.layer == id.layer && (load.slices >> id.slice & 1) != 0) return true;
  return false;
}

// `stored_bits`: what storage holds for the shard, 16 for an exact shard of an fp16 checkpoint.
Json shards_json(const Plan& plan, const ModelShape& shape, const Platform& platform) {
  Json shards = Json::array();
  for (int16_t l = 0; l < plan.depth; ++l)
    for (int16_t j = 0; j < plan.slices; ++j) {
      const ShardId id{l, j};
      const Bits bits = plan.bits_of(id);
      if (bits == kAbsent) continue;
      shards.push_back({{"layer", l},
                        {"slice", j},
                        {"bits", bits},
                        {"stored_bits", bits == kExact ? shape.stored_exact_bits : bits},
                        {"device", device_of(plan, platform, id)},
                        {"preloaded", !loaded(plan, id)}});
    }
  return shards;
}

Json predicted_json(const PlannedRequest& planned, const Platform& platform) {
  const Prediction& predicted = planned.plan.predicted;
  Json json = {{"latency_ms", predicted.latency.ms()},
               {"expected_latency_ms", predicted.expected.ms()},
               {"peak_bytes", predicted.peak.n},
               {"accuracy", predicted.accuracy_known ? Json(predicted.accuracy.value()) : Json(nullptr)},
               {"io_bytes", predicted.io.n},
               {"energy_mj", predicted.energy.value > 0 ? Json(predicted.energy.value * 1e3) : Json(nullptr)}};
  if (platform.memories.size() > 1) json["peak_bytes_by_device"] = by_device_json(planned.timeline.peak, platform);
  return json;
}

Json timeline_json(const PlannedRequest& planned, const Platform& platform) {
  Json list = Json::array();
  const TaskGraph& graph = planned.graph;
  for (TaskId id = 0; id < graph.size() && id < planned.timeline.start.size(); ++id)
    list.push_back({{"task", graph.name(id)},
                    {"device", platform.devices[graph.task(id).cost.device].name},
                    {"start_ms", planned.timeline.start[id].ms()},
                    {"end_ms", planned.timeline.end[id].ms()}});
  return list;
}

const char* kind_word(TaskKind kind) {
  return kind == TaskKind::kLoad ? "load" : kind == TaskKind::kTransfer ? "transfer" : "compute";
}

}  // namespace

Json milliseconds_json(Duration d) { return d == kForever ? Json(nullptr) : Json(d.ms()); }
Json bytes_json(Bytes b) { return b == kUnlimited ? Json(nullptr) : Json(b.n); }

Json by_device_json(const std::vector<Bytes>& bytes, const Platform& platform) {
  Json json = Json::object();
  for (size_t m = 0; m < platform.memories.size() && m < bytes.size(); ++m)
    json[platform.memories[m].name] = bytes_json(bytes[m]);
  return json;
}

Json model_json(const ModelShape& shape) {
  return {{"name", shape.name},          {"layers", shape.layers},
          {"slices", shape.slices},      {"hidden", shape.hidden},
          {"labels", shape.label_names}, {"depths", shape.depths},
          {"widths", shape.widths},      {"bitwidths", std::vector<int>(shape.bitwidths.begin(), shape.bitwidths.end())}};
}

Json budget_json(const Budgets& budgets, const Platform& platform) {
  Json json = {{"latency_ms", milliseconds_json(budgets.latency)},
               {"memory_bytes", bytes_json(budgets.memory)},
               {"preload_bytes", budgets.preload.n}};
  if (platform.memories.size() > 1) {
    std::vector<Bytes> limits;
    for (const MemoryDescription& memory : platform.memories) limits.push_back(memory.capacity);
    limits[0] = budgets.memory;
    json["memory_bytes_by_device"] = by_device_json(limits, platform);
  }
  return json;
}

Json nearest_json(const Infeasible& infeasible) {
  return {{"latency_ms", infeasible.latency ? Json(infeasible.latency->ms()) : Json(nullptr)},
          {"memory_bytes", infeasible.memory ? Json(infeasible.memory->n) : Json(nullptr)},
          {"both", {{"latency_ms", infeasible.both_latency.ms()}, {"memory_bytes", infeasible.both_memory.n}}},
          {"why", infeasible.why}};
}

Json plan_json(const PlannedRequest& planned, const ModelShape& shape, const Platform& platform, bool explain) {
  const Plan& plan = planned.plan;
  std::map<int, int> counts;
  for (const Bits bits : plan.bits)
    if (bits != kAbsent) ++counts[bits];
  Json histogram = Json::object();
  for (const auto& [bits, count] : counts) histogram[std::to_string(bits)] = count;
  Json json = {{"id", planned.id},
               {"depth", plan.depth},
               {"width", plan.width()},
               {"mean_bits", plan.mean_bits()},
               {"bits_histogram", std::move(histogram)},
               {"layers", layers_json(plan, platform)},
               {"shards", shards_json(plan, shape, platform)},
               {"predicted", predicted_json(planned, platform)},
               {"planning_us", planned.planning.us()},
               {"timeline", timeline_json(planned, platform)}};
  if (explain) {
    Json& reasons = json["explain"] = Json::array();
    for (const PlanReason& reason : plan.explain)
      reasons.push_back({{"layer", reason.shard.layer}, {"slice", reason.shard.slice}, {"reason", reason.text}});
  }
  return json;
}

Json lanes_json(const PlannedRequest& planned, const Platform& platform) {
  Json lanes = Json::array();
  const TaskGraph& graph = planned.graph;
  for (TaskId id = 0; id < graph.size() && id < planned.timeline.start.size(); ++id) {
    const Task& task = graph.task(id);
    lanes.push_back({{"device", platform.devices[task.cost.device].name},
                     {"name", graph.name(id)},
                     {"kind", kind_word(task.kind)},
                     {"layer", task.layer >= 0 ? Json(task.layer) : Json(nullptr)},
                     {"slices", slices_json(task.slice_set)},
                     {"bits", task.cost.op == Op::kLoadShards ? Json(task.bits) : Json(nullptr)},
                     {"start_ms", planned.timeline.start[id].ms()},
                     {"end_ms", planned.timeline.end[id].ms()}});
  }
  return lanes;
}

Json taken_over_json(const std::vector<TakenOver>& all) {
  Json list = Json::array();
  for (const TakenOver& one : all) {
    Json faults = Json::array();
    for (const DeviceFault& f : one.faults)
      faults.push_back({{"device", f.name}, {"task", f.task}, {"error", f.error}, {"given_up", f.given_up}});
    list.push_back({{"faults", std::move(faults)},
                    {"at_ms", one.at.ms()},
                    {"from_layer", one.layer ? Json(*one.layer) : Json(nullptr)},
                    {"plan_id", one.planned->id}});
  }
  return list;
}

Json revisions_json(const std::vector<Revision>& revisions) {
  Json list = Json::array();
  for (const Revision& r : revisions)
    list.push_back({{"at_ms", r.at.ms()},
                    {"layer", r.layer},
                    {"slices", slices_json(r.slices)},
                    {"from", r.from},
                    {"to", r.to},
                    {"why", r.why}});
  return list;
}

Json executed_json(const PlannedRequest& executed, const Platform& platform) {
  const Plan& plan = executed.plan;
  Json bits = Json::array();
  for (int l = 0; l < plan.depth; ++l) {
    Json row = Json::array();
    for (int j = 0; j < plan.slices; ++j) row.push_back(plan.bits_of({static_cast<int16_t>(l), static_cast<int16_t>(j)}));
    bits.push_back(std::move(row));
  }
  return {{"mean_bits", plan.mean_bits()}, {"bits", std::move(bits)}, {"predicted", predicted_json(executed, platform)}};
}

}  // namespace tessera
