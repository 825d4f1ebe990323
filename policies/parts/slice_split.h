// Splits a layer's slices over devices: how many each gets.
#pragma once

#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "policies/parts/lane_clock.h"

namespace tessera {

// Lives as long as one decision, on its thread.
class SliceSplit {
 public:
  using Counts = std::vector<int>;  // slices, by device of a list
  // Time of a part of k slices, k = 0, 1, ...: of both halves, from x in host memory to partials there.
  struct Halves {
    std::vector<Duration> attention, ffn;
  };
  explicit SliceSplit(TaskCosts& costs) : costs_(costs), view_(costs.view()) {}

  // So that the slowest device, transfers and both halves counted, ends first: what the layer costs by itself. At most
  // `most` each; empty where that is too few.
  Counts balance(const std::vector<DeviceId>& devices, const Counts& most, int slices, Bits bits);
  // Slice by slice, each to where the part then completes first: lanes, transfers and loads as they stand.
  Counts fill(const std::vector<DeviceId>& devices, const Counts& most, const LaneClock& clock, const LayerWork& work);
  // Both halves end where their slowest part does.
  Duration slowest(const std::vector<DeviceId>& devices, const Counts& counts, Bits bits);
  // How many of the layer's slices each device's own memory holds beside a request's activations, if it is to hold so many
  // layers at once. The host's memory is for the replay.
  Counts limits(const std::vector<DeviceId>& devices, const LayerWork& work, int layers_in_room);
  const Halves& halves(DeviceId device, Bits bits);
  // Coded slices on their way into a device's buffers, after their load: nothing where they are loaded straight there.
  Duration take_over(DeviceId device, int slices, int64_t bytes);

 private:
  Bytes room(DeviceId device);
  template <typename Completion>
  Counts one_by_one(const Counts& most, int slices, Completion completion);

  TaskCosts& costs_;
  const PlanningView& view_;
  std::map<std::pair<DeviceId, Bits>, Halves> halves_;
  std::map<DeviceId, Bytes> rooms_;
  std::map<std::tuple<std::vector<DeviceId>, Counts, int, Bits>, Counts> balanced_;
};

}  // namespace tessera
