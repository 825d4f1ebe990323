// Makes load tasks, and lowers a preload to a graph of them.
#include "shards/load_tasks.h"

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "shards/graph_builder.h"

namespace tessera {

uint8_t saturated(int64_t n) { return static_cast<uint8_t>(std::min<int64_t>(n, 255)); }

Task make_load(Op op, DeviceId storage, int64_t bytes, int64_t reads) {
  Task task;
  task.kind = TaskKind::kLoad;
  task.cost.device = storage;
  task.cost.op = op;
  task.cost.reads = saturated(reads);
  task.cost.bytes = bytes;
  task.reserve = bytes;
  return task;
}

Task make_shard_load(const ModelShape& shape, DeviceId storage, int layer, Bits bits, SliceMask slices) {
  int64_t bytes = 0;
  for (SliceMask rest = slices; rest != 0; rest &= rest - 1)
    bytes += shape.bytes_of({static_cast<int16_t>(layer), static_cast<int16_t>(std::countr_zero(rest))}, bits).n;
  Task task = make_load(Op::kLoadShards, storage, bytes, slice_count(slices));
  task.layer = static_cast<int16_t>(layer);
  task.bits = bits;
  task.slice_set = slices;
  task.cost.slices = static_cast<uint8_t>(slice_count(slices));
  task.cost.bits[bits_level(bits)] = task.cost.slices;
  return task;
}

Task make_exit_load(const ModelShape& shape, DeviceId storage, int depth) {
  Task task = make_load(Op::kLoadExit, storage, shape.exit_bytes[depth - 1].n, 1);
  task.layer = static_cast<int16_t>(depth - 1);
  return task;
}

void refit_load(const ModelShape& shape, const Plan& plan, SliceMask slices, Task& task) {
  int64_t bytes = 0;
  BitsHistogram histogram{};
  std::optional<Bits> common;
  for (SliceMask rest = slices; rest != 0; rest &= rest - 1) {
    const ShardId id{task.layer, static_cast<int16_t>(std::countr_zero(rest))};
    const Bits bits = plan.bits_of(id);
    bytes += shape.bytes_of(id, bits).n;
    ++histogram[bits_level(bits)];
    common = common.value_or(bits) == bits ? bits : kAbsent;
  }
  task.bits = common.value_or(kAbsent);
  task.slice_set = slices;
  task.empty = slices == 0;
  task.cost.reads = saturated(slice_count(slices));
  task.cost.bytes = task.reserve = bytes;
  if (task.kind == TaskKind::kTransfer) {
    task.release = bytes;
    return;
  }
  task.cost.slices = static_cast<uint8_t>(slice_count(slices));
  task.cost.bits = histogram;
}

void refit_compute(const Plan& plan, SliceMask slices, SliceMask decoded, Task& task) {
  task.slice_set = slices;
  task.cost.slices = static_cast<uint8_t>(slice_count(slices));
  task.cost.decoded = (slices & ~decoded) == 0;
  task.cost.bits = {};
  for (SliceMask rest = slices; rest != 0; rest &= rest - 1)
    ++task.cost.bits[bits_level(plan.bits_of({task.layer, static_cast<int16_t>(std::countr_zero(rest))}))];
}

void price(Task& task, const CostOracle& costs, double quantile) {
  task.estimate = costs.estimate(task.cost);
  task.planned = std::max(Duration{}, task.estimate.at(quantile));
}

Result<TaskGraph> lower_preload(const ModelShape& shape, const std::vector<ResidentShard>& shards,
                                const std::vector<int>& exits, DeviceId storage, const CostOracle& costs) {
  std::map<std::tuple<int, Bits, int>, SliceMask> groups;  // (layer, bits, -1 or the one slice): bottom layers first
  for (const ResidentShard& shard : shards) {
    if (!shape.has_bits(shard.bits) || shape.bytes_of(shard.id, shard.bits).n <= 0)
      return Error{ErrorCode::kInternal, "layer " + std::to_string(shard.id.layer) + " slice " +
                                             std::to_string(shard.id.slice) + ": to be preloaded at " +
                                             std::to_string(shard.bits) + " bits, which the model does not have"};
    groups[{shard.id.layer, shard.bits, shard.decoded ? shard.id.slice : -1}] |= SliceMask{1} << shard.id.slice;
  }
  TaskGraphBuilder builder;
  const auto add = [&](Task task) {
    price(task, costs, 0.5);
    builder.add(task);
  };
  for (const auto& [group, slices] : groups)
    add(make_shard_load(shape, storage, std::get<0>(group), std::get<1>(group), slices));
  for (const int depth : exits) {
    if (depth < 1 || depth > shape.layers)
      return Error{ErrorCode::kInternal, "exit head of depth " + std::to_string(depth) + " to be preloaded; the model has " +
                                             std::to_string(shape.layers) + " layers"};
    add(make_exit_load(shape, storage, depth));
  }
  return builder.build();
}

}  // namespace tessera
