// Charges loads to accumulated IO budgets.
#include "policies/parts/io_plan.h"

#include <algorithm>

namespace tessera {
namespace {

// Where no latency is asked for: more than any plan can use, and far from overflow.
constexpr Duration kMostSlack{int64_t{1} << 60};

ShardId shard(int layer, int slice) { return {static_cast<int16_t>(layer), static_cast<int16_t>(slice)}; }

}  // namespace

IoPlan::IoPlan(const PlanningView& view, const Residency& residency, Costs& costs, Size size)
    : view_(view), residency_(residency), costs_(costs), size_(size) {
  rows_ = costs.rows();
  embed_ = costs.embed();
  exit_ = costs.exit();
  const bool exit_resident = std::find(residency.exits.begin(), residency.exits.end(), size.depth) != residency.exits.end();
  exit_load_ = exit_resident ? Duration{} : costs.exit_load(size.depth);
  resident_.assign(static_cast<size_t>(size.depth) * view.shape.slices, kAbsent);
  for (const ResidentShard& held : residency.shards)
    if (held.id.layer < size.depth && held.id.slice < size.width && costs.spares_load(held))
      resident_[index(held.id)] = held.bits;
}

void IoPlan::add_to(Group& group, Bits bits, ShardId id, int sign) {
  group.count += sign;
  group.bytes += sign * view_.shape.bytes_of(id, bits).n;
  group.time = costs_.load(bits, group.count, group.bytes);
}

bool IoPlan::start(Bits base, Head head) {
  bits_ = resident_bits(view_, residency_, size_, base);
  loads_.assign(size_.depth, {});
  left_.assign(static_cast<size_t>(size_.depth) + 1, {});
  std::vector<Duration> io(size_.depth);
  for (int l = 0; l < size_.depth; ++l) {
    auto& groups = loads_[l];
    for (int j = 0; j < size_.width; ++j) {
      const ShardId id = shard(l, j);
      if (is_resident(id)) continue;
      Group& group = groups[bits_level(bits_[index(id)])];
      ++group.count;
      group.bytes += view_.shape.bytes_of(id, bits_[index(id)]).n;
    }
    for (int level = 1; level < kBitsLevels; ++level) {
      groups[level].time = costs_.load(level_bits(level), groups[level].count, groups[level].bytes);
      io[l] += groups[level].time;
    }
  }
  const Duration layer = costs_.layer(size_.width, base);
  const Duration slack = view_.budgets.latency - rows_ - embed_ - exit_ - layer * size_.depth;
  const Duration own = std::max(Duration{}, io[0] - embed_);
  in_time_ = own <= slack;
  head_ = head == Head::kLayerZero ? own : std::clamp(slack, Duration{}, kMostSlack);
  Duration budget = embed_ + head_;
  for (int l = 0; l < size_.depth; ++l) {
    budget -= io[l];
    left_[l] = budget;
    budget += layer;
  }
  left_[size_.depth] = budget - exit_load_;
  return slack.ns >= 0 && head_ <= slack && tightest_from(0).ns >= 0;
}

Duration IoPlan::tightest_from(int layer) const { return *std::min_element(left_.begin() + layer, left_.end()); }

bool IoPlan::try_raise(ShardId id, Bits to, Upgrade& done) {
  const Bits from = bits_[index(id)];
  auto& groups = loads_[id.layer];
  Group old = groups[bits_level(from)], next = groups[bits_level(to)];
  const Duration before = old.time + next.time;
  if (!is_resident(id)) add_to(old, from, id, -1);
  add_to(next, to, id, +1);
  const Duration charge = old.time + next.time - before;
  const Duration left = tightest_from(id.layer) - charge;
  if (left.ns < 0) return false;
  groups[bits_level(from)] = old;
  groups[bits_level(to)] = next;
  bits_[index(id)] = to;
  for (int l = id.layer; l <= size_.depth; ++l) left_[l] -= charge;
  done.id = id;
  done.from = from;
  done.to = to;
  done.left = left;
  return true;
}

std::vector<Upgrade> IoPlan::raise(const std::vector<ShardId>& importance, const std::vector<Bits>& ladder) {
  std::vector<Upgrade> out;
  std::vector<bool> stuck(importance.size(), false);
  for (const Bits rung : ladder)
    for (size_t i = 0; i < importance.size(); ++i) {
      if (stuck[i] || bits_[index(importance[i])] >= rung) continue;
      Upgrade done;
      done.rank = static_cast<int>(i) + 1;
      if (try_raise(importance[i], rung, done))
        out.push_back(done);
      else
        stuck[i] = true;
    }
  return out;
}

}  // namespace tessera
