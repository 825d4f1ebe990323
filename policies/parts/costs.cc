// Makes the cost keys of a plan's tasks as the lowering of plans makes them.
#include "policies/parts/costs.h"

#include <algorithm>

namespace tessera {
namespace {

// A task of more than 13 days is of no use to any budget; the bound keeps sums over all layers within 64 bits.
constexpr Duration kAges{int64_t{1} << 50};
constexpr int64_t kMostReads = 255;

}  // namespace

Costs::Costs(const PlanningView& view, DeviceId device, PlacedLayer placed)
    : view_(view), device_(device), placed_(std::move(placed)) {
  std::array<Duration, kBitsLevels> unknown;
  unknown.fill({-1});
  layers_.assign(static_cast<size_t>(view.shape.slices) + 1, unknown);
}

bool Costs::spares_load(const ResidentShard& held) const {
  if (!placed_) return serves(view_.platform, device_, held);
  return std::any_of(view_.compute_devices.begin(), view_.compute_devices.end(),
                     [&](DeviceId device) { return serves(view_.platform, device, held); });
}

Duration Costs::at(const CostKey& key) const {
  return std::clamp(view_.costs.estimate(key).at(view_.quantile), Duration{0}, kAges);
}

CostKey Costs::compute(Op op) const {
  CostKey key;
  key.device = device_;
  key.op = op;
  key.tokens = static_cast<uint16_t>(view_.tokens);
  return key;
}

Duration Costs::layer(int width, Bits bits) {
  Duration& known = layers_[width][bits_level(bits)];
  if (known.ns < 0 && placed_) {
    known = std::clamp(placed_(width, bits), Duration{0}, kAges);
  } else if (known.ns < 0) {
    CostKey key = compute(Op::kLayer);
    key.slices = static_cast<uint8_t>(width);
    key.bits[bits_level(bits)] = static_cast<uint8_t>(width);
    known = at(key);
  }
  return known;
}

Duration Costs::load(Bits bits, int count, int64_t bytes) const {
  if (count == 0) return {};
  CostKey key;
  key.device = view_.storage;
  key.op = Op::kLoadShards;
  key.slices = static_cast<uint8_t>(count);
  key.reads = static_cast<uint8_t>(count);
  key.bits[bits_level(bits)] = key.slices;
  key.bytes = bytes;
  return at(key);
}

// Every word row in a block of its own, position rows side by side: the most that they can take.
Duration Costs::rows() const {
  const ModelShape& shape = view_.shape;
  const int64_t row = std::max<int64_t>(1, int64_t{shape.hidden} * shape.stored_exact_bits / 8);
  const int64_t per_block = std::max<int64_t>(1, shape.row_block.n / row);
  const int64_t blocks = view_.tokens + (view_.tokens + per_block - 1) / per_block;
  CostKey key;
  key.device = view_.storage;
  key.op = Op::kLoadRows;
  key.tokens = static_cast<uint16_t>(view_.tokens);
  key.reads = static_cast<uint8_t>(std::min(blocks, kMostReads));
  key.bytes = shape.row_block.n * blocks;
  return at(key);
}

Duration Costs::embed() const { return at(compute(Op::kEmbed)); }
Duration Costs::exit() const { return at(compute(Op::kExit)); }

Duration Costs::exit_load(int depth) const {
  CostKey key;
  key.device = view_.storage;
  key.op = Op::kLoadExit;
  key.reads = 1;
  key.bytes = view_.shape.exit_bytes[static_cast<size_t>(depth) - 1].n;
  return at(key);
}

}  // namespace tessera
