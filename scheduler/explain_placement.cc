// Splits a layer by the devices' speed, and keeps the split that ends soonest.
#include "scheduler/explain_placement.h"

#include <algorithm>
#include <bit>

#include "scheduler/neighbour_plan.h"

namespace tessera {
namespace {

// Splits of two devices are tried this many slices to either side of the one that their speeds suggest.
constexpr int kReach = 2;

std::vector<int> slices_of(SliceMask set) {
  std::vector<int> out;
  for (; set != 0; set &= set - 1) out.push_back(std::countr_zero(set));
  return out;
}

// The k-th share of the slices in order to the k-th device; shares sum to the slices. Empty shares are no parts.
std::vector<LayerPart> in_order(const std::vector<DeviceId>& devices, const std::vector<int>& shares,
                                const std::vector<int>& slices) {
  std::vector<LayerPart> parts;
  size_t next = 0;
  for (size_t k = 0; k < devices.size(); ++k) {
    LayerPart part{devices[k], 0};
    for (int i = 0; i < shares[k]; ++i) part.slices |= SliceMask{1} << slices[next++];
    if (part.slices != 0) parts.push_back(part);
  }
  return parts;
}

// Whatever the order of the parts.
bool equal(const std::vector<LayerPart>& a, const std::vector<LayerPart>& b) {
  const auto has = [&b](const LayerPart& x) {
    return std::any_of(b.begin(), b.end(), [&](const LayerPart& y) { return x.device == y.device && x.slices == y.slices; });
  };
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), has);
}

class Placements {
 public:
  Placements(const Trial& trial, int layer)
      : trial_(trial), layer_(layer), slices_(slices_of(trial.plan().slice_set(layer))) {}

  std::vector<PlacementCandidate> run() {
    const std::vector<DeviceId>& devices = trial_.view().compute_devices;
    for (const DeviceId device : devices) add(tried({{device, trial_.plan().slice_set(layer_)}}));
    if (devices.size() < 2 || slices_.size() < 2) return std::move(out_);
    for (size_t a = 0; a < devices.size(); ++a)
      for (size_t b = a + 1; b < devices.size(); ++b) split_two({devices[a], devices[b]});
    if (devices.size() > 2 && slices_.size() >= devices.size()) add(tried(in_order(devices, shares(devices), slices_)));
    return std::move(out_);
  }

 private:
  PlacementCandidate tried(std::vector<LayerPart> parts) const {
    const PlanningView& view = trial_.view();
    const Plan plan = with_placement(view.platform, view.residency, trial_.plan(), layer_, parts);
    return {std::move(parts), trial_.of_placement(plan, {layer_, trial_.plan().slice_set(layer_)})};
  }

  void add(PlacementCandidate candidate) {
    if (!equal(candidate.parts, trial_.plan().placement[layer_])) out_.push_back(std::move(candidate));
  }

  // By how fast each computes the whole layer; at least one slice each, the rest by largest remainder.
  std::vector<int> shares(const std::vector<DeviceId>& devices) const {
    const auto n = static_cast<int>(slices_.size()), k = static_cast<int>(devices.size());
    std::vector<double> speed;
    double sum = 0;
    for (const DeviceId device : devices) {
      speed.push_back(1.0 / static_cast<double>(std::max<int64_t>(1, layer_time(device).ns)));
      sum += speed.back();
    }
    std::vector<int> out(devices.size(), 1);
    for (int left = n - k; left > 0; --left) {
      size_t neediest = 0;
      const auto lacks = [&](size_t d) { return speed[d] / sum * n - out[d]; };
      for (size_t d = 1; d < out.size(); ++d)
        if (lacks(d) > lacks(neediest)) neediest = d;
      ++out[neediest];
    }
    return out;
  }

  Duration layer_time(DeviceId device) const {
    CostKey key;
    key.device = device;
    key.tokens = static_cast<uint16_t>(trial_.view().tokens);
    key.slices = static_cast<uint8_t>(slices_.size());
    for (const int j : slices_)
      ++key.bits[bits_level(trial_.plan().bits_of({static_cast<int16_t>(layer_), static_cast<int16_t>(j)}))];
    return trial_.view().costs.estimate(key).at(trial_.plan().quantile);
  }

  void split_two(const std::vector<DeviceId>& pair) {
    const auto n = static_cast<int>(slices_.size());
    const int middle = shares(pair)[0];
    std::optional<PlacementCandidate> best;
    for (int k = std::max(1, middle - kReach); k <= std::min(n - 1, middle + kReach); ++k) {
      PlacementCandidate candidate = tried(in_order(pair, {k, n - k}, slices_));
      const auto rank = [](const PlacementCandidate& c) {
        const Outcome& o = c.outcome;
        return std::pair(o.replayed ? o.latency : kForever, o.compute ? o.compute->end : kForever);
      };
      if (!best || rank(candidate) < rank(*best)) best = std::move(candidate);
    }
    if (best) add(std::move(*best));
  }

  const Trial& trial_;
  const int layer_;
  const std::vector<int> slices_;
  std::vector<PlacementCandidate> out_;
};

}  // namespace

std::vector<PlacementCandidate> other_placements(const Trial& trial, int layer) { return Placements(trial, layer).run(); }

}  // namespace tessera
