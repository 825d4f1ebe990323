// Places plans over several devices: each layer whole on one, or its slices split over some; and says how long that takes.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "policies/parts/assembly.h"
#include "policies/parts/device_roles.h"
#include "policies/parts/slice_split.h"
#include "policies/parts/trials.h"

namespace tessera {

// How a layer's slices are split.
enum class Split {
  kBalanced,  // SliceSplit::balance, and weights in order of upward rank
  kGreedy,    // SliceSplit::fill
};

// A candidate. `ideal`: its latency where memory makes nothing wait; the replay's is never less.
struct PlacedPlan {
  Plan plan;
  Duration ideal;
  bool spread = false;  // not all on one device by construction
};

// Lives as long as one decision, on its thread.
class Placement {
 public:
  Placement(const PlanningView& view, const Residency& residency, Split split);

  const PlanningView& view() const { return view_; }
  // Whether there is anything to choose: more than one device computes.
  bool several() const { return view_.compute_devices.size() > 1; }
  // Every candidate for such bits, the ideally fastest first: all on one device, for each device; and spread over all of
  // them, for each home, and where a device's own memory holds little also with room for the next layer's weights. Legal by
  // what the devices support; empty where none of them does. Nothing is kept.
  std::vector<PlacedPlan> candidates(int depth, const std::vector<Bits>& bits);
  // Of those, the ones on one device and the fastest that is spread.
  std::vector<Plan> floors(int depth, const std::vector<Bits>& bits);
  // Of a layer of `width` slices at `bits` between two others like it: the least over devices and the balanced split.
  Duration layer_time(int width, Bits bits);

 private:
  struct Spread {
    DeviceId home = 0;
    int layers_in_room = 1;  // how many layers' weights a device's own memory is to hold at once
  };

  PlacedPlan alone(DeviceId device, int depth, const std::vector<Bits>& bits, const std::vector<LayerWork>& works);
  std::optional<PlacedPlan> spread(const Spread& how, int depth, const std::vector<Bits>& bits, const DeviceRoles& roles,
                                   const std::vector<LayerWork>& works);
  std::vector<std::vector<LayerPart>> options(const LaneClock& clock, int layer, const LayerWork& work,
                                              const DeviceRoles& roles, const Spread& how,
                                              const std::vector<LayerPart>* before);
  std::vector<LayerPart> assign(const std::vector<DeviceId>& devices, SliceSplit::Counts counts, const LayerWork& work);
  void rank(std::vector<LayerPart>& parts, int layer, const LayerWork& work);
  void list_spread_loads(Plan& plan, const std::vector<LayerWork>& works);
  bool exit_resident(int depth) const;

  const PlanningView& view_;
  const Residency& residency_;
  const Split split_;
  TaskCosts costs_;
  SliceSplit counts_;
  std::map<std::pair<int, Bits>, Duration> layer_times_;
};

// The candidate with the least latency of those whose replay keeps the budgets, its prediction filled in. Replays only those
// that can still be it.
std::optional<Plan> fastest_that_fits(Trials& trials, std::vector<PlacedPlan> candidates);

// Keeps shards for later requests where that makes this one neither late nor too big: all that lie in devices' own memories,
// and of the host's, bottom layers first, what budgets.preload has room for.
void keep_what_is_free(Trials& trials, Plan& plan);

// Says of every shard where it is computed and why: "gpu0 with 5 of 12 slices: <why>".
void explain_placement(const Platform& platform, Plan& plan, const std::string& why);

}  // namespace tessera
