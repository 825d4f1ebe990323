// Says when a request with such bits is through on one device, memory counted: the replay's recurrence without its graph.
//
//   io:      rows │ loads of layer 0 │ loads of layer 1 │ ...  │ exit      a load starts when its bytes fit, in order
//   compute:      │ embed │          │ layer 0 │        │ layer 1 │ exit   a layer's end gives its shards' bytes back
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "policies/parts/task_costs.h"

namespace tessera {

// One layer as it is lowered: one load a bitwidth, lowest first, then its compute.
struct LayerStage {
  int loads = 0;
  std::array<Duration, kBitsLevels> time{};
  std::array<int64_t, kBitsLevels> bytes{};
  Duration io;  // of all its loads
  Duration compute;
  int64_t resident = 0;  // bytes that it uses as they are held
  int64_t release = 0;   // bytes that its end gives back: loaded and resident
};

// For a device that computes in host memory and is its own home, latency() is the replay's, to the nanosecond, for plans
// that keep nothing. Lives as long as one decision, on its thread.
class StageClock {
 public:
  StageClock(const PlanningView& view, const Residency& residency, DeviceId device);
  static bool exact_on(const PlanningView& view, DeviceId device);

  // Of layer `layer` with row[j] bits of slice j.
  LayerStage stage(int layer, const Bits* row);
  // What rows, embedding and exit take, and the exit head's load at a depth.
  Duration rows() const { return rows_; }
  Duration embed() const { return embed_; }
  Duration exit() const { return exit_; }
  Duration exit_load(int depth);
  // What is held of a shard in a way that spares the device its load; absent where nothing is.
  Bits held(ShardId id) const { return held_[static_cast<size_t>(id.layer) * view_.shape.slices + id.slice]; }
  bool held_decoded(ShardId id) const {
    return held_decoded_[static_cast<size_t>(id.layer) * view_.shape.slices + id.slice];
  }
  int64_t bytes_of(ShardId id, Bits bits) const { return view_.shape.bytes_of(id, bits).n; }
  // Of a layer with such bits.
  Duration compute(const BitsHistogram& bits, bool decoded) { return costs_.part(Op::kLayer, device_, bits, decoded); }
  TaskCosts& costs() { return costs_; }

  // Of such layers, the exit after the last; kForever where a load can never be granted.
  Duration latency(const std::vector<LayerStage>& stages);
  // Of the last latency(): most bytes of loads and residents at once.
  int64_t peak() const { return peak_; }
  // Bytes that loads and residents may hold at once; without it there is no limit.
  void limit(int64_t bytes) { limit_ = bytes; }

 private:
  struct Run;
  Duration load(int level, int count, int64_t bytes);
  const PlanningView& view_;
  const DeviceId device_;
  TaskCosts costs_;
  std::vector<Bits> held_;            // [L][M]
  std::vector<int64_t> held_bytes_;   // [L][M]
  std::vector<bool> held_decoded_;    // [L][M]
  std::vector<int> exits_;            // depths whose exit head is held
  std::vector<Duration> exit_loads_;  // [L]; negative: not asked yet
  Duration rows_, embed_, exit_;
  std::vector<std::pair<int64_t, Duration>> loads_;     // [levels][M + 1]: the last load of so many slices, by its bytes
  std::vector<std::pair<Duration, int64_t>> releases_;  // of latency(), by time
  int64_t rows_bytes_ = 0;
  int64_t limit_ = kUnlimited.n;
  int64_t peak_ = 0;
};

// The stages of a whole plan.
std::vector<LayerStage> stages_of(StageClock& clock, int depth, int slices, const std::vector<Bits>& bits);

}  // namespace tessera
