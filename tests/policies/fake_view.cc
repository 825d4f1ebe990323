// Builds the described worlds, and replays plans in them.
#include "tests/policies/fake_view.h"

#include <algorithm>
#include <bit>

#include <gtest/gtest.h>

#include "framework/registry.h"

namespace tessera::testing {
namespace {

Error illegal(const std::string& what) { return {ErrorCode::kInternal, what}; }

// Loads in the plan's order; a part starts when its loads have ended; bytes are given back after the layer. Every device
// computes in host memory.
class Graph {
 public:
  Graph(const World& world, const Plan& plan, const Residency& residency)
      : world_(world), plan_(plan), residency_(residency), last_load_(static_cast<size_t>(plan.depth), 0) {}

  Result<TaskGraph> build() {
    TESSERA_TRY(check());
    if (!plan_.pipelined) add_loads(plan_.loads.size());
    add_loads(rows_at_);
    previous_ = compute(Op::kEmbed, home_of(0), {});
    if (plan_.pipelined) builder_.depend(previous_, loads_[rows_at_ - 1]);
    if (!plan_.pipelined)
      for (const TaskId load : loads_) builder_.depend(previous_, load);
    for (int l = 0; l < plan_.depth; ++l) add_layer(l);
    add_loads(exit_at_);
    const TaskId exit = compute(Op::kExit, home_of(plan_.depth - 1), {});
    builder_.depend(exit, previous_);
    if (exit_at_ > 0) builder_.depend(exit, loads_[exit_at_ - 1]);
    return builder_.build();
  }
  int64_t io = 0;
  int64_t residents = 0;

 private:
  DeviceId home_of(int layer) const { return plan_.home.value_or(plan_.placement[layer][0].device); }

  Status check() {
    if (plan_.bits.size() != static_cast<size_t>(plan_.depth) * plan_.slices) return illegal("wrong size of bits");
    if (plan_.placement.size() != static_cast<size_t>(plan_.depth)) return illegal("wrong size of placement");
    std::vector<int> brought(plan_.bits.size(), 0);
    for (size_t i = 0; i < plan_.loads.size(); ++i) {
      const PlannedLoad& load = plan_.loads[i];
      if (load.op == Op::kLoadRows) rows_at_ = i + 1;
      if (load.op == Op::kLoadExit) exit_at_ = i + 1;
      if (load.op != Op::kLoadShards) continue;
      last_load_[load.layer] = i + 1;
      for (SliceMask rest = load.slices; rest != 0; rest &= rest - 1) {
        const ShardId id{load.layer, static_cast<int16_t>(std::countr_zero(rest))};
        if (plan_.bits_of(id) != load.bits) return illegal("a load at other bits than the plan's");
        ++brought[static_cast<size_t>(load.layer) * plan_.slices + id.slice];
      }
    }
    if (rows_at_ == 0) return illegal("no rows");
    const bool held = std::count(residency_.exits.begin(), residency_.exits.end(), plan_.depth) != 0;
    if (held == (exit_at_ != 0)) return illegal("exit head: loaded xor resident");
    for (size_t at = 0; at < plan_.bits.size(); ++at) {
      const ShardId id{static_cast<int16_t>(at / plan_.slices), static_cast<int16_t>(at % plan_.slices)};
      const ResidentShard* resident = residency_.find(id);
      const bool usable = plan_.bits[at] != kAbsent && resident != nullptr && resident->bits == plan_.bits[at];
      if (usable) residents += resident->bytes.n;
      if (brought[at] + usable != (plan_.bits[at] != kAbsent)) return illegal("a shard is not loaded xor resident");
    }
    for (const ResidentShard& unused : residency_.shards)
      if (plan_.stays(unused)) residents += unused.bytes.n;
    return {};
  }

  void add_loads(size_t count) {
    for (size_t i = loads_.size(); i < count; ++i) {
      Task task;
      task.kind = TaskKind::kLoad;
      task.cost.op = plan_.loads[i].op;
      for (SliceMask rest = plan_.loads[i].slices; rest != 0; rest &= rest - 1)
        task.cost.bytes +=
            world_.shape.bytes_of({plan_.loads[i].layer, static_cast<int16_t>(std::countr_zero(rest))}, plan_.loads[i].bits)
                .n;
      if (task.cost.op == Op::kLoadExit) task.cost.bytes = world_.shape.exit_bytes[plan_.depth - 1].n;
      task.reserve = task.cost.bytes;
      io += task.cost.bytes;
      task.planned = world_.costs.estimate(task.cost).at(plan_.quantile);
      loads_.push_back(builder_.add(task));
    }
  }

  TaskId compute(Op op, DeviceId device, const LayerPart& part, int layer = 0, int64_t release = 0) {
    Task task;
    task.cost.device = device;
    task.cost.op = op;
    task.cost.slices = static_cast<uint8_t>(slice_count(part.slices));
    for (SliceMask rest = part.slices; rest != 0; rest &= rest - 1)
      ++task.cost
            .bits[bits_level(plan_.bits_of({static_cast<int16_t>(layer), static_cast<int16_t>(std::countr_zero(rest))}))];
    task.planned = world_.costs.estimate(task.cost).at(plan_.quantile);
    task.release = release;
    return builder_.add(task);
  }

  int64_t released_by(int layer) const {
    int64_t bytes = 0;
    for (int j = 0; j < plan_.slices; ++j) {
      const ShardId id{static_cast<int16_t>(layer), static_cast<int16_t>(j)};
      if (plan_.bits_of(id) == kAbsent || std::count(plan_.keep.begin(), plan_.keep.end(), id) != 0) continue;
      const ResidentShard* held = residency_.find(id);
      bytes += held != nullptr && held->bits == plan_.bits_of(id) ? held->bytes.n
                                                                  : world_.shape.bytes_of(id, plan_.bits_of(id)).n;
    }
    return bytes;
  }

  // Parts on several devices run at once; each half ends with a combine.
  void add_layer(int l) {
    add_loads(last_load_[l]);
    if (plan_.placement[l].size() == 1) {
      const LayerPart& part = plan_.placement[l][0];
      const TaskId task = compute(Op::kLayer, part.device, part, l, released_by(l));
      builder_.depend(task, previous_);
      wait_for_loads(task, l, part.slices);
      previous_ = task;
      return;
    }
    add_half(Op::kAttentionPart, l, 0);
    add_half(Op::kFfnPart, l, released_by(l));
  }

  void add_half(Op op, int l, int64_t release) {
    std::vector<TaskId> parts;
    for (const LayerPart& part : plan_.placement[l]) {
      parts.push_back(compute(op, part.device, part, l));
      builder_.depend(parts.back(), previous_);
      if (op == Op::kAttentionPart) wait_for_loads(parts.back(), l, part.slices);
    }
    const TaskId combine = compute(Op::kCombine, home_of(l), {}, l, release);
    for (const TaskId part : parts) builder_.depend(combine, part);
    previous_ = combine;
  }

  void wait_for_loads(TaskId task, int l, SliceMask slices) {
    for (size_t i = 0; i < last_load_[l]; ++i) {
      const PlannedLoad& load = plan_.loads[i];
      if (load.op == Op::kLoadShards && load.layer == l && (load.slices & slices) != 0) builder_.depend(task, loads_[i]);
    }
  }

  const World& world_;
  const Plan& plan_;
  const Residency& residency_;
  TaskGraphBuilder builder_;
  std::vector<TaskId> loads_;
  std::vector<size_t> last_load_;
  size_t rows_at_ = 0, exit_at_ = 0;
  TaskId previous_ = kNoTask;
};

void size_shards(ModelShape& shape) {
  shape.shard_bytes.assign(static_cast<size_t>(shape.layers) * shape.slices * kBitsLevels, {});
  for (size_t i = 0; i < shape.shard_bytes.size(); ++i) {
    const int level = static_cast<int>(i % kBitsLevels);
    if (level == 0 || !shape.has_bits(level_bits(level))) continue;
    shape.shard_bytes[i] = {shape.shard_weights() * (level_bits(level) == kExact ? shape.stored_exact_bits : level) / 8};
  }
}

DeviceDescription device(const std::string& name, DeviceKind kind) {
  DeviceDescription out;
  out.name = name;
  out.kind = kind;
  return out;
}

template <typename T>
std::vector<T> some_of(Random& random, const std::vector<T>& all) {
  std::vector<T> out;
  for (const T& v : all)
    if (random.one_in(2)) out.push_back(v);
  if (out.empty()) out.push_back(all[static_cast<size_t>(random.between(0, static_cast<int64_t>(all.size()) - 1))]);
  return out;
}

std::vector<int> up_to(int n) {
  std::vector<int> out;
  for (int i = 1; i <= n; ++i) out.push_back(i);
  return out;
}

ModelShape random_shape(Random& random) {
  ModelShape shape;
  shape.name = "random";
  shape.layers = static_cast<int>(random.between(1, 8));
  shape.slices = shape.heads = static_cast<int>(random.between(1, 8));
  shape.hidden = shape.slices * 16;
  shape.ffn = shape.slices * 64;
  shape.max_tokens = 512;
  shape.labels = 2;
  shape.depths = some_of(random, up_to(shape.layers));
  shape.widths = some_of(random, up_to(shape.slices));
  shape.bitwidths = some_of(random, std::vector<Bits>{2, 3, 4, 5, 6, kExact});
  shape.stored_exact_bits = random.one_in(2) ? 32 : 16;
  shape.exit_bytes.assign(static_cast<size_t>(shape.layers), Bytes{random.one_in(2) ? 0 : random.between(1, 20'000)});
  size_shards(shape);
  return shape;
}

void random_costs(Random& random, World& world) {
  FakeCosts& costs = world.costs;
  int64_t layer = random.between(0, 50'000);
  for (int m = 0; m <= world.shape.slices; ++m) costs.layer.push_back(layer += random.between(0, 60'000));
  if (random.one_in(2))
    for (int64_t& extra : costs.decode) extra = random.between(0, 20'000);
  costs.ns_per_byte = static_cast<double>(random.between(0, 300)) / 100;
  costs.per_load = random.one_in(2) ? 0 : random.between(0, 20'000);
  costs.rows = random.one_in(2) ? 0 : random.between(0, 50'000);
  costs.embed = random.one_in(2) ? 0 : random.between(0, 50'000);
  costs.exit = random.one_in(2) ? 0 : random.between(0, 50'000);
  costs.p95_factor = 1 + static_cast<double>(random.between(0, 50)) / 100;
}

// Two to four devices, of different speeds.
void random_devices(uint64_t seed, World& world) {
  Random random(~seed);
  world.devices = {2, 1};
  if (random.one_in(2)) world.devices.push_back(3);
  if (random.one_in(3)) world.devices.push_back(4);
  world.costs.percent = {100};
  for (int d = 1; d <= 4; ++d) world.costs.percent.push_back(random.one_in(2) ? 100 : random.between(30, 300));
}

void random_residency(Random& random, World& world) {
  if (random.one_in(2)) return;
  for (int l = 0; l < world.shape.layers; ++l)
    for (int j = 0; j < world.shape.slices; ++j) {
      if (!random.one_in(l + 2)) continue;
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const auto& ladder = world.shape.bitwidths;
      const Bits bits = ladder[static_cast<size_t>(random.between(0, static_cast<int64_t>(ladder.size()) - 1))];
      world.residency.shards.push_back({id, bits, false, world.shape.bytes_of(id, bits)});
    }
  if (random.one_in(2)) world.residency.exits = {world.shape.depths.back()};
}

}  // namespace

Estimate FakeCosts::estimate(const CostKey& key) const {
  int64_t ns = 0;
  switch (key.op) {
    case Op::kLoadShards:
    case Op::kLoadExit:
      ns = per_load + static_cast<int64_t>(static_cast<double>(key.bytes) * ns_per_byte);
      break;
    case Op::kLoadRows:
      ns = rows;
      break;
    case Op::kEmbed:
      ns = embed;
      break;
    case Op::kExit:
      ns = exit;
      break;
    case Op::kLayer:
    case Op::kAttentionPart:
    case Op::kFfnPart:
      ns = layer[key.slices];
      for (int level = 1; level < kBitsLevels; ++level) ns += decode[level] * key.bits[level];
      // The two halves of a layer, a third and two thirds of it.
      if (key.op != Op::kLayer) ns = key.op == Op::kAttentionPart ? ns / 3 : ns - ns / 3;
      break;
    default:
      break;
  }
  if (key.device < percent.size()) ns = ns * percent[key.device] / 100;
  Estimate out;
  out.mean = {ns};
  out.p95 = {static_cast<int64_t>(static_cast<double>(ns) * p95_factor)};
  return out;
}

void World::hold_layers(int count, Bits bits_held) {
  residency.shards.clear();
  for (int l = 0; l < count; ++l)
    for (int j = 0; j < shape.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      residency.shards.push_back({id, bits_held, false, shape.bytes_of(id, bits_held)});
    }
}

Result<Prediction> FakeReplay::replay(const Plan& plan) const {
  return replay_if(plan, world_.budgets.memory, world_.residency);
}

Result<Prediction> FakeReplay::replay_if(const Plan& plan, Bytes memory, const Residency& residency) const {
  ++world_.replays;
  Graph builder(world_, plan, residency);
  TESSERA_ASSIGN(const TaskGraph graph, builder.build());
  const Bytes held{world_.base.n + world_.fixed.n + builder.residents};
  TESSERA_ASSIGN(const Timeline timeline, tessera::replay(graph, {memory}, {held}));
  Prediction out;
  out.latency = timeline.makespan;
  out.peak = timeline.peak[0];
  out.io = {builder.io};
  return out;
}

PlanningView view_of(const World& world, const PlanReplay& replay) {
  return PlanningView{world.shape,     world.accuracy,    world.platform, world.costs, replay,
                      world.residency, world.budgets,     world.devices,  0,           world.tokens,
                      world.seed,      world.best_effort, world.depth,    world.width, world.bits,
                      world.quantile,  world.knobs};
}

World sti_board() {
  World world;
  ModelShape& shape = world.shape;
  shape.name = "bert-base";
  shape.layers = shape.slices = shape.heads = 12;
  shape.hidden = 768;
  shape.ffn = 3072;
  shape.max_tokens = 512;
  shape.labels = 2;
  for (int i = 3; i <= 12; ++i) {
    shape.depths.push_back(i);
    shape.widths.push_back(i);
  }
  shape.bitwidths = {2, 3, 4, 5, 6, kExact};
  shape.exit_bytes.assign(12, {});
  size_shards(shape);
  world.accuracy = random_importance(shape, 7);
  world.platform.name = "sti-board";
  world.platform.devices = {device("disk0", DeviceKind::kStorage), device("cpu0", DeviceKind::kCpu)};
  // T_comp with 2 ms a shard of decompression; narrower than 3 is not legal.
  for (const int64_t ms : {0, 0, 0, 41, 52, 62, 70, 79, 86, 93, 103, 109, 119}) world.costs.layer.push_back(ms * 1'000'000);
  world.costs.ns_per_byte = 28.28e6 / 2359296;  // T_io(32) of one shard
  world.budgets.preload = mib(8);
  return world;
}

World random_world(uint64_t seed) {
  Random random(seed);
  World world;
  world.shape = random_shape(random);
  world.platform.name = "random";
  world.platform.devices = {device("disk0", DeviceKind::kStorage), device("cpu0", DeviceKind::kCpu),
                            device("gpu0", DeviceKind::kGpu), device("cpu1", DeviceKind::kCpu),
                            device("npu0", DeviceKind::kNpu)};
  const bool several = random.one_in(3);
  random_costs(random, world);
  if (several) random_devices(seed, world);
  world.base = {random.between(0, 10'000)};
  world.fixed = {random.between(0, 10'000)};
  world.accuracy = random_importance(world.shape, random.next());
  if (random.one_in(2)) world.accuracy.map = {{{0}, {950'000}}, {{500'000}, {500'000}}};
  random_residency(random, world);
  const int64_t layers = world.shape.layers * (world.costs.layer.back() + 40'000);
  world.budgets.latency = random.one_in(6) ? kForever : Duration{random.between(0, 2 * layers)};
  const int64_t whole = world.shape.shard_weights() * world.shape.layers * world.shape.slices;
  world.budgets.memory = random.one_in(3) ? kUnlimited : Bytes{random.between(0, 2 * whole)};
  world.budgets.preload = {random.one_in(3) ? 0 : random.between(0, whole)};
  world.seed = random.next();
  world.quantile = random.one_in(2) ? 0.5 : 0.95;
  if (random.one_in(8)) world.depth = world.shape.depths.front();
  if (random.one_in(8)) world.width = world.shape.widths.back();
  if (random.one_in(8)) world.bits = world.shape.bitwidths.front();
  return world;
}

std::string fault(const World& world, const PlanReplay& replay, const Plan& plan) {
  if (!world.shape.legal_depth(plan.depth)) return "depth " + std::to_string(plan.depth) + " is not legal";
  if (world.depth && plan.depth != *world.depth) return "not the given depth";
  for (int l = 0; l < plan.depth; ++l) {
    const SliceMask set = plan.slice_set(l);
    if (!world.shape.legal_width(slice_count(set))) return "a width is not legal";
    if (world.width && slice_count(set) != *world.width) return "not the given width";
    SliceMask placed = 0;
    for (const LayerPart& part : plan.placement[l]) {
      if ((placed & part.slices) != 0 || part.slices == 0) return "a placement repeats slices or is empty";
      if (std::count(world.devices.begin(), world.devices.end(), part.device) == 0) return "a device that may not be used";
      placed |= part.slices;
    }
    if (placed != set) return "placement does not cover the layer";
  }
  int64_t kept = 0;
  for (const ShardId id : plan.keep) kept += world.shape.bytes_of(id, plan.bits_of(id)).n;
  if (kept > std::max(world.budgets.preload.n, world.residency.total().n)) return "keeps more than the preload budget";
  for (const Bits bits : plan.bits) {
    if (bits != kAbsent && !world.shape.has_bits(bits)) return "bits that the store does not have";
    if (bits != kAbsent && world.bits && bits != *world.bits) return "not the given bits";
  }
  const auto predicted = replay.replay(plan);
  if (!predicted.ok()) return predicted.error().message;
  if (predicted->peak > world.budgets.memory) return "peak above the memory budget";
  if (!world.best_effort && predicted->latency > world.budgets.latency) return "later than the latency budget";
  if (predicted->latency != plan.predicted.latency) return "another latency than predicted";
  return "";
}

Result<Decision> decide(const std::string& policy, const World& world) {
  register_policies();
  const FakeReplay replay(world);
  const auto* entry = policies().find(policy);
  if (entry == nullptr) return illegal("no such policy");
  return entry->make()->decide(view_of(world, replay));
}

Plan plan_of(const std::string& policy, const World& world) {
  const Result<Decision> decision = decide(policy, world);
  EXPECT_TRUE(decision.ok()) << decision.error().message;
  if (!decision.ok()) return {};
  const Plan* plan = std::get_if<Plan>(&*decision);
  EXPECT_NE(plan, nullptr) << std::get<Infeasible>(*decision).why;
  return plan == nullptr ? Plan{} : *plan;
}

std::map<int, int> histogram(const Plan& plan) {
  std::map<int, int> out;
  for (const Bits bits : plan.bits)
    if (bits != kAbsent) ++out[bits];
  return out;
}

}  // namespace tessera::testing
