// Bounds from below how long any plan of a submodel takes on a set of devices.
#pragma once

#include <algorithm>
#include <vector>

#include "framework/cost_model.h"
#include "framework/model_shape.h"
#include "framework/platform.h"

namespace tessera::testing {

// A submodel: `depth` layers of `width` slices at one bitwidth, nothing resident, T tokens.
struct BoundedWork {
  const ModelShape& shape;
  const Platform& platform;
  const CostOracle& costs;
  DeviceId storage = 0;
  std::vector<DeviceId> devices;
  int depth = 0, width = 0;
  Bits bits = kExact;
  int tokens = 0;
};

struct LowerBound {
  Duration critical_path;         // every task on its fastest device, split as finely as it can be, transfers free
  Duration work_over_throughput;  // all that is computed, if it could be divided at will between all devices
  Duration storage;               // all that is read, one load a layer
  Duration any() const { return std::max({critical_path, work_over_throughput, storage}); }
};

class Bounding {
 public:
  explicit Bounding(const BoundedWork& work) : work_(work) {}

  // No plan is faster where a part of k of m slices takes at least k / m of all m, and more slices never take less: so it is
  // under a roofline (tests/scheduler/multi_device_test.cc checks that).
  LowerBound bound() const {
    const Duration whole = least([&](DeviceId d) { return part(Op::kLayer, d, work_.width); });
    const Duration halves = least([&](DeviceId d) { return part(Op::kAttentionPart, d, 1); }) + least_step(Op::kCombine, 0) +
                            least([&](DeviceId d) { return part(Op::kFfnPart, d, 1); }) + least_step(Op::kCombine, 1);
    LowerBound out;
    out.critical_path = rows() + least_step(Op::kEmbed) + std::min(whole, halves) * work_.depth + least_step(Op::kExit);
    const double layer = together([&](DeviceId d) {
      return std::min(part(Op::kLayer, d, work_.width),
                      part(Op::kAttentionPart, d, work_.width) + part(Op::kFfnPart, d, work_.width));
    });
    const double ends =
        together([&](DeviceId d) { return step(Op::kEmbed, d); }) + together([&](DeviceId d) { return step(Op::kExit, d); });
    out.work_over_throughput = {static_cast<int64_t>(layer * work_.depth + ends)};
    out.storage = load() * work_.depth + rows();
    return out;
  }

  Duration part(Op op, DeviceId device, int slices) const {
    CostKey key = key_of(op, device);
    key.slices = static_cast<uint8_t>(slices);
    key.bits[bits_level(work_.bits)] = key.slices;
    return work_.costs.estimate(key).mean;
  }

 private:
  CostKey key_of(Op op, DeviceId device) const {
    CostKey key;
    key.device = device;
    key.op = op;
    key.tokens = static_cast<uint16_t>(work_.tokens);
    return key;
  }
  Duration step(Op op, DeviceId device, int half = 0) const {
    CostKey key = key_of(op, device);
    key.slices = static_cast<uint8_t>(half);
    return work_.costs.estimate(key).mean;
  }
  template <typename Time>
  Duration least(Time time) const {
    Duration out = kForever;
    for (const DeviceId device : work_.devices) out = std::min(out, time(device));
    return out;
  }
  Duration least_step(Op op, int half = 0) const {
    return least([&](DeviceId device) { return step(op, device, half); });
  }
  // 1 / sum(1 / t), in nanoseconds.
  template <typename Time>
  double together(Time time) const {
    double rate = 0;
    for (const DeviceId device : work_.devices) {
      const Duration t = time(device);
      if (t.ns == 0) return 0;
      rate += 1 / static_cast<double>(t.ns);
    }
    return 1 / rate;
  }
  Duration rows() const {
    CostKey key = key_of(Op::kLoadRows, work_.storage);
    key.bytes = work_.shape.row_block.n;
    key.reads = 1;
    return work_.costs.estimate(key).mean;
  }
  Duration load() const {
    CostKey key = key_of(Op::kLoadShards, work_.storage);
    key.tokens = 0;
    key.slices = key.reads = static_cast<uint8_t>(work_.width);
    key.bits[bits_level(work_.bits)] = key.slices;
    for (int j = 0; j < work_.width; ++j) key.bytes += work_.shape.bytes_of({0, static_cast<int16_t>(j)}, work_.bits).n;
    return work_.costs.estimate(key).mean;
  }

  const BoundedWork& work_;
};

}  // namespace tessera::testing
