// Chooses what is measured of a device that computes.
#include <algorithm>

#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

CostKey sliced_key(DeviceId device, Op op, int tokens, int slices, Bits bits, bool decoded) {
  CostKey key;
  key.device = device;
  key.op = op;
  key.tokens = static_cast<uint16_t>(tokens);
  key.slices = static_cast<uint8_t>(slices);
  key.decoded = decoded;
  key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
  return key;
}

CostKey plain_key(DeviceId device, Op op, int tokens) {
  CostKey key;
  key.device = device;
  key.op = op;
  key.tokens = static_cast<uint16_t>(tokens);
  return key;
}

std::vector<int> token_counts(const ModelShape& shape) {
  std::vector<int> tokens;
  for (int t : kTokenBuckets)
    if (tokens.empty() || t <= shape.max_tokens) tokens.push_back(std::min(t, shape.max_tokens));
  return tokens;
}

std::vector<int> slice_counts(const ModelShape& shape) {
  std::vector<int> widths = {1, (shape.slices + 1) / 2, shape.slices};
  widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
  return widths;
}

}  // namespace

bool is_of_parts(Op op) { return op == Op::kCombine || op == Op::kAttentionPart || op == Op::kFfnPart; }

std::vector<CostKey> keys_of(DeviceId id, const DeviceDescription& device, const DeviceBinding& binding,
                             const ModelShape& shape, bool parts) {
  // On cores, what decoding adds hardly depends on T; elsewhere coded and decoded weights may take other kernels. Emulators
  // are slow: what they take is learned at fewer bitwidths (below).
  const auto coded_at = [&device](int t) { return t == 16 || t == 128 || (device.kind != DeviceKind::kCpu && t != 512); };
  std::vector<CostKey> keys;
  const auto want = [&](const CostKey& key) {
    if (binding.backend->supports(binding.device, key, shape).yes) keys.push_back(key);
  };
  for (int t : token_counts(shape)) {
    for (Op op : {Op::kEmbed, Op::kExit})
      if (t == 8 || t == 128 || (op == Op::kEmbed && t == 512)) want(plain_key(id, op, t));
    for (int m : slice_counts(shape)) {
      if (!device.own_buffers) want(sliced_key(id, Op::kLayer, t, m, kExact, true));  // only hosts hold decoded weights
      if (!coded_at(t)) continue;
      for (Bits b : shape.bitwidths)
        if (!device.emulated || b == shape.bitwidths.front() || b == 6 || b == kExact)
          want(sliced_key(id, Op::kLayer, t, m, b, false));
    }
    if (!parts || (t != 16 && t != 64 && t != 128)) continue;
    want(plain_key(id, Op::kCombine, t));
    for (int m : slice_counts(shape))
      for (Op op : {Op::kAttentionPart, Op::kFfnPart})
        for (Bits b : shape.bitwidths)
          if (b == shape.bitwidths.front() || b == 6 || b == kExact) want(sliced_key(id, op, t, m, b, false));
  }
  return keys;
}

}  // namespace tessera::calibration
