// Defines the one node of every schedule: a load, a transfer or a compute.
#pragma once

#include <array>
#include <cstdint>

#include "framework/estimate.h"
#include "framework/model_shape.h"

namespace tessera {

using TaskId = uint32_t;   // dense, in plan order: a task's predecessors have smaller ids
using DeviceId = uint8_t;  // index into Platform::devices
using MemoryId = uint8_t;  // index into Platform::memories; 0 is the host's
inline constexpr TaskId kNoTask = UINT32_MAX;
// Where bytes lie: in the buffers of the device of that id, or in plain host memory.
using SpaceId = uint8_t;
inline constexpr SpaceId kHostSpace = 255;

enum class TaskKind : uint8_t { kLoad, kTransfer, kCompute };

// What became of a task in a run (framework/executor.h).
enum class TaskState : uint8_t { kWaiting, kRunning, kDone, kFailed, kCancelled };

enum class Op : uint8_t {
  kLoadShards,  // one layer's slices at one bitwidth
  kLoadRows,    // the request's embedding and position rows
  kLoadExit,    // the exit head of the plan's depth
  kTransfer,
  kEmbed,          // rows + LayerNorm -> x [T, D]
  kLayer,          // fused: attention, combine, FFN, combine
  kAttentionPart,  // over a slice set: x [T, D] -> partial [T, D]
  kFfnPart,        // over a slice set: y [T, D] -> partial [T, D]
  kCombine,        // partials in slice order + shared bias + residual + LayerNorm
  kExit,           // tanh pooler on [CLS], classifier -> logits [labels]
};
inline constexpr int kOpCount = 10;

// What a transfer moves between host memory and a device's own buffers.
enum class Payload : uint8_t {
  kNone,
  kWeights,   // of one layer's slices, coded as stored
  kHidden,    // x f32 [T, D]
  kAttended,  // y f32 [T, D], between the halves of a split layer
  kPartial,   // f64 [T, D] of one part
  kLogits,    // f32 [labels]
};

// Shards by bits level: counts[bits_level(b)] slices at b bits.
using BitsHistogram = std::array<uint8_t, kBitsLevels>;

// What a task's cost depends on. Tokens are counted, not bucketed: the model buckets.
struct CostKey {
  DeviceId device = 0;
  Op op = Op::kLayer;
  uint16_t batch = 1;    // B
  uint16_t tokens = 0;   // T of the longest sequence
  uint8_t slices = 0;    // of a layer or part
  uint8_t reads = 0;     // of a load: separate extents (saturating)
  bool decoded = false;  // weights already decoded: no decode cost
  bool to_host = false;  // of a transfer: its direction
  BitsHistogram bits{};
  int64_t bytes = 0;  // of a load or transfer
};

// Flat value; a graph holds them in one array. All times are predictions relative to the request's arrival.
struct Task {
  TaskId id = kNoTask;
  TaskKind kind = TaskKind::kCompute;
  MemoryId memory = 0;          // where `reserve` is taken
  MemoryId release_memory = 0;  // where `release` is given back
  uint8_t bits = 0;             // of a shard load; 0 where its slices have several (after a revision)
  SpaceId space = kHostSpace;   // of a load: where to; of a transfer: the device's end of it
  Payload payload = Payload::kNone;
  uint8_t part = 0;    // of a part and of its partial's transfer: place among the layer's parts
  int16_t layer = -1;  // -1: not of a layer
  bool empty = false;  // all that it had to do was re-planned away: its lane passes over it
  SliceMask slice_set = 0;
  CostKey cost;         // cost.device runs the task
  Estimate estimate;    // at planning time
  Duration planned;     // the duration that the plan counts with (a quantile of the estimate)
  int64_t reserve = 0;  // bytes taken when the task starts, granted in id order per memory
  int64_t release = 0;  // bytes given back when the task ends (what it was the last to need)
};
static_assert(sizeof(Task) <= 200, "a node with its edges stays within 350 bytes");

}  // namespace tessera
