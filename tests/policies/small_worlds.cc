// Draws small worlds, and counts through their plans.
#include "tests/policies/small_worlds.h"

#include <algorithm>

#include "policies/parts/assembly.h"

namespace tessera::testing {
namespace {

template <typename T>
std::vector<T> some(Random& random, const std::vector<T>& all, size_t most) {
  std::vector<T> out;
  for (const T& v : all)
    if (out.size() < most && random.one_in(2)) out.push_back(v);
  if (out.empty()) out.push_back(all[static_cast<size_t>(random.between(0, static_cast<int64_t>(all.size()) - 1))]);
  return out;
}

void draw_shape(Random& random, ModelShape& shape) {
  shape.name = "small";
  shape.layers = static_cast<int>(random.between(1, 2));
  shape.slices = shape.heads = static_cast<int>(random.between(1, 3));
  shape.hidden = 16 * shape.slices;
  shape.ffn = 64 * shape.slices;
  shape.max_tokens = 512;
  shape.labels = 2;
  std::vector<int> depths, widths;
  for (int i = 1; i <= shape.layers; ++i) depths.push_back(i);
  for (int i = 1; i <= shape.slices; ++i) widths.push_back(i);
  shape.depths = some(random, depths, 2);
  shape.widths = some(random, widths, 3);
  shape.bitwidths = some(random, std::vector<Bits>{2, 3, 4, 5, 6, kExact}, 3);
  shape.exit_bytes.assign(static_cast<size_t>(shape.layers), Bytes{random.one_in(2) ? 0 : random.between(1, 20'000)});
  // Bytes are a whole number of quarters a bit, so that nothing is rounded; some stores pad shards unequally.
  const bool uneven = random.one_in(4);
  const int64_t weights = random.between(1, 400) * 32;
  for (int l = 0; l < shape.layers; ++l)
    for (int j = 0; j < shape.slices; ++j)
      for (int level = 0; level < kBitsLevels; ++level) {
        const bool stored = level > 0 && shape.has_bits(level_bits(level));
        const int64_t padding = uneven ? 64 * random.between(0, 3) : 0;
        shape.shard_bytes.push_back({stored ? weights * level_bits(level) / 8 + padding : 0});
      }
}

void draw_accuracy(Random& random, World& world) {
  AccuracyModel& model = world.accuracy;
  model = random_importance(world.shape, random.next());
  model.map = {{{0}, {950'000}}, {{500'000}, {500'000}}};
  model.prefixes_only = random.one_in(3);
  for (Micro& base : model.base) base = {random.between(0, 40'000)};
  if (random.one_in(2))
    for (int64_t& ppm : model.scale_ppm) ppm = random.between(100'000, 3'000'000);
}

void draw_costs(Random& random, World& world) {
  FakeCosts& costs = world.costs;
  int64_t layer = random.between(0, 50'000);
  for (int m = 0; m <= world.shape.slices; ++m) costs.layer.push_back(layer += random.between(0, 60'000));
  if (random.one_in(2))
    for (int64_t& extra : costs.decode) extra = random.between(0, 20'000);
  costs.ns_per_byte = static_cast<double>(random.between(0, 64)) / 8;
  costs.per_load = random.one_in(2) ? 0 : random.between(0, 20'000);
  costs.rows = random.one_in(2) ? 0 : random.between(0, 50'000);
  costs.embed = random.one_in(2) ? 0 : random.between(0, 50'000);
  costs.exit = random.one_in(2) ? 0 : random.between(0, 50'000);
}

void draw_residency(Random& random, World& world) {
  if (random.one_in(2)) return;
  const ModelShape& shape = world.shape;
  for (int l = 0; l < shape.layers; ++l)
    for (int j = 0; j < shape.slices; ++j) {
      if (random.one_in(2)) continue;
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const auto last = static_cast<int64_t>(shape.bitwidths.size()) - 1;
      const Bits bits = shape.bitwidths[static_cast<size_t>(random.between(0, last))];
      world.residency.shards.push_back({id, bits, false, shape.bytes_of(id, bits)});
    }
  if (random.one_in(2)) world.residency.exits = {shape.depths.back()};
}

void draw_budgets(Random& random, World& world) {
  int64_t io = 0, whole = 0;
  for (const Bytes& b : world.shape.shard_bytes) whole = std::max(whole, b.n);
  whole *= world.shape.layers * world.shape.slices;
  io = static_cast<int64_t>(static_cast<double>(whole) * world.costs.ns_per_byte);
  const int64_t compute = world.shape.layers * (world.costs.layer.back() + 20'000);
  world.budgets.latency = random.one_in(8) ? kForever : Duration{random.between(compute / 4, compute + io + 200'000)};
  world.budgets.memory = random.one_in(2) ? kUnlimited : Bytes{random.between(whole / 8, whole + whole / 2 + 40'000)};
  world.base = {random.between(0, 10'000)};
  world.fixed = {random.between(0, 10'000)};
  if (random.one_in(10)) world.depth = world.shape.depths.front();
  if (random.one_in(10)) world.width = world.shape.widths.back();
  if (random.one_in(10)) world.bits = world.shape.bitwidths.front();
}

}  // namespace

World small_world(uint64_t seed) {
  Random random(seed * 7919 + 1);
  World world;
  draw_shape(random, world.shape);
  const auto device = [](const char* name, DeviceKind kind) {
    DeviceDescription out;
    out.name = name;
    out.kind = kind;
    return out;
  };
  world.platform.name = "small";
  world.platform.devices = {device("disk0", DeviceKind::kStorage), device("cpu0", DeviceKind::kCpu)};
  draw_accuracy(random, world);
  draw_costs(random, world);
  draw_residency(random, world);
  draw_budgets(random, world);
  return world;
}

BruteForce brute_force(const World& world) {
  BruteForce out;
  const FakeReplay replay(world);
  const PlanningView view = view_of(world, replay);
  std::vector<Bits> levels{kAbsent};
  levels.insert(levels.end(), world.shape.bitwidths.begin(), world.shape.bitwidths.end());
  for (const int depth : world.shape.depths) {
    if (world.depth && depth != *world.depth) continue;
    const auto shards = static_cast<size_t>(depth) * world.shape.slices;
    std::vector<size_t> digit(shards, 0);
    for (bool more = true; more;) {
      std::vector<Bits> bits;
      for (const size_t d : digit) bits.push_back(levels[d]);
      more = false;
      for (size_t i = 0; i < shards && !more; ++i) {
        digit[i] = (digit[i] + 1) % levels.size();
        more = digit[i] != 0;
      }
      bool legal = world.accuracy.knows(depth, bits);
      for (int l = 0; l < depth && legal; ++l) {
        const auto row = bits.begin() + static_cast<ptrdiff_t>(l) * world.shape.slices;
        const auto width = static_cast<int>(world.shape.slices - std::count(row, row + world.shape.slices, kAbsent));
        legal = world.shape.legal_width(width) && (!world.width || width == *world.width);
      }
      if (world.bits)
        for (const Bits b : bits) legal = legal && (b == kAbsent || b == *world.bits);
      if (!legal) continue;
      ++out.plans;
      const int64_t loss = world.accuracy.loss(depth, bits).n;
      if (out.loss && loss >= *out.loss) continue;
      const Plan plan = assemble(view, world.residency, 1, depth, bits);
      const auto predicted = replay.replay(plan);
      if (!predicted.ok() || predicted->latency > world.budgets.latency || predicted->peak > world.budgets.memory) continue;
      out.loss = loss;
    }
  }
  return out;
}

}  // namespace tessera::testing
