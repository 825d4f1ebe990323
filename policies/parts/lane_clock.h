// Follows a plan's lanes through time while its layers are placed one after the other.
//
//   storage:  rows ─ load 0 ─ load 1 ...      tasks, what each waits for and their order in each lane are those of the graph
//   link:          ─ weights 0 ─ weights 1    that the plan is lowered to: where memory makes nothing wait, finish() is the
//   a lane:        ─ x up ─ part ─ x down     replay's latency, to the nanosecond (placement_property_test.cc)
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "policies/parts/task_costs.h"

namespace tessera {

// What of a layer is to be computed, and what of that is in memory already.
struct LayerWork {
  static constexpr int kNowhere = -1;
  SliceMask slices = 0;
  std::array<SliceMask, kBitsLevels> at{};  // slices by bits level
  SliceMask decoded = 0;                    // held decoded, at these bits
  std::vector<int> held_in;                 // [M]: the space where a slice is held at these bits, or kNowhere
  Bits common = kExact;                     // that most slices have: stands for all where slices are counted
  int64_t largest = 1;                      // bytes of a slice, at least 1
  // Of `part`: slices held where or from where its device can take them.
  SliceMask usable(const Platform& platform, const LayerPart& part) const;
  BitsHistogram bits_of(SliceMask of) const;
};

// Of a whole plan with such bits, under what is resident.
std::vector<LayerWork> layer_works(const PlanningView& view, const Residency& residency, int depth,
                                   const std::vector<Bits>& bits);

// The loads of a layer placed so: space by space in the order of the parts, lowest bits first.
std::vector<PlannedLoad> loads_of(const Platform& platform, const LayerWork& work, int layer,
                                  const std::vector<LayerPart>& parts);

// A value: a copy is another future. Borrows costs and works.
class LaneClock {
 public:
  LaneClock(TaskCosts& costs, const std::vector<LayerWork>& works);

  // The request's rows and its embedding. `home` joins split layers and runs the exit head.
  void start(DeviceId home);
  // Runs the next layer; when its output is there.
  Duration run(int layer, const std::vector<LayerPart>& parts);
  // Runs the exit head, loaded first unless it is resident; when the logits are in host memory.
  Duration finish(int depth, bool exit_resident);

  // When x could be read on a device, its lane being free, if nothing else is run before.
  Duration input_at(DeviceId device) const;
  Duration storage_free() const { return lanes_[costs_->view().storage]; }

 private:
  // x or y of a layer, a partial, the logits: in which spaces, since when.
  struct Value {
    Payload payload = Payload::kHidden;
    std::vector<std::pair<SpaceId, Duration>> at{};
  };
  const Platform& platform() const { return costs_->view().platform; }
  Duration occupy(DeviceId device, Duration ready, Duration takes);
  Duration bring(DeviceId device, MemoryId memory, Duration ready, Duration takes, int64_t bytes);
  Duration read(Value& value, SpaceId space);
  Duration move(Payload payload, DeviceId device, bool to_host, Duration ready);
  Duration send(Payload payload, SpaceId from, Duration since, SpaceId to);
  Duration bring_exit(int depth);
  void bring_weights(int layer, const std::vector<LayerPart>& parts);
  Duration run_half(Op op, int layer, const std::vector<LayerPart>& parts, Value& input, Value& output);
  Duration part_time(Op op, int layer, const LayerPart& part);

  TaskCosts* costs_;
  const std::vector<LayerWork>* works_;
  std::vector<Duration> lanes_;    // by device: end of its last task
  std::vector<Duration> granted_;  // by memory: the last reservation, before which none is granted that comes after it
  std::vector<Duration> weights_;  // by part of the layer at hand: when its weights are there
  std::vector<Duration> ends_;     // by part: when its half of the layer at hand is computed
  DeviceId home_ = 0;
  Value hidden_{Payload::kHidden, {}}, attended_{Payload::kAttended, {}};
};

}  // namespace tessera
