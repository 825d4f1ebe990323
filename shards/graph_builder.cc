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
// Ids: every compute follows all loads that are listed up to the last that it needs. So loads keep the plan's order, what a
// compute waits for has a smaller id, and a load that waits for room waits only for computes that need nothing after it:
// reservations, granted in id order, can starve but never deadlock; replay tells where one can never be granted.
#include "shards/graph_builder.h"

#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "shards/plan_needs.h"

namespace tessera {
namespace {

constexpr int64_t kBufferAlignment = 64;
constexpr int64_t kPage = 4096;

int64_t aligned(int64_t bytes) { return align_up({bytes}, kBufferAlignment).n; }
SliceMask bit(int slice) { return SliceMask{1} << slice; }

Error illegal(const std::string& what) { return {ErrorCode::kInternal, what}; }
std::string where(int layer, int slice) { return "layer " + std::to_string(layer) + " slice " + std::to_string(slice); }

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

void price(Task& task, const CostOracle& costs, double quantile) {
  task.estimate = costs.estimate(task.cost);
  task.planned = std::max(Duration{}, task.estimate.at(quantile));
}

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
    builder_.reserve(plan_.loads.size() + 2 + 6 * static_cast<size_t>(plan_.depth),
                     2 * plan_.loads.size() + 4 * static_cast<size_t>(plan_.depth));
    size_buffers();
    add_computes();
    TESSERA_ASSIGN(out_.graph, builder_.build());
    out_.fixed = out_.buffers.total();
    return std::move(out_);
  }

 private:
  void size_buffers() {
    RequestBuffers& buffers = out_.buffers;
    const int64_t hidden = int64_t{tokens_} * shape_.hidden;
    size_t widest = 1;
    for (const auto& parts : plan_.placement) widest = std::max(widest, parts.size());
    buffers.hidden = aligned(hidden * 4);
    if (widest > 1) {
      buffers.attended = aligned(hidden * 4);
      buffers.partials = static_cast<int64_t>(widest) * aligned(hidden * 8);
    }
    buffers.logits = aligned(int64_t{shape_.labels} * 4);
    buffers.workspace.assign(platform_.devices.size(), 0);
  }

  void add_computes() {
    if (!plan_.pipelined) add_loads(plan_.loads.size());
    add_loads(needs_.rows_load);
    Task embed = compute(Op::kEmbed, plan_.placement[0][0].device);
    embed.release = row_bound(shape_, tokens_).bytes.n;
    out_.embed = previous_ = add(embed);
    if (plan_.pipelined) {
      builder_.depend(out_.embed, load_task_[needs_.rows_load - 1]);
    } else {
      for (const TaskId load : load_task_) builder_.depend(out_.embed, load);
    }
    for (int l = 0; l < plan_.depth; ++l) add_layer(l);
    add_loads(needs_.exit_load);
    Task exit = compute(Op::kExit, plan_.placement[plan_.depth - 1][0].device);
    exit.layer = static_cast<int16_t>(plan_.depth - 1);
    out_.exit = add(exit);
    builder_.depend(out_.exit, previous_);
    if (needs_.exit_load != 0 && plan_.pipelined) builder_.depend(out_.exit, load_task_[needs_.exit_load - 1]);
  }

  void add_layer(int l) {
    const PlanLayer& layer = needs_.layers[l];
    add_loads(layer.last_load);
    const std::vector<LayerPart>& parts = plan_.placement[l];
    if (parts.size() == 1) {
      Task fused = compute_over(Op::kLayer, parts[0], l);
      fused.release = layer.release;
      const TaskId id = add(fused);
      builder_.depend(id, previous_);
      wait_for_loads(id, l, parts[0].slices);
      previous_ = id;
      return;
    }
    add_split(Op::kAttentionPart, l, 0);
    add_split(Op::kFfnPart, l, layer.release);
  }

  // One half of a split layer: a part on each device, and the combine on the first part's.
  void add_split(Op op, int l, int64_t release) {
    const std::vector<LayerPart>& parts = plan_.placement[l];
    const TaskId first = next_;
    for (const LayerPart& part : parts) {
      const TaskId id = add(compute_over(op, part, l));
      builder_.depend(id, previous_);
      if (op == Op::kAttentionPart) wait_for_loads(id, l, part.slices);
    }
    Task combine = compute(Op::kCombine, parts[0].device);
    combine.layer = static_cast<int16_t>(l);
    combine.slice_set = needs_.layers[l].slices;
    combine.cost.slices = op == Op::kAttentionPart ? 0 : 1;
    combine.release = release;
    const TaskId id = add(combine);
    for (TaskId part = first; part < id; ++part) builder_.depend(id, part);
    previous_ = id;
  }

  // Edges from the loads that bring any of `slices`.
  void wait_for_loads(TaskId task, int l, SliceMask slices) {
    if (!plan_.pipelined) return;  // the first compute waited for all
    for (size_t i = 0; i < needs_.layers[l].last_load; ++i) {
      const PlannedLoad& load = plan_.loads[i];
      if (load.op == Op::kLoadShards && load.layer == l && (load.slices & slices) != 0) builder_.depend(task, load_task_[i]);
    }
  }

  // Adds the listed loads up to the `count`-th that are not in the graph yet.
  void add_loads(size_t count) {
    for (size_t i = load_task_.size(); i < count; ++i) {
      const PlannedLoad& load = plan_.loads[i];
      if (load.op == Op::kLoadShards) {
        load_task_.push_back(add(make_shard_load(shape_, storage_, load.layer, load.bits, load.slices)));
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
      int64_t& workspace = out_.buffers.workspace[task.cost.device];
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
  std::vector<TaskId> load_task_;  // of plan.loads, so far as added
  TaskId previous_ = kNoTask;      // the compute that the next one waits for
  TaskId next_ = 0;
};

}  // namespace

Bytes RequestBuffers::total() const {
  int64_t sum = hidden + attended + partials + logits;
  for (const int64_t bytes : workspace) sum += bytes;
  return align_up({sum}, kPage);
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

Result<TaskGraph> lower_preload(const ModelShape& shape, const std::vector<ResidentShard>& shards,
                                const std::vector<int>& exits, DeviceId storage, const CostOracle& costs) {
  std::map<std::tuple<int, Bits, int>, SliceMask> groups;  // (layer, bits, -1 or the one slice): bottom layers first
  for (const ResidentShard& shard : shards) {
    if (!shape.has_bits(shard.bits) || shape.bytes_of(shard.id, shard.bits).n <= 0)
      return illegal(where(shard.id.layer, shard.id.slice) + ": to be preloaded at " + std::to_string(shard.bits) +
                     " bits, which the model does not have");
    groups[{shard.id.layer, shard.bits, shard.decoded ? shard.id.slice : -1}] |= bit(shard.id.slice);
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
      return illegal("exit head of depth " + std::to_string(depth) + " to be preloaded; the model has " +
                     std::to_string(shape.layers) + " layers");
    add(make_exit_load(shape, storage, depth));
  }
  return builder.build();
}

}  // namespace tessera
