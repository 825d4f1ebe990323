// Makes shapes, cost oracles, platforms and plans for tests: plain or drawn from a seed.
#pragma once

#include <algorithm>
#include <string>

#include "framework/policy.h"

namespace tessera::testing {

// A model whose sizes are small numbers that are easy to add up: a shard at b bits takes b pages, exact ones 32, an exit
// head 2 pages.
inline ModelShape plain_shape(int layers = 2, int slices = 4) {
  ModelShape shape;
  shape.name = "plain";
  shape.layers = layers;
  shape.slices = shape.heads = slices;
  shape.hidden = 8 * slices;
  shape.ffn = 16 * slices;
  shape.vocab = 100;
  shape.max_tokens = 64;
  shape.labels = 2;
  for (int l = 1; l <= layers; ++l) shape.depths.push_back(l);
  for (int m = 1; m <= slices; ++m) shape.widths.push_back(m);
  shape.bitwidths = {2, 4, 6, kExact};
  shape.shard_bytes.assign(static_cast<size_t>(layers) * slices * kBitsLevels, Bytes{});
  for (int shard = 0; shard < layers * slices; ++shard)
    for (const Bits b : shape.bitwidths) shape.shard_bytes[shard * kBitsLevels + bits_level(b)] = kib(4) * b;
  shape.exit_bytes.assign(layers, kib(8));
  shape.row_block = kib(4);
  shape.resident_bytes = kib(16);
  return shape;
}

// disk0 and `cpus` devices that compute in host memory.
inline Platform plain_platform(int cpus = 1) {
  Platform platform;
  platform.name = "bench";
  DeviceDescription disk;
  disk.name = "disk0";
  disk.kind = DeviceKind::kStorage;
  platform.devices.push_back(disk);
  for (int c = 0; c < cpus; ++c) {
    DeviceDescription cpu;
    cpu.name = "cpu" + std::to_string(c);
    platform.devices.push_back(cpu);
  }
  return platform;
}

// A device with buffers of its own behind the others, with a link where `link`; where not `shared`, with its own memory.
struct Accelerator {
  bool link = true;
  bool host_visible = false;
  bool shared = false;
};
inline DeviceId add_accelerator(Platform& platform, const Accelerator& kind = {}) {
  DeviceDescription gpu;
  gpu.name = "gpu" + std::to_string(platform.devices.size());
  gpu.kind = DeviceKind::kGpu;
  gpu.own_buffers = true;
  gpu.host_visible = kind.host_visible;
  gpu.shared_with_host = kind.shared;
  if (!kind.shared) {
    gpu.memory = static_cast<MemoryId>(platform.memories.size());
    platform.memories.push_back({gpu.name, kUnlimited});
  }
  if (kind.link) gpu.link = gpu.name + ".link";
  const auto id = static_cast<DeviceId>(platform.devices.size());
  DeviceDescription link = gpu;
  platform.devices.push_back(gpu);
  link.name = gpu.link;
  link.kind = DeviceKind::kLink;
  link.own_buffers = false;
  link.link.clear();
  if (kind.link) platform.devices.push_back(link);
  return id;
}

// One microsecond a page loaded, `per_slice` a slice computed, nothing else.
class PlainCosts final : public CostOracle {
 public:
  PlainCosts() = default;
  explicit PlainCosts(Duration per_slice) : per_slice_(per_slice) {}
  Estimate estimate(const CostKey& key) const override {
    Estimate e;
    if (key.op == Op::kLoadShards || key.op == Op::kLoadRows || key.op == Op::kLoadExit || key.op == Op::kTransfer)
      e.mean = microseconds(key.bytes / 4096);
    else if (key.op != Op::kCombine)
      e.mean = per_slice_ * key.slices;
    e.p95 = e.mean;
    return e;
  }

 private:
  Duration per_slice_ = microseconds(10);
};

// The least plan: depth x the first `width` slices at one bitwidth, on the first compute device, everything loaded.
inline Plan plain_plan(const ModelShape& shape, int depth, int width, Bits bits, const Residency& residency = {}) {
  Plan plan;
  plan.depth = depth;
  plan.slices = shape.slices;
  plan.bits.assign(static_cast<size_t>(depth) * shape.slices, kAbsent);
  plan.loads.push_back({Op::kLoadRows, -1, kAbsent, 0});
  for (int l = 0; l < depth; ++l) {
    SliceMask missing = 0;
    for (int j = 0; j < width; ++j) {
      plan.bits[static_cast<size_t>(l) * shape.slices + j] = bits;
      const ResidentShard* held = residency.find({static_cast<int16_t>(l), static_cast<int16_t>(j)});
      if (held == nullptr || held->bits != bits) missing |= SliceMask{1} << j;
    }
    plan.placement.push_back({{1, first_slices(width)}});
    if (missing != 0) plan.loads.push_back({Op::kLoadShards, static_cast<int16_t>(l), bits, missing});
  }
  if (std::find(residency.exits.begin(), residency.exits.end(), depth) == residency.exits.end())
    plan.loads.push_back({Op::kLoadExit, -1, kAbsent, 0});
  return plan;
}

}  // namespace tessera::testing
