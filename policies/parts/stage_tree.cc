// Joins spans of layers; counts a layer's shards by what they are.
#include "policies/parts/stage_tree.h"

#include <algorithm>
#include <bit>

namespace tessera {

StageTree::StageTree(StageClock& clock, int depth)
    : leaves_(std::bit_ceil(static_cast<size_t>(depth))),
      spans_(2 * leaves_),
      rows_(clock.rows()),
      embed_(clock.embed()),
      exit_load_(clock.exit_load(depth)),
      exit_(clock.exit()) {}

// Either all of a's way and then b's compute, or a's loads and then b's way.
StageTree::Span StageTree::joined(const Span& a, const Span& b) {
  return {a.io + b.io, a.compute + b.compute, std::max(a.through + b.compute, a.io + b.through)};
}

void StageTree::set(int layer, Duration io, Duration compute) {
  size_t at = leaves_ + static_cast<size_t>(layer);
  spans_[at] = {io.ns, compute.ns, io.ns + compute.ns};
  while ((at /= 2) > 0) spans_[at] = joined(spans_[2 * at], spans_[2 * at + 1]);
}

Duration StageTree::latency() const { return ends(spans_[1]); }

Duration StageTree::latency_with(int layer, Duration io, Duration compute) const {
  size_t at = leaves_ + static_cast<size_t>(layer);
  Span all{io.ns, compute.ns, io.ns + compute.ns};
  for (; at > 1; at /= 2) all = at % 2 == 0 ? joined(all, spans_[at + 1]) : joined(spans_[at - 1], all);
  return ends(all);
}

// A layer without loads ends after the loads before it all the same, so that it needs no case of its own; nor does an exit
// head that is held.
Duration StageTree::ends(const Span& all) const {
  const Duration io = rows_ + Duration{all.io};
  const Duration compute = rows_ + std::max(embed_ + Duration{all.compute}, Duration{all.through});
  return std::max(compute, io + exit_load_) + exit_;
}

void LayerTally::count(int slice, Bits bits, int one) {
  const ShardId id{static_cast<int16_t>(layer_), static_cast<int16_t>(slice)};
  const int level = bits_level(bits);
  all_[level] = static_cast<uint8_t>(all_[level] + one);
  if (clock_->held(id) == bits) {
    coded_ += clock_->held_decoded(id) ? 0 : one;
    return;
  }
  coded_ += one;
  loads_[level] = static_cast<uint8_t>(loads_[level] + one);
  bytes_[level] += one * clock_->bytes_of(id, bits);
  io_ -= time_[level];
  time_[level] = loads_[level] == 0 ? Duration{} : clock_->costs().load(bits, loads_[level], bytes_[level]);
  io_ += time_[level];
}

void LayerTally::change(int slice, Bits from, Bits to) {
  if (from != kAbsent) count(slice, from, -1);
  if (to != kAbsent) count(slice, to, 1);
}

Duration LayerTally::compute() const { return clock_->compute(all_, coded_ == 0); }

}  // namespace tessera
