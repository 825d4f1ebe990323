// Asks the view's oracle for the keys of tasks, and takes the least over what a plan may choose.
#include "policies/parts/exact_times.h"

#include <algorithm>

namespace tessera {
namespace {

int slices_of(const BitsHistogram& bits) {
  int sum = 0;
  for (const uint8_t count : bits) sum += count;
  return sum;
}

// The least t such that slices can be dealt out with no device above t. Curves are non-decreasing.
int64_t least_maximum(const std::vector<std::vector<int64_t>>& curves, int slices) {
  std::vector<int64_t> times;
  for (const auto& curve : curves) times.insert(times.end(), curve.begin(), curve.end());
  std::sort(times.begin(), times.end());
  for (const int64_t t : times) {
    int dealt = 0;
    for (const auto& curve : curves)
      dealt += static_cast<int>(std::upper_bound(curve.begin() + 1, curve.end(), t) - curve.begin()) - 1;
    if (dealt >= slices) return t;
  }
  return times.empty() ? 0 : times.back();
}

}  // namespace

ExactTimes::ExactTimes(const PlanningView& view, const Choices& choices) : view_(view), costs_(view) {
  if (view.compute_devices.size() == 1)
    devices_ = {choices.device};
  else
    devices_ = view.compute_devices;
  const std::vector<DeviceId> homes = roles_of(view, 1, {}).homes;
  embed_ = exit_ = combines_[0] = combines_[1] = kForever.ns;
  for (const DeviceId home : homes) {
    embed_ = std::min(embed_, costs_.embed(home).ns);
    exit_ = std::min(exit_, costs_.exit(home).ns);
    combines_[0] = std::min(combines_[0], costs_.combine(home, Op::kAttentionPart).ns);
    combines_[1] = std::min(combines_[1], costs_.combine(home, Op::kFfnPart).ns);
  }
}

// What n equal slices save by being read in the best partition instead of at once. Rounding alone can make that positive,
// and so can a cost that grows faster than its bytes.
const ExactTimes::Curve& ExactTimes::saved_by_parting(Bits bits, int64_t least, int64_t most) {
  const auto [known, fresh] = parting_.try_emplace({bits, least, most});
  Curve& saved = known->second;
  if (!fresh) return saved;
  const int slices = view_.shape.slices;
  saved.assign(static_cast<size_t>(slices) + 1, 0);
  for (const int64_t each : {least, most}) {
    Curve at_once{0}, parted{0};
    for (int n = 1; n <= slices; ++n) {
      at_once.push_back(costs_.load(bits, n, n * each).ns);
      parted.push_back(at_once.back());
      for (int k = 1; k < n; ++k) parted[n] = std::min(parted[n], at_once[k] + parted[n - k]);
      saved[n] = std::max(saved[n], at_once[n] - parted[n]);
    }
  }
  if (least != most)
    for (int n = 1; n <= slices; ++n) saved[n] += 2 * (n - 1);  // unequal parts round otherwise
  return saved;
}

int64_t ExactTimes::load(Bits bits, int count, int64_t bytes, int64_t least, int64_t most) {
  if (count == 0) return 0;
  const Curve& saved = saved_by_parting(bits, least, most);
  return std::max<int64_t>(0, costs_.load(bits, count, bytes).ns - saved[count]);
}

bool ExactTimes::supports(Op op, DeviceId device, const BitsHistogram& bits) const {
  if (!view_.supports) return true;
  CostKey key;
  key.device = device;
  key.op = op;
  key.tokens = static_cast<uint16_t>(view_.tokens);
  key.slices = static_cast<uint8_t>(slices_of(bits));
  key.bits = bits;
  return view_.supports(key);
}

// Of a part of at least k slices, at whichever of the bits is cheapest: non-decreasing in k.
ExactTimes::Curve ExactTimes::least_part(Op op, DeviceId device, const BitsHistogram& bits, bool some_decoded) {
  const int slices = slices_of(bits);
  Curve out(static_cast<size_t>(slices) + 1, kForever.ns);
  for (int level = 1; level < kBitsLevels; ++level) {
    if (bits[level] == 0) continue;
    BitsHistogram some{};
    some[level] = 1;
    if (!supports(op, device, some)) continue;
    for (int k = 1; k <= slices; ++k) {
      some[level] = static_cast<uint8_t>(k);
      out[k] = std::min(out[k], costs_.part(op, device, some, false).ns);
      if (some_decoded) out[k] = std::min(out[k], costs_.part(op, device, some, true).ns);
    }
  }
  for (int k = slices; k > 1; --k) out[k - 1] = std::min(out[k - 1], out[k]);
  out[0] = 0;
  return out;
}

LayerTime ExactTimes::split(const BitsHistogram& bits, bool some_decoded) {
  const int slices = slices_of(bits);
  uint32_t present = 0;
  for (int level = 1; level < kBitsLevels; ++level) present |= static_cast<uint32_t>(bits[level] != 0) << level;
  const auto [known, fresh] = splits_.try_emplace({present, slices, some_decoded}, LayerTime{kForever.ns, kForever.ns});
  if (!fresh || slices < 2) return known->second;
  std::vector<Curve> attention, ffn;
  int64_t first = kForever.ns;  // the least part that could still wait for its weights
  for (const DeviceId device : devices_) {
    attention.push_back(least_part(Op::kAttentionPart, device, bits, some_decoded));
    ffn.push_back(least_part(Op::kFfnPart, device, bits, some_decoded));
    first = std::min(first, attention.back()[1]);
  }
  const int64_t a = least_maximum(attention, slices), f = least_maximum(ffn, slices);
  if (first == kForever.ns || a == kForever.ns || f == kForever.ns) return known->second;
  const int64_t after = combines_[0] + f + combines_[1];
  known->second = {a + after, first + after};
  return known->second;
}

LayerTime ExactTimes::layer(const BitsHistogram& bits, bool decoded, bool some_decoded) {
  int64_t whole = kForever.ns;
  for (const DeviceId device : devices_)
    if (devices_.size() == 1 || supports(Op::kLayer, device, bits))
      whole = std::min(whole, costs_.part(Op::kLayer, device, bits, decoded).ns);
  if (devices_.size() == 1) return {whole, whole};
  const LayerTime parts = split(bits, some_decoded);
  return {std::min(whole, parts.compute), std::min(whole, parts.tail)};
}

}  // namespace tessera
