// The relaxed planning problem of docs/planning.md: what every plan must keep to, whatever its order of loads and placement.
//
//   a(k) = a(k-1) + io(k)                               when rows and the loads of layers 0..k have ended, at the earliest
//   f(k) = max(f(k-1) + compute(k), a(k) + tail(k))     when layer k has been computed
//   of plans with f(n-1) + exit <= T, and the exit head's load in time: the least loss
//
// Exact where one device computes in host memory and memory makes nothing wait; a relaxation elsewhere.
#pragma once

#include <optional>
#include <vector>

#include "policies/parts/exact_layer.h"

namespace tessera {

// Plans of one depth whose slices, counted over all layers, lie in a range within which the accuracy model scales alike.
struct SizeClass {
  int depth = 0;
  int low = 0, high = 0;  // slices present
  bool counts = false;    // whether the range excludes anything
  int64_t base = 0;       // micro-nats
  int64_t ppm = 0;
  int64_t loss(int64_t sum) const;       // of summed sensitivities
  int64_t most_sum(int64_t loss) const;  // the largest sum that loses no more
};

struct ExactModel {
  int64_t rows = 0, embed = 0, exit = 0;          // ns
  std::vector<std::optional<int64_t>> exit_load;  // [depth]: ns; nothing where the head is resident
  int64_t latency = 0;                            // ns
  std::vector<int64_t> room;                      // [depth]: bytes of host memory for layers; INT64_MAX: not bounded
  bool one_device = true;                         // which holds a layer's bytes until it has been computed
  bool weighs = false;                            // whether any room is bounded
  int64_t rows_bytes = 0;                         // held until the embedding has ended
  int64_t ps_per_byte = 0;                        // no load is faster
  std::vector<ExactLayer> layers;
  std::vector<SizeClass> classes;

  // Loads of a layer cannot all have started while the layer before it still holds its bytes: how much of them must start
  // after that, in ns of storage; nothing where it can never fit.
  std::optional<int64_t> forced_after(int depth, int64_t bytes_before, const LayerOption& option) const;
};

inline constexpr size_t kMostHistograms = 120'000;  // of a layer

// Nothing where a layer has more histograms than that.
std::optional<ExactModel> exact_model(const PlanningView& view, const Residency& residency, const AccuracyModel& accuracy,
                                      const Choices& choices, ExactTimes& times);

// Bytes of host memory that any plan of a depth holds besides shards, at the least; by depth. Found with the replay.
std::vector<int64_t> least_overheads(const PlanningView& view, const Residency& residency, const Choices& choices);

// The ranges of summed widths within which a depth's losses scale alike.
std::vector<SizeClass> size_classes(const AccuracyModel& accuracy, const Choices& choices);

}  // namespace tessera
