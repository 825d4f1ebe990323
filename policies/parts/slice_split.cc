// Counts slices by what each device takes for them.
#include "policies/parts/slice_split.h"

#include <algorithm>
#include <optional>

namespace tessera {
namespace {

constexpr int64_t kPage = 4096;

}  // namespace

SliceSplit::Counts SliceSplit::limits(const std::vector<DeviceId>& devices, const LayerWork& work, int layers_in_room) {
  const int slices = slice_count(work.slices);
  Counts out;
  for (const DeviceId device : devices) {
    const int64_t held = std::clamp<int64_t>(room(device).n / layers_in_room / work.largest, 0, slices);
    out.push_back(static_cast<int>(held));
  }
  return out;
}

// Bytes of a device's own memory for weights: shared evenly by the devices that have it.
Bytes SliceSplit::room(DeviceId device) {
  const auto [known, fresh] = rooms_.try_emplace(device, kUnlimited);
  if (!fresh) return known->second;
  const MemoryId memory = view_.platform.memory(view_.platform.space(device));
  const Bytes capacity = memory == 0 ? kUnlimited : view_.platform.memories[memory].capacity;
  if (capacity == kUnlimited) return kUnlimited;
  int sharers = 0;
  for (const DeviceId other : view_.compute_devices)
    sharers += view_.platform.memory(view_.platform.space(other)) == memory ? 1 : 0;
  int64_t workspace = 0;
  for (const Op op : {Op::kLayer, Op::kAttentionPart, Op::kFfnPart, Op::kCombine, Op::kEmbed, Op::kExit}) {
    CostKey key;
    key.device = device;
    key.op = op;
    key.tokens = static_cast<uint16_t>(view_.tokens);
    key.slices = static_cast<uint8_t>(view_.shape.slices);
    workspace = std::max(workspace, view_.costs.estimate(key).workspace.n);
  }
  const auto parts = static_cast<int64_t>(view_.compute_devices.size());
  const int64_t activations = costs_.bytes_of(Payload::kHidden) * 2 + costs_.bytes_of(Payload::kPartial) * parts;
  known->second = {std::max<int64_t>(0, capacity.n / std::max(sharers, 1) - activations - workspace - 2 * kPage)};
  return known->second;
}

const SliceSplit::Halves& SliceSplit::halves(DeviceId device, Bits bits) {
  const auto [known, fresh] = halves_.try_emplace({device, bits});
  Halves& out = known->second;
  if (!fresh) return out;
  const bool own = view_.platform.space(device) != kHostSpace;
  const auto time = [&](Op op, Payload input, int k) {
    if (k == 0) return Duration{};
    Duration takes = costs_.part(op, device, k, bits);
    if (own) takes += costs_.move(device, input, false) + costs_.move(device, Payload::kPartial, true);
    return takes;
  };
  for (int k = 0; k <= view_.shape.slices; ++k) {
    out.attention.push_back(time(Op::kAttentionPart, Payload::kHidden, k));
    out.ffn.push_back(time(Op::kFfnPart, Payload::kAttended, k));
  }
  return out;
}

Duration SliceSplit::slowest(const std::vector<DeviceId>& devices, const Counts& counts, Bits bits) {
  Duration attention, ffn;
  for (size_t i = 0; i < devices.size(); ++i) {
    const Halves& of = halves(devices[i], bits);
    attention = std::max(attention, of.attention[counts[i]]);
    ffn = std::max(ffn, of.ffn[counts[i]]);
  }
  return attention + ffn;
}

template <typename Completion>
SliceSplit::Counts SliceSplit::one_by_one(const Counts& most, int slices, Completion completion) {
  Counts counts(most.size(), 0);
  for (int s = 0; s < slices; ++s) {
    std::optional<size_t> next;
    Duration least;
    for (size_t i = 0; i < most.size(); ++i) {
      if (counts[i] == most[i]) continue;
      const Duration then = completion(i, counts[i] + 1);
      if (next && then >= least) continue;
      next = i;
      least = then;
    }
    if (!next) return {};
    ++counts[*next];
  }
  return counts;
}

// For each time that attention might take, the counts that it allows; under those, FFN slices one by one to whoever then has
// least to do, which is best where one half counts. So no other split is better, if more slices never take less.
SliceSplit::Counts SliceSplit::balance(const std::vector<DeviceId>& devices, const Counts& most, int slices, Bits bits) {
  const auto [known, fresh] = balanced_.try_emplace({devices, most, slices, bits});
  Counts& best = known->second;
  if (!fresh) return best;
  std::vector<const Halves*> of;
  std::vector<Duration> times;
  for (const DeviceId device : devices) {
    of.push_back(&halves(device, bits));
    times.insert(times.end(), of.back()->attention.begin(), of.back()->attention.end());
  }
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  Duration least;
  for (const Duration time : times) {
    if (!best.empty() && time >= least) break;
    Counts allowed = most;
    for (size_t i = 0; i < devices.size(); ++i)
      while (allowed[i] > 0 && of[i]->attention[allowed[i]] > time) --allowed[i];
    const Counts counts = one_by_one(allowed, slices, [&](size_t i, int k) { return of[i]->ffn[k]; });
    if (counts.empty()) continue;
    const Duration then = slowest(devices, counts, bits);
    if (!best.empty() && then >= least) continue;
    best = counts;
    least = then;
  }
  return best;
}

SliceSplit::Counts SliceSplit::fill(const std::vector<DeviceId>& devices, const Counts& most, const LaneClock& clock,
                                    const LayerWork& work) {
  std::vector<int> usable;
  std::vector<Duration> input;
  for (const DeviceId device : devices) {
    usable.push_back(slice_count(work.usable(view_.platform, {device, work.slices})));
    input.push_back(clock.input_at(device));
  }
  return one_by_one(most, slice_count(work.slices), [&](size_t i, int k) {
    const Halves& of = halves(devices[i], work.common);
    const int missing = std::max(0, k - usable[i]);
    Duration weights;
    if (missing > 0)
      weights = clock.storage_free() + costs_.load(work.common, missing, missing * work.largest) +
                take_over(devices[i], missing, missing * work.largest);
    return std::max(input[i], weights) + of.attention[k] + of.ffn[k];
  });
}

Duration SliceSplit::take_over(DeviceId device, int slices, int64_t bytes) {
  const bool straight = view_.platform.space(device) == kHostSpace || view_.platform.devices[device].host_visible;
  return straight ? Duration{} : costs_.take_over(device, slices, bytes);
}

}  // namespace tessera
