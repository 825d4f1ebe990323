// Fills the tables, and picks each layer's slices and bits at given prices.
#include "policies/parts/shard_market.h"

#include <algorithm>
#include <limits>

namespace tessera {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

double ns(Duration d) { return static_cast<double>(d.ns); }

}  // namespace

ShardMarket::ShardMarket(const PlanningView& view, const AccuracyModel& accuracy, TaskCosts& costs,
                         const LayerTime& layer_time, const std::vector<Bits>& held, MarketRules rules)
    : slices_(view.shape.slices), rules_(std::move(rules)), rungs_(static_cast<int>(rules_.ladder.size()) + 1) {
  const size_t slices = static_cast<size_t>(slices_);
  gain_.resize(slices);
  best_.resize(slices);
  rung_.resize(slices);
  order_.resize(static_cast<size_t>(view.shape.layers) * slices);
  for (size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<int>(i % slices);
  price_loads(view, costs);
  list_choices(view, accuracy, held);
  const Bits lowest = rules_.ladder.front();
  const int widest = rules_.widths.back();
  compute_.assign(slices + 1, 0);
  for (const int width : rules_.widths) compute_[static_cast<size_t>(width)] = ns(layer_time(width, lowest));
  decode_.assign(static_cast<size_t>(rungs_), 0);
  for (int r = 1; r < rungs_; ++r) decode_[r] = (ns(layer_time(widest, bits_at(r))) - compute_[widest]) / widest;
}

// The call of a load, and each byte's share beyond it: from a load of one slice and one of the whole layer.
void ShardMarket::price_loads(const PlanningView& view, TaskCosts& costs) {
  per_byte_.assign(static_cast<size_t>(rungs_), 0);
  call_ = kNever;
  for (int r = 1; r < rungs_; ++r) {
    const int64_t one = view.shape.bytes_of({0, 0}, bits_at(r)).n;
    const double alone = ns(costs.load(bits_at(r), 1, one));
    const double all = slices_ > 1 ? ns(costs.load(bits_at(r), slices_, one * slices_)) : 2 * alone;
    const double more =
        std::max(0.0, all - alone) / (static_cast<double>(std::max<int64_t>(one, 1)) * std::max(slices_ - 1, 1));
    per_byte_[r] = more;
    ns_per_byte_ = r == 1 ? more : std::min(ns_per_byte_, more);
    call_ = std::min(call_, std::max(0.0, alone - more * static_cast<double>(one)));
  }
  least_share_.assign(static_cast<size_t>(rungs_), 1);
  for (int r = 1; r < rungs_; ++r)
    if (per_byte_[r] > 0) least_share_[r] = ns_per_byte_ / per_byte_[r];
}

void ShardMarket::list_choices(const PlanningView& view, const AccuracyModel& accuracy, const std::vector<Bits>& held) {
  const ModelShape& shape = view.shape;
  const size_t shards = static_cast<size_t>(shape.layers) * slices_;
  loss_.assign(shards * rungs_, 0);
  io_.assign(shards * rungs_, 0);
  for (int l = 0; l < shape.layers; ++l)
    for (int j = 0; j < slices_; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const Bits has = held[static_cast<size_t>(l) * slices_ + j];
      const bool only_held = !rules_.upgrades_held && rung_of(has) > 0;
      for (int r = 0; r < rungs_; ++r) {
        const Bits bits = bits_at(r);
        const bool barred = only_held && r > 0 && bits != has;
        loss_[at(l, j, r)] = barred ? kNever : static_cast<double>(accuracy.loss_delta(id, bits).n);
        if (r > 0 && bits != has) io_[at(l, j, r)] = per_byte_[r] * static_cast<double>(shape.bytes_of(id, bits).n);
      }
    }
}

int ShardMarket::rung_of(Bits bits) const {
  for (int r = 1; r < rungs_; ++r)
    if (bits_at(r) == bits) return r;
  return 0;
}

// The cheapest rung of each slice. Rungs outside, slices inside: two at a time.
void ShardMarket::choose_rungs(int layer, double scale, double io_price, double compute_price) {
  double* __restrict best = best_.data();
  double* __restrict rung = rung_.data();
  std::fill_n(best, slices_, kNever);
  std::fill_n(rung, slices_, 1.0);
  for (int r = 1; r < rungs_; ++r) {
    const double* loss = &loss_[at(layer, 0, r)];
    const double* io = &io_[at(layer, 0, r)];
    const double decode = compute_price * decode_[r], here = r;
    for (int j = 0; j < slices_; ++j) {
      const double cost = scale * loss[j] + io_price * io[j] + decode;
      rung[j] = cost < best[j] ? here : rung[j];
      best[j] = cost < best[j] ? cost : best[j];
    }
  }
}

// Slices by gain, most first, then by id. Sorted by insertion: they are nearly in order.
const int* ShardMarket::ranked(int layer) {
  int* order = &order_[static_cast<size_t>(layer) * slices_];
  if (rules_.prefixes) return order;
  const auto before = [&](int a, int b) { return gain_[a] > gain_[b] || (gain_[a] == gain_[b] && a < b); };
  for (int i = 1; i < slices_; ++i) {
    const int slice = order[i];
    int k = i;
    for (; k > 0 && before(slice, order[k - 1]); --k) order[k] = order[k - 1];
    order[k] = slice;
  }
  return order;
}

double ShardMarket::cheapest(int layer, int width, double scale, double io_price, double compute_price, uint8_t* row,
                             double* costs) {
  const double least = choose(layer, width, scale, io_price, compute_price, row, costs);
  if (call_ * io_price > 0) share_calls(layer, scale, io_price, compute_price, row);
  return least;
}

double ShardMarket::choose(int layer, int width, double scale, double io_price, double compute_price, uint8_t* row,
                           double* costs) {
  choose_rungs(layer, scale, io_price, compute_price);
  double absent = 0;
  const double* lost = &loss_[at(layer, 0, 0)];
  for (int j = 0; j < slices_; ++j) {
    gain_[j] = scale * lost[j] - best_[j];
    absent += scale * lost[j];
  }
  const int* order = ranked(layer);
  double least = kNever, cost = absent;
  int chosen = 0, next = 0;
  for (size_t w = 0; w < rules_.widths.size(); ++w) {
    const int m = rules_.widths[w];
    for (; next < m; ++next) cost -= gain_[order[next]];
    const double with = cost + compute_price * compute_[m];
    if (costs != nullptr) costs[w] = with;
    if ((width != 0 && m != width) || with >= least) continue;
    least = with;
    chosen = m;
  }
  std::fill_n(row, slices_, uint8_t{0});
  for (int i = 0; i < chosen; ++i) row[order[i]] = static_cast<uint8_t>(rung_[order[i]]);
  return least;
}

bool ShardMarket::cheapest_within(double room, int layer, int width, double scale, double io_price, double compute_price,
                                  uint8_t* row, LayerOffer& offered, double& own) {
  constexpr double kDearer = 1.5, kCheaper = 0.9, kFull = 0.85;
  constexpr int kDoublings = 30, kSteps = 4;  // 1.5 is less than 0.9 ^ -4
  const auto fits_at = [&](double price) {
    choose(layer, width, scale, price, compute_price, row, nullptr);
    offered = offer(layer, row);
    return offered.bytes <= room;
  };
  const auto shared_at = [&](double price) {
    if (call_ * price <= 0) return true;
    share_calls(layer, scale, price, compute_price, row);
    offered = offer(layer, row);
    return offered.bytes <= room || fits_at(price);
  };
  if (io_price >= own && fits_at(io_price)) return shared_at(io_price);
  own = std::max({own, io_price, scale / std::max(1.0, room)});
  if (fits_at(own)) {
    if (offered.bytes >= kFull * room) return shared_at(own);
  } else {
    int doublings = 0;
    while (!fits_at(own *= kDearer))
      if (++doublings == kDoublings) return false;
  }
  for (int i = 0; i < kSteps; ++i) {
    const double less = std::max(own * kCheaper, io_price);
    if (less == own) break;
    if (!fits_at(less)) {
      fits_at(own);
      break;
    }
    own = less;
  }
  return shared_at(own);
}

// A bitwidth of few slices is not worth a load of its own: its slices go to the next best that others use.
void ShardMarket::share_calls(int layer, double scale, double io_price, double compute_price, uint8_t* row) const {
  const double call = call_ * io_price;
  const auto cost = [&](int j, int r) {
    return scale * loss(layer, j, r) + io_price * io(layer, j, r) + compute_price * decode_[r];
  };
  for (;;) {
    int used[kBitsLevels] = {};
    int kinds = 0;
    for (int j = 0; j < slices_; ++j)
      if (row[j] != 0 && io(layer, j, row[j]) > 0) kinds += used[row[j]]++ == 0;
    if (kinds < 2) return;
    double least = 0;
    int drop = 0;
    for (int r = 1; r < rungs_; ++r) {
      if (used[r] == 0) continue;
      double more = -call;
      for (int j = 0; j < slices_ && more < least; ++j) {
        if (row[j] != r || io(layer, j, r) <= 0) continue;
        double other = kNever;
        for (int s = 1; s < rungs_; ++s)
          if (s != r && used[s] != 0) other = std::min(other, cost(j, s));
        more += other - cost(j, r);
      }
      if (more < least) {
        least = more;
        drop = r;
      }
    }
    if (drop == 0) return;
    for (int j = 0; j < slices_; ++j) {
      if (row[j] != drop || io(layer, j, drop) <= 0) continue;
      int best = 0;
      for (int s = 1; s < rungs_; ++s)
        if (s != drop && used[s] != 0 && (best == 0 || cost(j, s) < cost(j, best))) best = s;
      row[j] = static_cast<uint8_t>(best);
    }
  }
}

LayerOffer ShardMarket::offer(int layer, const uint8_t* row) const {
  LayerOffer out;
  int width = 0;
  unsigned used = 0;
  int calls = 0;
  for (int j = 0; j < slices_; ++j) {
    const int r = row[j];
    out.loss += loss(layer, j, r);
    if (r == 0) continue;
    ++width;
    out.compute += decode_[r];
    if (io(layer, j, r) <= 0) continue;
    out.io += io(layer, j, r);
    out.bytes += bytes(layer, j, r);
    calls += (used >> r & 1) == 0;
    used |= 1u << r;
  }
  out.io += calls * call_;
  out.compute += compute_[static_cast<size_t>(width)];
  return out;
}

}  // namespace tessera
