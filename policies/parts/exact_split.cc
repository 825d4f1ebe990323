// Enumerates what parts may hold, and how slices may be dealt.
#include "policies/parts/exact_split.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace tessera {
namespace {

__extension__ typedef __int128 Wide;

constexpr double kMostDeals = 7'000;  // of slices to devices: above, each device is looked at by itself

// Ways to deal slices to devices: binomial(slices + devices - 1, devices - 1).
bool too_many_deals(int slices, size_t devices) {
  double ways = 1;
  for (size_t d = 1; d < devices; ++d)
    ways = ways * static_cast<double>(slices + static_cast<int>(d)) / static_cast<double>(d);
  return ways > kMostDeals;
}

int slices_of(const BitsHistogram& bits) {
  int sum = 0;
  for (const uint8_t count : bits) sum += count;
  return sum;
}

// Every histogram of 1 to `most` slices at such bits.
void each_histogram(const std::vector<Bits>& ladder, int most, const std::function<void(const BitsHistogram&, int)>& tell) {
  BitsHistogram bits{};
  const std::function<void(size_t, int)> fill = [&](size_t at, int used) {
    if (at == ladder.size()) {
      if (used > 0) tell(bits, used);
      return;
    }
    uint8_t& count = bits[bits_level(ladder[at])];
    for (int n = 0; used + n <= most; ++n) {
      count = static_cast<uint8_t>(n);
      fill(at + 1, used + n);
    }
    count = 0;
  };
  fill(0, 0);
}

}  // namespace

ExactSplit::ExactSplit(const PlanningView& view, TaskCosts& costs, std::vector<DeviceId> devices,
                       std::vector<DeviceId> homes, std::vector<Bits> ladder)
    : view_(view), costs_(costs), devices_(std::move(devices)), homes_(std::move(homes)), ladder_(std::move(ladder)) {}

// Each bitwidth's slices against those of the cheapest, where all of a part is alike; then what is left of every part.
void ExactSplit::ask(Op op, bool decoded, DeviceId device, Lane& lane) const {
  CostKey key;
  key.device = device;
  key.op = op;
  key.tokens = static_cast<uint16_t>(view_.tokens);
  key.decoded = decoded;
  each_histogram(ladder_, view_.shape.slices, [&](const BitsHistogram& bits, int slices) {
    key.slices = static_cast<uint8_t>(slices);
    key.bits = bits;
    if (view_.supports && !view_.supports(key)) return;
    int64_t left = planned_duration(view_.costs.estimate(key), view_.quantile).ns;
    lane.least[static_cast<size_t>(slices)] = std::min(lane.least[static_cast<size_t>(slices)], left);
    for (int level = 1; level < kBitsLevels; ++level) left -= bits[level] * lane.each[level];
    lane.base[static_cast<size_t>(slices)] = std::min(lane.base[static_cast<size_t>(slices)], left);
  });
}

ExactSplit::Half ExactSplit::measured(Op op, bool some_decoded) const {
  const int slices = view_.shape.slices;
  Half out;
  for (const DeviceId device : devices_) {
    Lane& lane = out.lanes.emplace_back();
    lane.base.assign(static_cast<size_t>(slices) + 1, kForever.ns);
    lane.least = lane.base;
    int64_t cheapest = kForever.ns;
    for (const Bits bits : ladder_) cheapest = std::min(cheapest, costs_.part(op, device, slices, bits).ns);
    for (const Bits bits : ladder_)
      lane.each[bits_level(bits)] = (costs_.part(op, device, slices, bits).ns - cheapest) / slices;
    ask(op, false, device, lane);
    if (some_decoded) ask(op, true, device, lane);
    const auto matters = [](const auto& each) {
      return std::any_of(each.begin(), each.end(), [](int64_t e) { return e > 0; });
    };
    if (!matters(out.each)) out.each = lane.each;
  }
  for (Lane& lane : out.lanes)
    for (int level = 1; level < kBitsLevels; ++level) {
      if (out.each[level] == 0) continue;
      if (lane.each[level] == 0) {
        lane.weight = 0;
        break;
      }
      const Wide ratio = ((Wide{out.each[level]} << kFraction) + lane.each[level] - 1) / lane.each[level];
      lane.weight = std::max(lane.weight, static_cast<int64_t>(std::min<Wide>(ratio, Wide{1} << 40)));
    }
  return out;
}

const ExactSplit::Half& ExactSplit::half(Op op, bool some_decoded) {
  const auto [known, fresh] = halves_.try_emplace({op, some_decoded});
  if (fresh) known->second = measured(op, some_decoded);
  return known->second;
}

// From where a device computes to home, by way of host memory, which moves nothing by itself. On the lanes of those who have
// buffers of their own.
int64_t ExactSplit::partial_home(DeviceId device, DeviceId home) {
  const SpaceId from = view_.platform.space(device), to = view_.platform.space(home);
  if (from == to) return 0;
  return (from != kHostSpace ? costs_.move(device, Payload::kPartial, true).ns : 0) +
         (to != kHostSpace ? costs_.move(home, Payload::kPartial, false).ns : 0);
}

// What a part moves from the layer's input to its partial sum at home. The attention's x is in one place: a device that does
// not have it gets it, and one that does sends it away, since home and some part elsewhere both read it.
int64_t ExactSplit::moves(Op op, DeviceId device, DeviceId home) {
  const SpaceId space = view_.platform.space(device), at_home = view_.platform.space(home);
  const auto hidden = [&] {
    return std::min(costs_.move(device, Payload::kHidden, false).ns, costs_.move(device, Payload::kHidden, true).ns);
  };
  const bool ffn = op == Op::kFfnPart;  // its input is made at home
  if (space == at_home) {
    if (space == kHostSpace) return 0;
    return (ffn ? costs_.move(home, Payload::kAttended, true).ns : hidden()) +
           costs_.move(home, Payload::kPartial, false).ns;  // at least one part is elsewhere
  }
  int64_t input = 0;
  if (space != kHostSpace) input += ffn ? costs_.move(device, Payload::kAttended, false).ns : hidden();
  if (at_home != kHostSpace && ffn) input += costs_.move(home, Payload::kAttended, true).ns;
  return input + partial_home(device, home);
}

// The least t within which all slices can be dealt, each device taking as many as it can in t.
int64_t ExactSplit::least_longest(const Half& of, const std::vector<int64_t>& moved, int slices) {
  std::vector<int64_t> times{kForever.ns};
  const auto takes = [&](size_t d, int k) {
    const int64_t least = of.lanes[d].least[static_cast<size_t>(k)];
    return least == kForever.ns ? least : least + moved[d];
  };
  for (size_t d = 0; d < of.lanes.size(); ++d)
    for (int k = 1; k <= slices; ++k) times.push_back(takes(d, k));
  std::sort(times.begin(), times.end());
  const auto enough = [&](int64_t t) {
    int dealt = 0;
    for (size_t d = 0; d < of.lanes.size(); ++d)
      for (int k = slices; k > 0; --k)
        if (takes(d, k) <= t) {
          dealt += k;
          break;
        }
    return dealt >= slices;
  };
  return *std::partition_point(times.begin(), times.end() - 1, [&](int64_t t) { return !enough(t); });
}

// All ways to deal so many slices to two devices or more, but for those that another one is at least as good as.
const ExactSplit::Deals& ExactSplit::deals(Op op, size_t home, int slices, bool some_decoded) {
  const auto [known, fresh] = deals_.try_emplace({op, home, slices, some_decoded});
  Deals& out = known->second;
  if (!fresh) return out;
  const Half& of = half(op, some_decoded);
  std::vector<int64_t> moved;
  for (const DeviceId device : devices_) moved.push_back(moves(op, device, homes_[home]));
  if (too_many_deals(slices, devices_.size())) {
    out.push_back({least_longest(of, moved, slices), -1, 0});
    return out;
  }
  std::map<uint32_t, std::vector<Deal>> by_devices;
  const std::function<void(size_t, int, uint32_t, Deal)> deal = [&](size_t d, int left, uint32_t used, const Deal& so_far) {
    if (d == devices_.size()) {
      if (left == 0 && (used & (used - 1)) != 0) by_devices[used].push_back(so_far);
      return;
    }
    const Lane& lane = of.lanes[d];
    deal(d + 1, left, used, so_far);
    for (int k = 1; k <= left; ++k) {
      if (lane.base[static_cast<size_t>(k)] == kForever.ns) continue;
      const int64_t base = lane.base[static_cast<size_t>(k)] + moved[d];
      Deal next = so_far;
      next.longest = std::max(next.longest, base);
      next.weight = lane.weight == 0 || next.weight < 0 ? -1 : next.weight + lane.weight;
      next.sum = static_cast<int64_t>(std::min<Wide>(next.sum + Wide{lane.weight} * base, INT64_MAX / 4));
      deal(d + 1, left - k, used | 1U << d, next);
    }
  };
  deal(0, slices, 0, {});
  for (auto& [used, deals] : by_devices) {  // of the same devices, and so of the same weight
    std::sort(deals.begin(), deals.end(),
              [](const Deal& a, const Deal& b) { return std::tie(a.longest, a.sum) < std::tie(b.longest, b.sum); });
    int64_t least = INT64_MAX;
    for (const Deal& some : deals)
      if (some.sum < least) {
        least = some.sum;
        out.push_back(some);
      }
  }
  return out;
}

int64_t ExactSplit::least_of(const Half& half, const Deals& deals, const BitsHistogram& bits) const {
  Wide reference = 0;
  for (int level = 1; level < kBitsLevels; ++level) reference += Wide{bits[level]} * half.each[level] << kFraction;
  int64_t least = kForever.ns;
  for (const Deal& deal : deals) {
    if (deal.longest >= least) continue;
    const Wide shared = deal.weight > 0 ? (reference + deal.sum) / deal.weight : 0;
    least = std::min(least, std::max(deal.longest, static_cast<int64_t>(std::min<Wide>(shared, kForever.ns))));
  }
  return least;
}

// From the end of the layer's loads to that of its attention parts. A part starts when its own slices are there; those of
// other parts that come later keep the storage busy for at most slice_io each. Best: the longest part's slices first.
int64_t ExactSplit::after_loads(size_t home, int slices, int64_t slice_io, bool some_decoded) {
  const auto [known, fresh] = after_loads_.try_emplace({home, slices, slice_io, some_decoded}, kForever.ns);
  if (!fresh) return known->second;
  const Half& of = half(Op::kAttentionPart, some_decoded);
  if (too_many_deals(slices, devices_.size())) {
    for (const Lane& lane : of.lanes)
      known->second = std::min(known->second, *std::min_element(lane.least.begin() + 1, lane.least.end()));
    return known->second;
  }
  std::vector<std::pair<int64_t, int>> parts;  // (ns, slices)
  const std::function<void(size_t, int)> deal = [&](size_t d, int left) {
    if (d == devices_.size()) {
      if (left > 0 || parts.size() < 2) return;
      std::vector<std::pair<int64_t, int>> order = parts;
      std::sort(order.begin(), order.end());
      int64_t longest = 0, later = 0;
      for (const auto& [takes, count] : order) {  // the last to come is the shortest
        longest = std::max(longest, takes - later * slice_io);
        later += count;
      }
      known->second = std::min(known->second, longest);
      return;
    }
    deal(d + 1, left);
    const int64_t down = partial_home(devices_[d], homes_[home]);
    for (int k = 1; k <= left; ++k) {
      if (of.lanes[d].least[static_cast<size_t>(k)] == kForever.ns) continue;
      parts.emplace_back(of.lanes[d].least[static_cast<size_t>(k)] + down, k);
      deal(d + 1, left - k);
      parts.pop_back();
    }
  };
  deal(0, slices);
  return known->second;
}

// Of one slice of such a layer alone, at the most.
int64_t ExactSplit::slowest_load(const BitsHistogram& bits) {
  int64_t out = 0;
  for (int level = 1; level < kBitsLevels; ++level) {
    if (bits[level] == 0) continue;
    if (slice_io_[level] == 0)
      for (int i = 0; i < view_.shape.layers * view_.shape.slices; ++i) {
        const ShardId id{static_cast<int16_t>(i / view_.shape.slices), static_cast<int16_t>(i % view_.shape.slices)};
        const int64_t bytes = view_.shape.bytes_of(id, level_bits(level)).n;
        slice_io_[level] = std::max(slice_io_[level], costs_.load(level_bits(level), 1, bytes).ns);
      }
    out = std::max(out, slice_io_[level]);
  }
  return out;
}

LayerTime ExactSplit::least(const BitsHistogram& bits, bool some_decoded) {
  LayerTime out{kForever.ns, kForever.ns};
  const int slices = slices_of(bits);
  if (slices < 2) return out;
  const Half &attention = half(Op::kAttentionPart, some_decoded), &ffn = half(Op::kFfnPart, some_decoded);
  const int64_t slice_io = slowest_load(bits);
  for (size_t h = 0; h < homes_.size(); ++h) {
    const int64_t a = least_of(attention, deals(Op::kAttentionPart, h, slices, some_decoded), bits);
    const int64_t f = least_of(ffn, deals(Op::kFfnPart, h, slices, some_decoded), bits);
    if (a == kForever.ns || f == kForever.ns) continue;
    const int64_t after = costs_.combine(homes_[h], Op::kAttentionPart).ns + f + costs_.combine(homes_[h], Op::kFfnPart).ns;
    out.compute = std::min(out.compute, a + after);
    out.tail = std::min(out.tail, after_loads(h, slices, slice_io, some_decoded) + after);
  }
  return out;
}

}  // namespace tessera
