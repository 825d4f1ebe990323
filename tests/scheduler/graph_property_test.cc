// Draws platforms, models, residents and plans from a seed: replay must be the executor's own future, and the bytes of a
// graph must add up.
#include <bit>
#include <random>

#include <gtest/gtest.h>

#include "framework/executor.h"
#include "framework/replay.h"
#include "graph_cases.h"
#include "scheduler/plan_replay.h"
#include "shards/graph_builder.h"

namespace tessera {
namespace {

// A case of everything that lower() reads. std::mt19937_64 is the same everywhere; distributions are not used.
class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}
  int below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  int between(int low, int high) { return low + below(high - low + 1); }
  bool one_in(int n) { return below(n) == 0; }

 private:
  std::mt19937_64 random_;
};

// Costs that only a hash of the key decides: zero, tiny or large.
class HashedCosts final : public CostOracle {
 public:
  explicit HashedCosts(uint64_t seed) : seed_(seed) {}
  Estimate estimate(const CostKey& key) const override {
    uint64_t h = seed_ + key.device * 1000003u + static_cast<uint64_t>(key.op) * 7919u + key.slices * 104729u + key.tokens +
                 static_cast<uint64_t>(key.bytes) * 31u;
    for (const uint8_t n : key.bits) h = h * 131 + n;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9u;
    h ^= h >> 32;
    Estimate e;
    const int64_t scale = h % 8 == 0 ? 1 : (h % 8 == 1 ? 1'000'000 : 1'000);
    e.mean = {static_cast<int64_t>(h >> 8 & 255) * scale};
    e.p95 = e.mean * 2;
    e.workspace = {static_cast<int64_t>(h >> 20 & 0xfff)};
    return e;
  }

 private:
  uint64_t seed_;
};

struct Case {
  ModelShape shape;
  Platform platform;
  Residency residency;
  Plan plan;
  int tokens = 1;
};

std::vector<LayerPart> draw_parts(Draw& draw, SliceMask slices, const std::vector<DeviceId>& devices) {
  std::vector<LayerPart> parts;
  for (const DeviceId device : devices) parts.push_back({device, 0});
  const bool whole = draw.one_in(2);
  const int count = static_cast<int>(devices.size());
  const int first = draw.below(count);
  for (SliceMask rest = slices; rest != 0; rest &= rest - 1) parts[whole ? first : draw.below(count)].slices |= rest & -rest;
  std::erase_if(parts, [](const LayerPart& p) { return p.slices == 0; });
  return parts;
}

// Splits what must be loaded into (layer, bits) groups, sometimes finer, and sometimes shuffles their order.
void draw_loads(Draw& draw, Case& c, const std::vector<SliceMask>& missing) {
  std::vector<PlannedLoad> loads{{Op::kLoadRows, -1, kAbsent, 0}};
  for (int l = 0; l < c.plan.depth; ++l)
    for (const Bits b : c.shape.bitwidths) {
      SliceMask group = 0;
      for (SliceMask rest = missing[l]; rest != 0; rest &= rest - 1)
        if (c.plan.bits_of({static_cast<int16_t>(l), static_cast<int16_t>(std::countr_zero(rest))}) == b)
          group |= rest & -rest;
      if (group == 0) continue;
      const SliceMask low = group & -group;
      if (draw.one_in(4) && group != low) {
        loads.push_back({Op::kLoadShards, static_cast<int16_t>(l), b, low});
        group &= ~low;
      }
      loads.push_back({Op::kLoadShards, static_cast<int16_t>(l), b, group});
    }
  if (std::find(c.residency.exits.begin(), c.residency.exits.end(), c.plan.depth) == c.residency.exits.end())
    loads.push_back({Op::kLoadExit, -1, kAbsent, 0});
  if (draw.one_in(3))
    for (size_t i = loads.size() - 1; i > 0; --i) std::swap(loads[i], loads[draw.below(static_cast<int>(i) + 1)]);
  c.plan.loads = loads;
}

Case draw_case(uint64_t seed) {
  Draw draw(seed);
  Case c;
  const int cpus_of[] = {1, 1, 2, 3, 7};
  const int cpus = cpus_of[draw.below(5)];
  c.shape = testing::plain_shape(draw.between(1, 6), draw.between(1, draw.one_in(8) ? 64 : 8));
  for (Bytes& bytes : c.shape.shard_bytes) bytes = bytes * draw.between(1, 3);
  if (draw.one_in(4)) c.shape.row_block = {};
  c.platform = testing::plain_platform(cpus);
  std::vector<DeviceId> devices;
  for (int d = 1; d <= cpus; ++d) devices.push_back(static_cast<DeviceId>(d));
  for (int a = draw.one_in(2) ? draw.between(1, 3) : 0; a > 0; --a)
    devices.push_back(testing::add_accelerator(c.platform, {!draw.one_in(3), draw.one_in(3), draw.one_in(3)}));
  c.tokens = draw.between(1, c.shape.max_tokens);
  c.plan.depth = draw.between(1, c.shape.layers);
  c.plan.slices = c.shape.slices;
  c.plan.pipelined = !draw.one_in(4);
  c.plan.quantile = draw.one_in(2) ? 0.5 : 0.95;
  if (draw.one_in(2)) c.plan.home = devices[draw.below(static_cast<int>(devices.size()))];
  for (int l = 0; l < c.shape.layers; ++l) {
    SliceMask slices = 0;
    for (int j = 0; j < c.shape.slices; ++j) {
      const Bits bits = draw.one_in(4) ? kAbsent : c.shape.bitwidths[draw.below(static_cast<int>(c.shape.bitwidths.size()))];
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const Bits held_bits = bits == kAbsent || draw.one_in(3) ? c.shape.bitwidths[0] : bits;
      const SpaceId space = c.platform.space(devices[draw.below(static_cast<int>(devices.size()))]);
      const bool decoded = space == kHostSpace && draw.one_in(3);
      if (draw.one_in(4)) c.residency.shards.push_back({id, held_bits, decoded, c.shape.bytes_of(id, held_bits), space});
      if (l >= c.plan.depth) continue;
      c.plan.bits.push_back(bits);
      if (bits == kAbsent) continue;
      slices |= SliceMask{1} << j;
      if (draw.one_in(3)) c.plan.keep.push_back(id);
    }
    if (l >= c.plan.depth) continue;
    if (slices == 0) {  // a layer has one slice at least
      c.plan.bits[static_cast<size_t>(l) * c.shape.slices] = 4;
      slices = 1;
    }
    c.plan.placement.push_back(draw_parts(draw, slices, devices));
  }
  std::vector<SliceMask> missing(c.plan.depth);
  for (int l = 0; l < c.plan.depth; ++l)
    for (SliceMask rest = c.plan.slice_set(l); rest != 0; rest &= rest - 1) {
      const ResidentShard* held = c.residency.find({static_cast<int16_t>(l), static_cast<int16_t>(std::countr_zero(rest))});
      if (held == nullptr || !c.plan.uses(c.platform, *held)) missing[l] |= rest & -rest;
    }
  if (draw.one_in(2)) c.residency.exits.push_back(c.plan.depth);
  draw_loads(draw, c, missing);
  return c;
}

// By memory: what stays when the run has ended, each shard in the space of its part.
std::vector<Bytes> kept_bytes(const Case& c) {
  std::vector<Bytes> kept(c.platform.memories.size());
  kept[0] = c.shape.exit_bytes[c.plan.depth - 1];
  for (const ShardId id : c.plan.keep) {
    const SpaceId space = c.plan.space_of(c.platform, id);
    kept[c.platform.memory(space)] += c.shape.bytes_of(id, c.plan.bits_of(id));
  }
  return kept;
}

TEST(GraphProperty, TheVirtualExecutorReachesExactlyThePredictedTimesWithinTheMemory) {
  const auto executor = make_virtual_executor(nullptr);
  int ran = 0, starved = 0;
  for (uint64_t seed = 0; seed < 12'000; ++seed) {
    SCOPED_TRACE(seed);
    const Case c = draw_case(seed);
    const HashedCosts costs(seed);
    const auto lowered = lower(c.shape, c.plan, c.residency, c.platform, 0, costs, c.tokens);
    ASSERT_TRUE(lowered.ok()) << lowered.error().message;
    const std::vector<Bytes> held = held_from_start(c.shape.resident_bytes, lowered->residents, lowered->fixed);

    // What is taken and given back adds up to what stays, in every memory.
    std::vector<Bytes> balance = lowered->residents;
    for (const Task& t : lowered->graph.tasks()) {
      balance[t.memory] += Bytes{t.reserve};
      balance[t.release_memory] -= Bytes{t.release};
    }
    ASSERT_EQ(balance, kept_bytes(c));

    // With room for all, then with the least that this run needed, then with less.
    const auto free = replay(lowered->graph, {}, held);
    ASSERT_TRUE(free.ok()) << free.error().message;
    Draw draw(seed + 1'000'000);
    std::vector<Bytes> less = free->peak;
    for (size_t m = 0; m < less.size(); ++m) {
      const int64_t span = free->peak[m].n - held[m].n;
      less[m] = held[m] + Bytes{span - span / 100 * draw.below(100)};
    }
    for (const std::vector<Bytes>& capacity : {std::vector<Bytes>{}, free->peak, less}) {
      const auto predicted = replay(lowered->graph, capacity, held);
      RunLimits limits;
      limits.capacity = capacity;
      limits.held = held;
      const RunReport report = executor->run(lowered->graph, nullptr, limits);
      ASSERT_EQ(report.status.ok(), predicted.ok());
      if (!predicted.ok()) {
        ++starved;
        continue;
      }
      ++ran;
      for (TaskId id = 0; id < lowered->graph.size(); ++id) {
        ASSERT_EQ(report.tasks[id].start, predicted->start[id]) << lowered->graph.name(id);
        ASSERT_EQ(report.tasks[id].end, predicted->end[id]) << lowered->graph.name(id);
      }
      ASSERT_EQ(report.makespan, predicted->makespan);
      ASSERT_EQ(report.peak, predicted->peak);
      for (size_t m = 0; m < capacity.size(); ++m) ASSERT_LE(report.peak[m], capacity[m]);
      ASSERT_GE(report.makespan, lowered->graph.critical_path());
    }
  }
  EXPECT_GT(ran, 24'000);  // both outcomes are met often
  EXPECT_GT(starved, 500);
}

TEST(GraphProperty, EveryComputeStartsAfterAllLoadsThatBringItsSlices) {
  for (uint64_t seed = 0; seed < 2'000; ++seed) {
    SCOPED_TRACE(seed);
    const Case c = draw_case(seed);
    const auto lowered = lower(c.shape, c.plan, c.residency, c.platform, 0, HashedCosts(seed), c.tokens);
    ASSERT_TRUE(lowered.ok()) << lowered.error().message;
    const auto timeline = replay(lowered->graph, {}, {});
    ASSERT_TRUE(timeline.ok());
    const TaskGraph& graph = lowered->graph;
    for (const Task& compute : graph.tasks()) {
      if (compute.kind != TaskKind::kCompute) continue;
      for (const Task& load : graph.tasks()) {
        const bool brings = load.cost.op == Op::kLoadShards || load.payload == Payload::kWeights;
        const bool needed = brings && load.layer == compute.layer && (load.slice_set & compute.slice_set) != 0 &&
                            compute.cost.op != Op::kExit;
        if (needed || (load.kind == TaskKind::kLoad && !c.plan.pipelined)) {
          ASSERT_LE(timeline->end[load.id], timeline->start[compute.id]) << graph.name(compute.id);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tessera
