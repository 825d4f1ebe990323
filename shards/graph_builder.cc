// Lowers a plan to a task graph: which load feeds which compute, and who holds which bytes until when.
//
//   disk0:  rows ─┬─ load L0 ─┬─ load L1 ─┬─ ... ─┬─ exit head ─┐      a load reserves what it brings
//                 ▼           ▼           ▼       ▼             ▼
//   cpu0:       embed ──► layer L0 ──► layer L1 ──► ... ──► exit       the last task that needs it releases it
//
//   a layer over two devices:   ┌► attention [0-5] ─┐            ┌► ffn [0-5] ─┐
//                          x ───┤                   ├► combine ──┤             ├► combine ──► x
//                               └► attention [6-11]─┘            └► ffn [6-11]─┘
//
//   a part on a device with buffers of its own:  disk0: load ─► its link: weights ─┐
//                                                its lane:      x up ──────────────┴► part ─► partial down ──► combine at
//                                                home
//
// Ids: every compute follows all loads that are listed up to the last that it needs. So loads keep the plan's order, what a
// compute waits for has a smaller id, and a load that waits for room waits only for computes that need nothing after it:
// reservations, granted in id order, can starve but never deadlock; replay tells where one can never be granted.
#include "shards/graph_builder.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "shards/load_tasks.h"
#include "shards/plan_needs.h"

namespace tessera {
namespace {

constexpr int64_t kBufferAlignment = 64;
constexpr int64_t kPage = 4096;

int64_t aligned(int64_t bytes) { return align_up({bytes}, kBufferAlignment).n; }

// Something that computes read and write, and the tasks that made it valid where.
struct Value {
  Payload payload = Payload::kHidden;
  uint8_t part = 0;
  int16_t layer = -1;
  std::vector<std::pair<SpaceId, TaskId>> at{};
};

// Lowers one plan; lives for one call of lower().
class Lowering {
 public:
  Lowering(const ModelShape& shape, const Plan& plan, PlanNeeds needs, const Platform& platform, DeviceId storage,
           const CostOracle& costs, int tokens)
      : shape_(shape),
        plan_(plan),
        needs_(std::move(needs)),
        platform_(platform),
        storage_(storage),
        costs_(costs),
        tokens_(tokens) {}

  Result<LoweredPlan> run() {
    out_.residents = needs_.residents;
    out_.buffers.workspace.assign(platform_.devices.size(), 0);
    brought_by_.resize(static_cast<size_t>(plan_.depth) * plan_.slices, kNoTask);
    builder_.reserve(plan_.loads.size() + 2 + 6 * static_cast<size_t>(plan_.depth),
                     2 * plan_.loads.size() + 4 * static_cast<size_t>(plan_.depth));
    add_computes();
    TESSERA_ASSIGN(out_.graph, builder_.build());
    out_.fixed.assign(std::max<size_t>(platform_.memories.size(), 1), {});
    out_.fixed[0] = out_.buffers.host_total();
    for (const auto& [device, buffers] : out_.buffers.own)
      out_.fixed[platform_.memory(device)] += out_.buffers.own_total(device);
    return std::move(out_);
  }

 private:
  DeviceId home_of(int layer) const { return plan_.home.value_or(plan_.placement[layer][0].device); }

  void add_computes() {
    if (!plan_.pipelined) add_loads(plan_.loads.size());
    if (plan_.resumes_at)
      write_in(hidden_, kHostSpace, kNoTask);
    else
      add_embed();
    for (int l = plan_.resumes_at.value_or(0); l < plan_.depth; ++l) add_layer(l);
    add_exit();
  }

  void add_embed() {
    add_loads(needs_.rows_load);
    Task embed = compute(Op::kEmbed, home_of(0));
    embed.release = row_bound(shape_, tokens_).bytes.n;
    embed.release_memory = 0;
    out_.embed = add(embed);
    if (plan_.pipelined) {
      builder_.depend(out_.embed, load_task_[needs_.rows_load - 1]);
    } else {
      for (TaskId load = 0; load < out_.embed; ++load) builder_.depend(out_.embed, load);
    }
    write(hidden_, embed.cost.device, out_.embed);
  }

  void add_exit() {
    add_loads(needs_.exit_load);
    hidden_.layer = static_cast<int16_t>(plan_.depth);
    Task exit = compute(Op::kExit, home_of(plan_.depth - 1));
    exit.layer = static_cast<int16_t>(plan_.depth - 1);
    const TaskId input = read(hidden_, exit.cost.device);
    out_.exit = add(exit);
    depend(out_.exit, input);
    if (needs_.exit_load != 0 && plan_.pipelined) builder_.depend(out_.exit, load_task_[needs_.exit_load - 1]);
    Value logits{Payload::kLogits};
    write(logits, exit.cost.device, out_.exit);
    read_in(logits, kHostSpace);
  }

  void add_layer(int l) {
    const PlanLayer& layer = needs_.layers[l];
    add_loads(layer.last_load);
    take_over_residents(l);
    hidden_.layer = attended_.layer = static_cast<int16_t>(l);
    const std::vector<LayerPart>& parts = plan_.placement[l];
    if (parts.size() == 1) {
      const TaskId id = add_part(Op::kLayer, l, 0, hidden_);
      write(hidden_, parts[0].device, id);
      return;
    }
    add_split(Op::kAttentionPart, l, hidden_, attended_);
    add_split(Op::kFfnPart, l, attended_, hidden_);
  }

  // One half of a split layer: a part on each device, and the combine at home.
  void add_split(Op op, int l, Value& input, Value& output) {
    std::vector<Value> partials;
    for (size_t k = 0; k < plan_.placement[l].size(); ++k) {
      const TaskId id = add_part(op, l, k, input);
      partials.push_back({Payload::kPartial, static_cast<uint8_t>(k), static_cast<int16_t>(l)});
      write(partials.back(), plan_.placement[l][k].device, id);
    }
    Task combine = compute(Op::kCombine, home_of(l));
    combine.layer = static_cast<int16_t>(l);
    combine.slice_set = needs_.layers[l].slices;
    combine.cost.slices = op == Op::kAttentionPart ? 0 : 1;
    std::vector<TaskId> before{read(input, combine.cost.device)};
    for (Value& partial : partials) before.push_back(read(partial, combine.cost.device));
    const TaskId id = add(combine);
    for (const TaskId task : before) depend(id, task);
    write(output, combine.cost.device, id);
  }

  // A whole layer, or a part of one, on the part's device: after its input and its weights are there.
  TaskId add_part(Op op, int l, size_t k, Value& input) {
    const LayerPart& part = plan_.placement[l][k];
    const TaskId ready = read(input, part.device);
    Task task = compute_over(op, part, l);
    task.part = static_cast<uint8_t>(k);
    if (op != Op::kAttentionPart) {
      task.release = needs_.layers[l].release[k];
      task.release_memory = platform_.memory(platform_.space(part.device));
    }
    const TaskId id = add(task);
    depend(id, ready);
    if (op != Op::kFfnPart) wait_for_weights(id, l, part.slices);
    return id;
  }

  // Edges from whatever brings any of `slices` to their part.
  void wait_for_weights(TaskId task, int l, SliceMask slices) {
    TaskId last = kNoTask;
    for (SliceMask rest = slices; rest != 0; rest &= rest - 1) {
      const TaskId brought = brought_by_[static_cast<size_t>(l) * plan_.slices + std::countr_zero(rest)];
      if (brought == kNoTask || brought == last) continue;
      if (!plan_.pipelined && brought < out_.embed) continue;  // the first compute waited for all
      builder_.depend(task, brought);
      last = brought;
    }
  }

  // Adds the listed loads up to the `count`-th that are not in the graph yet.
  void add_loads(size_t count) {
    for (size_t i = load_task_.size(); i < count; ++i) {
      const PlannedLoad& load = plan_.loads[i];
      if (load.op == Op::kLoadShards) {
        load_task_.push_back(next_);
        add_shard_loads(load);
      } else if (load.op == Op::kLoadExit) {
        load_task_.push_back(add(make_exit_load(shape_, storage_, plan_.depth)));
      } else {
        const RowBound rows = row_bound(shape_, tokens_);
        Task task = make_load(Op::kLoadRows, storage_, rows.bytes.n, rows.blocks);
        task.cost.tokens = static_cast<uint16_t>(tokens_);
        load_task_.push_back(add(task));
      }
    }
  }

  // One task for all that is computed in host memory, one for each device with buffers of its own.
  void add_shard_loads(const PlannedLoad& load) {
    SliceMask host = 0;
    for (const LayerPart& part : plan_.placement[load.layer])
      if (platform_.space(part.device) == kHostSpace) host |= part.slices & load.slices;
    if (host != 0) bring(add(make_shard_load(shape_, storage_, load.layer, load.bits, host)), load.layer, host);
    for (const LayerPart& part : plan_.placement[load.layer]) {
      const SliceMask slices = part.slices & load.slices;
      if (slices == 0 || platform_.space(part.device) == kHostSpace) continue;
      Task task = make_shard_load(shape_, storage_, load.layer, load.bits, slices);
      const bool direct = platform_.devices[part.device].host_visible;
      if (direct) {
        task.space = part.device;
        task.memory = platform_.memory(part.device);
      }
      const TaskId id = add(task);
      bring(direct ? id : take_over(part.device, load.layer, load.bits, slices, task.reserve, id), load.layer, slices);
    }
  }

  void bring(TaskId task, int layer, SliceMask slices) {
    for (SliceMask rest = slices; rest != 0; rest &= rest - 1)
      brought_by_[static_cast<size_t>(layer) * plan_.slices + std::countr_zero(rest)] = task;
  }

  // What the host holds and another device computes with; one transfer a bitwidth.
  void take_over_residents(int l) {
    const PlanLayer& layer = needs_.layers[l];
    if (layer.taken_over == 0) return;
    for (const LayerPart& part : plan_.placement[l])
      for (int level = 1; level < kBitsLevels; ++level) {
        const SliceMask slices = layer.taken_over & part.slices & layer.at[level];
        if (slices == 0) continue;
        const int64_t bytes = make_shard_load(shape_, storage_, l, level_bits(level), slices).reserve;
        bring(take_over(part.device, l, level_bits(level), slices, bytes, kNoTask), l, slices);
      }
  }

  // The transfer of coded shards from host memory, which it frees, to a device's own.
  TaskId take_over(DeviceId device, int l, Bits bits, SliceMask slices, int64_t bytes, TaskId after) {
    Task task = transfer(device, Payload::kWeights, bytes);
    task.cost.device = platform_.link_of(device);
    task.cost.reads = saturated(slice_count(slices));
    task.layer = static_cast<int16_t>(l);
    task.bits = bits;
    task.slice_set = slices;
    task.memory = platform_.memory(device);
    task.reserve = task.release = bytes;
    const TaskId id = add(task);
    if (after != kNoTask) builder_.depend(id, after);
    return id;
  }

  // ---- activations: which task made a value valid where

  // The value was written by `task` on `device`, and is valid nowhere else.
  void write(Value& value, DeviceId device, TaskId task) { write_in(value, platform_.space(device), task); }
  void write_in(Value& value, SpaceId space, TaskId task) {
    value.at.assign(1, {space, task});
    touch(space, value);
  }

  // kNoTask: it was there from the start.
  void depend(TaskId after, TaskId before) {
    if (before != kNoTask) builder_.depend(after, before);
  }

  TaskId read(Value& value, DeviceId device) { return read_in(value, platform_.space(device)); }

  // The task after which the value may be read in `space`; adds the transfers that bring it there.
  TaskId read_in(Value& value, SpaceId space) {
    for (const auto& [where, task] : value.at)
      if (where == space) return task;
    if (space == kHostSpace) return move(value, value.at.front().first, true, value.at.front().second);
    return move(value, space, false, read_in(value, kHostSpace));
  }

  TaskId move(Value& value, DeviceId device, bool to_host, TaskId after) {
    Task task = transfer(device, value.payload, bytes_of(value.payload));
    task.cost.to_host = to_host;
    task.layer = value.layer;
    task.part = value.part;
    const TaskId id = add(task);
    depend(id, after);
    const SpaceId space = to_host ? kHostSpace : device;
    value.at.emplace_back(space, id);
    touch(space, value);
    return id;
  }

  // Makes room for the value in a space's buffers.
  void touch(SpaceId space, const Value& value) {
    SpaceBuffers& buffers = space == kHostSpace ? out_.buffers.host : out_.buffers.own[space];
    const int64_t bytes = aligned(bytes_of(value.payload));
    if (value.payload == Payload::kHidden) buffers.hidden = bytes;
    if (value.payload == Payload::kAttended) buffers.attended = bytes;
    if (value.payload == Payload::kPartial) buffers.partials = std::max(buffers.partials, (value.part + 1) * bytes);
    if (value.payload == Payload::kLogits) buffers.logits = bytes;
  }

  int64_t bytes_of(Payload payload) const {
    const int64_t hidden = int64_t{tokens_} * shape_.hidden;
    return payload == Payload::kLogits ? int64_t{shape_.labels} * 4 : hidden * (payload == Payload::kPartial ? 8 : 4);
  }

  // ---- tasks

  Task transfer(DeviceId device, Payload payload, int64_t bytes) const {
    Task task;
    task.kind = TaskKind::kTransfer;
    task.cost.device = device;
    task.cost.op = Op::kTransfer;
    task.cost.tokens = static_cast<uint16_t>(tokens_);
    task.cost.bytes = bytes;
    task.payload = payload;
    task.space = device;
    return task;
  }

  Task compute(Op op, DeviceId device) const {
    Task task;
    task.kind = TaskKind::kCompute;
    task.cost.device = device;
    task.cost.op = op;
    task.cost.tokens = static_cast<uint16_t>(tokens_);
    return task;
  }

  Task compute_over(Op op, const LayerPart& part, int l) const {
    const PlanLayer& layer = needs_.layers[l];
    Task task = compute(op, part.device);
    task.layer = static_cast<int16_t>(l);
    task.slice_set = part.slices;
    task.cost.slices = static_cast<uint8_t>(slice_count(part.slices));
    task.cost.decoded = (part.slices & ~layer.decoded) == 0;
    for (int level = 1; level < kBitsLevels; ++level)
      task.cost.bits[level] = static_cast<uint8_t>(slice_count(layer.at[level] & part.slices));
    return task;
  }

  TaskId add(Task task) {
    price(task, costs_, plan_.quantile);
    if (task.kind == TaskKind::kLoad) out_.io += Bytes{task.cost.bytes};
    if (task.kind == TaskKind::kCompute) {
      const DeviceId device = task.cost.device;
      if (platform_.space(device) != kHostSpace) out_.buffers.own.try_emplace(device);
      int64_t& workspace = out_.buffers.workspace[device];
      workspace = std::max(workspace, aligned(task.estimate.workspace.n));
    }
    ++next_;
    return builder_.add(task);
  }

  const ModelShape& shape_;
  const Plan& plan_;
  const PlanNeeds needs_;
  const Platform& platform_;
  const DeviceId storage_;
  const CostOracle& costs_;
  const int tokens_;
  LoweredPlan out_;
  TaskGraphBuilder builder_;
  std::vector<TaskId> load_task_;   // of plan.loads, so far as added: the first of each
  std::vector<TaskId> brought_by_;  // [depth][M]: the load or transfer that brings the shard to its part
  Value hidden_{Payload::kHidden}, attended_{Payload::kAttended};
  TaskId next_ = 0;
};

}  // namespace

Bytes RequestBuffers::host_total() const {
  int64_t sum = host.total();
  for (size_t d = 0; d < workspace.size(); ++d)
    if (own.count(static_cast<DeviceId>(d)) == 0) sum += workspace[d];
  return align_up({sum}, kPage);
}

Bytes RequestBuffers::own_total(DeviceId device) const {
  return align_up({own.at(device).total() + workspace[device]}, kPage);
}

RowBound row_bound(const ModelShape& shape, int tokens) {
  const int64_t row = std::max<int64_t>(1, int64_t{shape.hidden} * shape.stored_exact_bits / 8);
  const int64_t per_block = std::max<int64_t>(1, shape.row_block.n / row);
  const int64_t blocks = tokens + (tokens + per_block - 1) / per_block;
  return {static_cast<int>(blocks), shape.row_block * blocks};
}

Result<LoweredPlan> lower(const ModelShape& shape, const Plan& plan, const Residency& residency, const Platform& platform,
                          DeviceId storage, const CostOracle& costs, int tokens) {
  TESSERA_ASSIGN(PlanNeeds needs, read_plan(shape, plan, residency, platform, storage, tokens));
  return Lowering(shape, plan, std::move(needs), platform, storage, costs, tokens).run();
}

}  // namespace tessera
