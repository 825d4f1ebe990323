// Requests that may compute on several devices: on the described trio, and drawn from a seed.
#pragma once

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "configs/loader.h"
#include "framework/registry.h"
#include "graph_cases.h"
#include "policies/parts/assembly.h"
#include "scheduler/plan_replay.h"

namespace tessera {
void register_policies();
}  // namespace tessera

namespace tessera::testing {

// A request and all that it is planned against.
struct Asked {
  ModelShape shape;
  AccuracyModel accuracy;
  Platform platform;
  std::shared_ptr<CostOracle> costs;
  Residency residency;
  Budgets budgets;
  std::vector<DeviceId> devices;
  std::optional<Bits> bits;
  int tokens = 128;
  double quantile = 0.5;

  ReplayContext context() const {
    return {shape, accuracy, platform, *costs, residency, 0, tokens, budgets.memory, shape.resident_bytes};
  }
  PlanningView view(const PlanReplay& replay) const {
    PlanningView out{shape,  accuracy, platform, *costs, replay, residency, budgets,  devices, 0,
                     tokens, 0,        false,    {},     {},     bits,      quantile, {}};
    return out;
  }
  Result<Decision> decide(const std::string& policy) const {
    register_policies();
    const GraphReplay replay(context());
    return policies().find(policy)->make()->decide(view(replay));
  }
  // The latency of a plan; kForever where it cannot run.
  Duration latency(const Plan& plan) const {
    const auto predicted = GraphReplay(context()).replay(plan);
    return predicted.ok() && predicted->peak <= budgets.memory ? predicted->latency : kForever;
  }
  // The least latency with `bits` all on one device.
  Duration best_alone(const std::vector<Bits>& plan_bits, int depth) const {
    const GraphReplay replay(context());
    Duration least = kForever;
    for (const DeviceId device : devices)
      least = std::min(least, latency(assemble(view(replay), residency, device, depth, plan_bits)));
    return least;
  }
};

inline std::string config(const std::string& path) { return std::string(TESSERA_SOURCE_DIR) + "/configs/" + path; }

// BERT-base at 128 tokens on configs/platforms/trio-board.toml.
inline Asked trio(Bits bits) {
  Asked asked;
  asked.shape = load_shape(config("models/bert-base.toml")).take();
  asked.accuracy = random_importance(asked.shape, 1);
  Machine machine = load_platform(config("platforms/trio-board.toml"), asked.shape).take();
  asked.platform = machine.platform;
  asked.costs = machine.costs;
  for (const char* name : {"cpu0", "gpu0", "fpga0"}) asked.devices.push_back(*asked.platform.find(name));
  asked.bits = bits;
  return asked;
}

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  bool one_in(int n) { return below(n) == 0; }

 private:
  std::mt19937_64 random_;
};

// Every device at a speed of its own: computes by slices and bits, transfers and loads by bytes.
class DrawnCosts final : public CostOracle {
 public:
  DrawnCosts(Draw& draw, size_t devices) {
    for (size_t d = 0; d < devices; ++d)
      speeds_.push_back({draw.between(0, 20'000), draw.between(1'000, 40'000), draw.between(0, 3'000), draw.between(0, 200),
                         draw.between(0, 5'000)});
  }
  Estimate estimate(const CostKey& key) const override {
    const Speed& s = speeds_[key.device];
    Estimate e;
    e.mean = {s.call + key.bytes * s.kilobyte / 1024};
    const int64_t slice = s.slice + (key.decoded ? 0 : s.decode);
    if (key.op == Op::kLayer) e.mean += Duration{slice * key.slices};
    if (key.op == Op::kAttentionPart) e.mean += Duration{slice * key.slices / 3};
    if (key.op == Op::kFfnPart) e.mean += Duration{slice * key.slices * 2 / 3};
    e.p95 = e.mean * 2;
    e.workspace = {s.workspace};
    return e;
  }

 private:
  struct Speed {
    int64_t call, slice, decode, kilobyte, workspace;
  };
  std::vector<Speed> speeds_;
};

// One to four devices, some with buffers of their own: with or without link, behind a memory of their own or in the host's.
inline Asked drawn(uint64_t seed) {
  Draw draw(seed);
  Asked out;
  out.shape = plain_shape(static_cast<int>(draw.between(1, 6)), static_cast<int>(draw.between(1, 8)));
  const int cpus = static_cast<int>(draw.between(0, 2));
  out.platform = plain_platform(cpus);
  for (int d = 1; d <= cpus; ++d) out.devices.push_back(static_cast<DeviceId>(d));
  const auto accelerators = draw.between(cpus == 0 ? 1 : 0, cpus == 2 ? 2 : 3);
  for (int64_t a = 0; a < accelerators; ++a)
    out.devices.push_back(add_accelerator(out.platform, {!draw.one_in(3), draw.one_in(3), draw.one_in(3)}));
  for (size_t m = 1; m < out.platform.memories.size(); ++m)
    out.platform.memories[m].capacity = draw.one_in(3) ? kUnlimited : kib(draw.between(4, 1500));
  out.costs = std::make_shared<DrawnCosts>(draw, out.platform.devices.size());
  out.accuracy = random_importance(out.shape, seed);
  out.tokens = static_cast<int>(draw.between(1, out.shape.max_tokens));
  out.quantile = draw.one_in(2) ? 0.5 : 0.95;
  if (draw.one_in(2)) out.budgets.latency = microseconds(draw.between(1, 4000));
  if (draw.one_in(2)) out.budgets.memory = kib(draw.between(20, 3000));
  if (draw.one_in(2)) out.budgets.preload = kib(draw.between(0, 300));
  for (int l = 0; l < out.shape.layers && draw.one_in(2); ++l)
    for (int j = 0; j < out.shape.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const SpaceId space = out.platform.space(out.devices[static_cast<size_t>(draw.below(std::ssize(out.devices)))]);
      const Bits bits = out.shape.bitwidths[static_cast<size_t>(draw.below(std::ssize(out.shape.bitwidths)))];
      if (draw.one_in(2)) continue;
      out.residency.shards.push_back({id, bits, space == kHostSpace && draw.one_in(4), out.shape.bytes_of(id, bits), space});
    }
  if (draw.one_in(2)) out.residency.exits = {out.shape.layers};
  return out;
}

}  // namespace tessera::testing
