// Bounds from below what a layer takes that is split over devices, whatever the split: activations moved, bits counted.
//
//   home:      │                 combine │                     combine │   a part elsewhere moves its partial sum home, and
//   device d:  │ up ─ attention ─ down ┘ └─ up ─ ffn part ─ down ┘         what it reads from there; the first x may be
//   there
//                                                                          already: then home needs it, and it moves down
// A part of k slices with histogram g takes at least  base(d, k) + sum over bits of g[bits] * each(d, bits),  base being the
// least over all histograms of k slices of what is left: asked of the oracle, not assumed.
#pragma once

#include <array>
#include <map>
#include <tuple>
#include <vector>

#include "policies/parts/choices.h"
#include "policies/parts/task_costs.h"

namespace tessera {

// What a layer takes at the least, in nanoseconds.
struct LayerTime {
  int64_t compute = 0;  // from its input to its output
  int64_t tail = 0;     // from the end of its last load to its output: less, where parts run side by side
};

// Lives as long as one decision, on its thread.
class ExactSplit {
 public:
  // Parts on `devices`, joined on one of `homes`, of slices at bits of `ladder`.
  ExactSplit(const PlanningView& view, TaskCosts& costs, std::vector<DeviceId> devices, std::vector<DeviceId> homes,
             std::vector<Bits> ladder);
  // kForever where no two devices can share such a layer. `some_decoded`: a part of it may be held decoded.
  LayerTime least(const BitsHistogram& bits, bool some_decoded);

 private:
  static constexpr int kFraction = 20;  // bits of a weight
  // Parts of one half on one device.
  struct Lane {
    std::array<int64_t, kBitsLevels> each{};  // ns, of a slice at that level
    std::vector<int64_t> base;                // [M + 1]: ns by slices; kForever where it has no such part
    std::vector<int64_t> least;               // [M + 1]: ns of any part of so many slices
    int64_t weight = 0;  // 2^-20 ns of the reference's `each` for each ns here, at the most; 0: no limit
  };
  struct Half {
    std::vector<Lane> lanes;                  // [device]
    std::array<int64_t, kBitsLevels> each{};  // the reference: of the first device where bits matter
  };
  // Slices dealt to devices: it takes at least `longest`, and (reference + sum) / weight.
  struct Deal {
    int64_t longest = 0, weight = 0;
    int64_t sum = 0;  // of weight * base
  };
  using Deals = std::vector<Deal>;
  Half measured(Op op, bool some_decoded) const;
  void ask(Op op, bool decoded, DeviceId device, Lane& lane) const;
  int64_t partial_home(DeviceId device, DeviceId home);
  int64_t moves(Op op, DeviceId device, DeviceId home);
  const Deals& deals(Op op, size_t home, int slices, bool some_decoded);
  static int64_t least_longest(const Half& of, const std::vector<int64_t>& moved, int slices);
  int64_t least_of(const Half& half, const Deals& deals, const BitsHistogram& bits) const;
  int64_t after_loads(size_t home, int slices, int64_t slice_io, bool some_decoded);
  int64_t slowest_load(const BitsHistogram& bits);
  const Half& half(Op op, bool some_decoded);

  const PlanningView& view_;
  TaskCosts& costs_;
  const std::vector<DeviceId> devices_, homes_;
  const std::vector<Bits> ladder_;
  std::map<std::pair<Op, bool>, Half> halves_;
  std::map<std::tuple<Op, size_t, int, bool>, Deals> deals_;
  std::map<std::tuple<size_t, int, int64_t, bool>, int64_t> after_loads_;
  std::array<int64_t, kBitsLevels> slice_io_{};  // of one slice alone, at the most; 0: not asked yet
};

}  // namespace tessera
