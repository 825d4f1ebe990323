// Makes the cost keys of a plan's tasks as the lowering of plans makes them.
#include "policies/parts/task_costs.h"

#include <algorithm>

namespace tessera {
namespace {

// A task of more than 13 days is of no use to any budget.
constexpr Duration kAges{int64_t{1} << 50};
constexpr int64_t kMostReads = 255;

uint8_t saturated(int64_t n) { return static_cast<uint8_t>(std::min(n, kMostReads)); }

}  // namespace

Duration planned_duration(const Estimate& estimate, double quantile) {
  return std::clamp(estimate.at(quantile), Duration{0}, kAges);
}

size_t TaskCosts::Hash::operator()(const Packed& key) const {
  uint64_t h = 0;
  for (const uint64_t word : key) {  // the finaliser of MurmurHash3 over each word
    h = (h ^ word) * 0xff51afd7ed558ccdULL;
    h ^= h >> 32;
  }
  return h;
}

Duration TaskCosts::at(const CostKey& key) {
  Packed packed{};
  packed[0] = key.device | uint64_t{static_cast<uint8_t>(key.op)} << 8 | uint64_t{key.slices} << 16 |
              uint64_t{key.reads} << 24 | uint64_t{key.decoded} << 32 | uint64_t{key.to_host} << 33;
  for (int i = 0; i < 8; ++i) packed[1] |= uint64_t{key.bits[i]} << (8 * i);
  packed[2] = key.bits[8] | uint64_t{key.bits[9]} << 8;
  packed[3] = static_cast<uint64_t>(key.bytes);
  const auto [it, fresh] = known_.try_emplace(packed);
  if (fresh) it->second = planned_duration(view_.costs.estimate(key), view_.quantile);
  return it->second;
}

CostKey TaskCosts::key(Op op, DeviceId device) const {
  CostKey key;
  key.device = device;
  key.op = op;
  key.tokens = static_cast<uint16_t>(view_.tokens);
  return key;
}

Duration TaskCosts::part(Op op, DeviceId device, const BitsHistogram& bits, bool decoded) {
  CostKey of = key(op, device);
  of.bits = bits;
  for (const uint8_t count : bits) of.slices = static_cast<uint8_t>(of.slices + count);
  of.decoded = decoded;
  return at(of);
}

Duration TaskCosts::part(Op op, DeviceId device, int slices, Bits bits) {
  BitsHistogram counts{};
  counts[bits_level(bits)] = static_cast<uint8_t>(slices);
  return part(op, device, counts, false);
}

Duration TaskCosts::embed(DeviceId device) { return at(key(Op::kEmbed, device)); }
Duration TaskCosts::exit(DeviceId device) { return at(key(Op::kExit, device)); }

Duration TaskCosts::combine(DeviceId device, Op half) {
  CostKey of = key(Op::kCombine, device);
  of.slices = half == Op::kAttentionPart ? 0 : 1;
  return at(of);
}

int64_t TaskCosts::bytes_of(Payload payload) const {
  const int64_t hidden = int64_t{view_.tokens} * view_.shape.hidden;
  return payload == Payload::kLogits ? int64_t{view_.shape.labels} * 4 : hidden * (payload == Payload::kPartial ? 8 : 4);
}

Duration TaskCosts::move(DeviceId device, Payload payload, bool to_host) {
  CostKey of = key(Op::kTransfer, device);
  of.bytes = bytes_of(payload);
  of.to_host = to_host;
  return at(of);
}

Duration TaskCosts::take_over(DeviceId device, int slices, int64_t bytes) {
  CostKey of = key(Op::kTransfer, view_.platform.link_of(device));
  of.bytes = bytes;
  of.reads = saturated(slices);
  return at(of);
}

Duration TaskCosts::load(Bits bits, int slices, int64_t bytes) {
  CostKey of;
  of.device = view_.storage;
  of.op = Op::kLoadShards;
  of.slices = static_cast<uint8_t>(slices);
  of.reads = saturated(slices);
  of.bits[bits_level(bits)] = of.slices;
  of.bytes = bytes;
  return at(of);
}

// Every word row in a block of its own, position rows side by side: the most that they can take.
int64_t TaskCosts::row_blocks() const {
  const ModelShape& shape = view_.shape;
  const int64_t row = std::max<int64_t>(1, int64_t{shape.hidden} * shape.stored_exact_bits / 8);
  const int64_t per_block = std::max<int64_t>(1, shape.row_block.n / row);
  return view_.tokens + (view_.tokens + per_block - 1) / per_block;
}

int64_t TaskCosts::rows_bytes() const { return view_.shape.row_block.n * row_blocks(); }

Duration TaskCosts::load_rows() {
  CostKey of = key(Op::kLoadRows, view_.storage);
  of.reads = saturated(row_blocks());
  of.bytes = rows_bytes();
  return at(of);
}

Duration TaskCosts::load_exit(int depth) {
  CostKey of;
  of.device = view_.storage;
  of.op = Op::kLoadExit;
  of.reads = 1;
  of.bytes = view_.shape.exit_bytes[static_cast<size_t>(depth) - 1].n;
  return at(of);
}

}  // namespace tessera
