// Finds, for each bitwidth, the fewest shards that spare compute every stall.
#include "policies/parts/preload_buffer.h"

#include "policies/parts/size_search.h"

namespace tessera {
namespace {

// The first shards of a submodel, as many as fit.
Residency bottom_up(const PlanningView& view, Size size, Bits bits, Bytes room) {
  Residency out;
  for (int l = 0; l < size.depth; ++l)
    for (int j = 0; j < size.width; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const Bytes bytes = view.shape.bytes_of(id, bits);
      if (bytes > room) return out;
      room -= bytes;
      out.shards.push_back({id, bits, false, bytes});
    }
  return out;
}

}  // namespace

Bits highest_coded(const std::vector<Bits>& ladder) {
  for (auto bits = ladder.rbegin(); bits != ladder.rend(); ++bits)
    if (*bits != kExact) return *bits;
  return kExact;
}

Residency preload_buffer(const PlanningView& view, const Choices& choices, Costs& costs, Size size, bool all) {
  const Bits coded = highest_coded(choices.ladder);
  Residency full;
  for (const Bits bits : {choices.ladder.back(), coded}) {
    full = bottom_up(view, size, bits, view.budgets.preload);
    const auto first = [&](int count) {
      Residency out;
      out.shards.assign(full.shards.begin(), full.shards.begin() + count);
      return out;
    };
    const auto stalls = [&](int count) {
      const Residency held = first(count);
      IoPlan io(view, held, costs, size);
      io.start(bits, Head::kLayerZero);
      return !io.never_stalls();
    };
    const int most = static_cast<int>(full.shards.size());
    const int too_few = last_that_holds(0, most + 1, stalls);
    if (too_few < most) return all ? full : first(too_few + 1);
  }
  return full;
}

Residency bottom_of(const PlanningView& view, const Plan& plan) {
  Residency out;
  Bytes room = view.budgets.preload;
  for (int l = 0; l < plan.depth; ++l)
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const Bits bits = plan.bits_of(id);
      const Bytes bytes = view.shape.bytes_of(id, bits);
      if (bits == kAbsent || bytes > room) continue;
      room -= bytes;
      out.shards.push_back({id, bits, false, bytes});
    }
  return out;
}

}  // namespace tessera
