// The answer of a policy: what to load, at which bits, in which order, and where to compute.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/platform.h"

namespace tessera {

struct Budgets {
  Duration latency = kForever;  // arrival (tokenised) to logits
  Bytes memory = kUnlimited;    // host memory of the request and all that stays resident
  Bytes preload{0};             // of which the preload buffer may use this much
};

// What is already in memory when the request arrives. A shard is held at one bitwidth, coded or decoded.
struct ResidentShard {
  ShardId id;
  Bits bits = kAbsent;
  bool decoded = false;
  Bytes bytes;                 // that it occupies as held
  SpaceId space = kHostSpace;  // where
};
struct Residency {
  std::vector<ResidentShard> shards;  // sorted by id
  std::vector<int> exits;             // depths whose exit head is held
  const ResidentShard* find(ShardId id) const;
  Bytes total() const;                                                // of shards, wherever they are held
  Bytes charged_to(const Platform& platform, MemoryId memory) const;  // of shards
};

// Whether a device can compute with what is held: it lies where the device's operands do, or coded in host memory, from
// where a Transfer task takes it over.
bool serves(const Platform& platform, DeviceId device, const ResidentShard& held);

// Part of a layer on one device. A layer with one part runs fused.
struct LayerPart {
  DeviceId device = 0;
  SliceMask slices = 0;
  bool operator==(const LayerPart&) const = default;
};

struct PlannedLoad {
  Op op = Op::kLoadShards;  // kLoadShards, kLoadRows, kLoadExit
  int16_t layer = -1;       // of shards
  Bits bits = kAbsent;
  SliceMask slices = 0;
};

struct Prediction {
  Duration latency;          // at the plan's quantile: what the budget is held against
  Duration expected;         // at the middle of the cost models: what a measurement should come near (scheduler)
  Bytes peak;                // most bytes accounted at once in the host's memory
  std::vector<Bytes> peaks;  // the same by memory of the platform, [0] is the host's
  Bytes io;                  // bytes read
  Micro accuracy;            // meaningful only where the model is profiled
  bool accuracy_known = false;
  Micro loss;
  Joules energy;
};

struct PlanReason {
  ShardId shard;
  std::string text;
};

// Plain value. bits[l * M + j] for l < depth, 0 where the slice is absent.
struct Plan {
  int depth = 0;
  int slices = 0;                                 // M of the model: row length of `bits`
  std::vector<Bits> bits;                         // [depth][M]
  std::vector<std::vector<LayerPart>> placement;  // [depth]
  // Embeds, joins split layers and runs the exit head; none: each on its layer's first part's device.
  std::optional<DeviceId> home;
  std::vector<PlannedLoad> loads;  // in the order in which they are issued; residents are not loaded
  std::vector<ShardId> keep;       // in the preload buffer after the request (shards at bits[] of this plan)
  // What is resident and this plan has no use for stays as it is held, and counts: shards of slices and layers that are
  // absent here, exit heads of other depths. Otherwise it is dropped before the run. Shards held at other bits than bits[]
  // always are.
  bool keep_unused = false;
  bool pipelined = true;  // false: no compute before the last load has ended (Load&Exec)
  bool decoded = false;   // residents held decoded (policy `preload` where the budget allows)
  double quantile = 0.5;  // of the cost model
  // Of a request that goes on after a device failed: x of this layer is in host memory, and nothing before it is run.
  std::optional<int> resumes_at;
  Prediction predicted;  // filled by the scheduler's replay
  // Of a policy that proves one: no plan of the static space (docs/planning.md) loses less under this view. The plan's own
  // loss is never below it.
  std::optional<Micro> loss_bound;
  std::vector<PlanReason> explain;

  Bits bits_of(ShardId id) const { return bits[static_cast<size_t>(id.layer) * slices + id.slice]; }
  // Whether the plan computes with what is held, as it is held.
  bool uses(const Platform& platform, const ResidentShard& held) const;
  // The place of the part that computes the shard among its layer's; nothing where none does.
  std::optional<int> part_of(ShardId id) const;
  // Where a present shard's part computes with it.
  SpaceId space_of(const Platform& platform, ShardId id) const;
  SliceMask slice_set(int layer) const;
  int width() const;                            // widest layer
  double mean_bits() const;                     // over present shards, exact counted as 32
  bool stays(const ResidentShard& held) const;  // unused, but kept
  bool exit_stays(int held_depth) const { return keep_unused || held_depth == depth; }
};

// The loads of a plan with its bits and placement in the usual order: rows, then each layer's shards that are not resident,
// one load a bitwidth, lowest first, then the exit head.
std::vector<PlannedLoad> loads_for(const Platform& platform, const Residency& residency, const Plan& plan);

}  // namespace tessera
