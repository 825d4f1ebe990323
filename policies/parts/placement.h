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
  // Whether any of them is ideally in time: without making plans, and only as far as it takes to know.
  bool in_time(int depth, const std::vector<Bits>& bits, Duration latency);
  // Of those, the ones on one device and the fastest that is spread.
  std::vector<Plan> floors(int depth, const std::vector<Bits>& bits);
  // Of a layer of `width` slices at `bits` between two others like it: the least over devices and the balanced split.
  Duration layer_time(int width, Bits bits);

 private:
  using Layers = std::vector<std::vector<LayerPart>>;
  // How a layer may be placed, whatever its lanes do before.
  struct LayerOptions {
    Layers fixed;             // whole on each device that has room; and the split, where it is balanced
    SliceSplit::Counts most;  // slices that each of the roles' parts has room for
  };
  // One depth and its bits, before they are placed.
  struct Request {
    int depth = 0;
    std::vector<LayerWork> works;
    DeviceRoles roles;
    // Of each layer, where devices' own memories are to hold one layer's weights at once; and two, where that differs.
    std::vector<std::vector<LayerOptions>> options;
  };
  struct Spread {
    DeviceId home = 0;
    size_t layers_in_room = 1;  // an index of Request::options, from 1
    bool operator==(const Spread&) const = default;
  };

  Request request_of(int depth, const std::vector<Bits>& bits);
  std::vector<Spread> ways_to_spread(const Request& request) const;
  // When its logits are there.
  Duration alone(DeviceId device, const Request& request);
  // The same; nothing where no device has room, or as soon as a layer ends after `latest`.
  std::optional<Duration> spread(const Spread& how, const Request& request, Duration latest, Layers& placement);
  LayerOptions options_of(const DeviceRoles& roles, const LayerWork& work, int layers_in_room);
  bool fits_again(const std::vector<LayerPart>& before, const DeviceRoles& roles, const SliceSplit::Counts& most,
                  const LayerWork& work) const;
  std::vector<LayerPart> assign(const std::vector<DeviceId>& devices, SliceSplit::Counts counts, const LayerWork& work);
  void rank(std::vector<LayerPart>& parts, const LayerWork& work);
  Plan spread_plan(DeviceId home, const Request& request, const std::vector<Bits>& bits, Layers placement) const;
  bool exit_resident(int depth) const;

  const PlanningView& view_;
  const Residency& residency_;
  const Split split_;
  TaskCosts costs_;
  SliceSplit counts_;
  std::map<std::pair<int, Bits>, Duration> layer_times_;
  Spread in_time_last_;
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
