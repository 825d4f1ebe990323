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

}  // namespace

ExactTimes::ExactTimes(const PlanningView& view, const Choices& choices) : view_(view), costs_(view) {
  if (view.compute_devices.size() == 1)
    devices_ = {choices.device};
  else
    devices_ = view.compute_devices;
  const std::vector<DeviceId> homes = roles_of(view, 1, {}).homes;
  embed_ = exit_ = kForever.ns;
  for (const DeviceId home : homes) {
    embed_ = std::min(embed_, costs_.embed(home).ns);
    exit_ = std::min(exit_, costs_.exit(home).ns);
  }
  if (!one_device()) split_.emplace(view_, costs_, devices_, homes, choices.anywhere);
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

LayerTime ExactTimes::layer(const BitsHistogram& bits, bool decoded, bool some_decoded) {
  int64_t whole = kForever.ns;
  for (const DeviceId device : devices_)
    if (devices_.size() == 1 || supports(Op::kLayer, device, bits))
      whole = std::min(whole, costs_.part(Op::kLayer, device, bits, decoded).ns);
  if (devices_.size() == 1) return {whole, whole};
  const LayerTime parts = split_->least(bits, some_decoded);
  return {std::min(whole, parts.compute), std::min(whole, parts.tail)};
}

}  // namespace tessera
