// Subgradient ascent with a fixed number of steps, then one exact evaluation.
#include "policies/parts/exact_dual.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

namespace tessera {
namespace {

__extension__ typedef __int128 Wide;
constexpr int kSteps = 140;
constexpr int kKeptSteps = 60;
constexpr int64_t kTableSteps = 3'000;  // of compute time
constexpr int kShift = 30;              // multipliers are integers of 2^-30 micro-nats a nanosecond, or a slice
constexpr double kMostMultiplier = 4e18;

// Of options that differ in io and loss only, and come by rising loss with falling io: the lower convex hull.
template <typename Point>
void extend_hull(std::vector<Point>& hull, size_t first, const Point& p) {
  while (hull.size() >= first + 2) {
    const Point &a = hull[hull.size() - 2], &b = hull.back();
    if (Wide{b.loss - a.loss} * (a.io - p.io) < Wide{p.loss - a.loss} * (a.io - b.io)) break;
    hull.pop_back();
  }
  hull.push_back(p);
}

}  // namespace

DualSolver::DualSolver(const ExactModel& model) : model_(model) {
  scale_ = static_cast<double>(std::max<int64_t>(model.latency, 1));
  for (const ExactLayer& layer : model.layers) group(layer);
}

// Options come by rising loss.
void DualSolver::group(const ExactLayer& layer) {
  const std::vector<LayerOption>& options = layer.options();
  std::vector<uint32_t> order(options.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto kind = [&](uint32_t i) { return std::tie(options[i].count, options[i].compute, options[i].tail); };
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return kind(a) < kind(b); });
  std::vector<OptionGroup> groups;
  std::vector<Tip> tips;
  std::vector<Point> hull;
  int64_t least = INT64_MAX, most = 0;
  for (uint32_t i = 0; i < order.size(); ++i) {
    const LayerOption& o = options[order[i]];
    least = std::min(least, o.loss);
    most = std::max(most, o.loss);
    const auto tip = static_cast<uint32_t>(tips.size());
    if (i == 0 || kind(order[i]) != kind(order[i - 1])) groups.push_back({o.compute, o.tail, o.count, i, i, tip, tip});
    OptionGroup& group = groups.back();
    group.last = i + 1;
    if (tips.size() == group.tip || o.io < tips.back().io) extend_hull(tips, group.tip, Tip{o.io, o.loss});
    group.last_tip = static_cast<uint32_t>(tips.size());
  }
  for (const OptionGroup& group : groups)
    for (uint32_t t = group.tip; t < group.last_tip; ++t)
      hull.push_back({static_cast<double>(tips[t].io), static_cast<double>(group.compute), static_cast<double>(group.tail),
                      static_cast<double>(group.count), static_cast<double>(tips[t].loss)});
  std::stable_sort(groups.begin(), groups.end(), [](const OptionGroup& a, const OptionGroup& b) {
    return std::tie(a.compute, a.tail, a.count) < std::tie(b.compute, b.tail, b.count);
  });
  if (!options.empty()) range_ += static_cast<double>(most - least);
  hulls_.push_back(std::move(hull));
  groups_.push_back(std::move(groups));
  order_.push_back(std::move(order));
  tips_.push_back(std::move(tips));
}

std::vector<DualSolver::Prices> DualSolver::prices(const SizeClass& size, const Multipliers& at) {
  std::vector<Prices> out(static_cast<size_t>(size.depth));
  double after = at.exit, before = at.chain;
  for (size_t l = out.size(); l-- > 0;) out[l].io = after += at.loads[l];
  for (size_t l = 0; l < out.size(); ++l) {
    out[l].compute = before;
    out[l].tail = at.loads[l];
    out[l].count = at.more - at.fewer;  // `more` is paid for each slice above the range, `fewer` for each below
    before += at.loads[l];
  }
  return out;
}

std::vector<DualSolver::Point> DualSolver::cheapest(const std::vector<Prices>& prices) const {
  std::vector<Point> out(prices.size());
  for (size_t l = 0; l < prices.size(); ++l) {
    double best = INFINITY;
    for (const Point& p : hulls_[l]) {
      const double v = prices[l].of(p);
      if (v >= best) continue;
      best = v;
      out[l] = p;
    }
  }
  return out;
}

// The same with all of compute in time: a knapsack over layers, in steps rounded down.
std::vector<DualSolver::Point> DualSolver::cheapest_in_time(const std::vector<Prices>& prices) const {
  constexpr int kCoarse = 1'000;
  const double left = static_cast<double>(model_.latency - model_.exit - model_.rows - model_.embed);
  const double each = std::max(left, 1.0) / kCoarse;
  std::vector<std::vector<std::pair<double, Point>>> items(prices.size());  // (value, point), by rising compute
  std::vector<double> table(kCoarse + 1, 0), next(kCoarse + 1);
  std::vector<std::vector<uint16_t>> taken(prices.size(), std::vector<uint16_t>(kCoarse + 1, 0));
  for (size_t l = prices.size(); l-- > 0;) {
    std::map<double, std::pair<double, Point>> by_compute;
    for (const Point& p : hulls_[l]) {
      const double v = prices[l].of(p);
      const auto [known, fresh] = by_compute.try_emplace(p.compute, v, p);
      if (!fresh && v < known->second.first) known->second = {v, p};
    }
    for (const auto& [compute, item] : by_compute)
      if (items[l].empty() || item.first < items[l].back().first) items[l].push_back(item);
    std::fill(next.begin(), next.end(), INFINITY);
    for (size_t i = 0; i < items[l].size(); ++i) {
      const double steps = items[l][i].second.compute / each;
      for (int b = steps > kCoarse ? kCoarse + 1 : static_cast<int>(steps), from = 0; b <= kCoarse; ++b, ++from) {
        const double v = table[static_cast<size_t>(from)] + items[l][i].first;
        if (v >= next[static_cast<size_t>(b)]) continue;
        next[static_cast<size_t>(b)] = v;
        taken[l][static_cast<size_t>(b)] = static_cast<uint16_t>(i);
      }
    }
    std::swap(table, next);
  }
  if (!(table[kCoarse] < INFINITY)) return cheapest(prices);
  std::vector<Point> out;
  int b = kCoarse;
  for (size_t l = 0; l < prices.size(); ++l) {
    out.push_back(items[l][taken[l][static_cast<size_t>(b)]].second);
    b -= static_cast<int>(out.back().compute / each);
  }
  return out;
}

double DualSolver::evaluate(const SizeClass& size, const Multipliers& at, Compute how, Multipliers& violation) const {
  std::vector<Prices> all = prices(size, at);
  for (Prices& p : all) {
    p.io /= scale_;
    p.compute /= scale_;
    p.tail /= scale_;
  }
  const auto depth = static_cast<size_t>(size.depth);
  const std::vector<Point> chosen = how == Compute::kPriced ? cheapest(all) : cheapest_in_time(all);
  double value = 0, compute = 0, io = 0, count = 0;
  for (size_t l = 0; l < depth; ++l) {
    value += all[l].of(chosen[l]);
    compute += chosen[l].compute;
    count += chosen[l].count;
  }
  const double rows = static_cast<double>(model_.rows), most = static_cast<double>(model_.latency - model_.exit);
  violation.chain = (rows + static_cast<double>(model_.embed) + compute - most) / scale_;
  value += at.chain * (rows + static_cast<double>(model_.embed) - most) / scale_;
  for (size_t l = 0; l < depth; ++l) {
    io += chosen[l].io;
    compute -= chosen[l].compute;
    violation.loads[l] = (rows + io + chosen[l].tail + compute - most) / scale_;
    value += at.loads[l] * (rows - most) / scale_;
  }
  const std::optional<int64_t>& exit_load = model_.exit_load[depth];
  const double head = exit_load ? rows + static_cast<double>(*exit_load) - most : -scale_;
  violation.exit = exit_load ? (io + head) / scale_ : -1;
  value += exit_load ? at.exit * head / scale_ : 0;
  violation.more = count - size.high;
  violation.fewer = size.low - count;
  value += at.fewer * size.low - at.more * size.high;
  return value;
}

// Steps towards a target a little above the best so far; the target comes nearer where that does not help.
Multipliers DualSolver::climb(const SizeClass& size, Multipliers at, Compute how, int steps, double step) const {
  Multipliers best = at, violation, best_violation;
  violation.loads.assign(static_cast<size_t>(size.depth), 0);
  double best_value = -INFINITY;
  int since_best = 0;
  for (int i = 0; i < steps; ++i) {
    double value = evaluate(size, at, how, violation);
    since_best = value > best_value + 0.02 * step ? 0 : since_best + 1;
    if (value > best_value) {
      best_value = value;
      best = at;
      best_violation = violation;
    }
    if (since_best >= 4) {
      step /= 2;
      since_best = 0;
      at = best;
      violation = best_violation;
      value = best_value;
    }
    if (!move(size, at, how, violation, best_value - value + step)) break;
  }
  return best;
}

// Along a subgradient, as far as would raise the bound by `rise` if it were linear. False where nothing can be moved.
bool DualSolver::move(const SizeClass& size, Multipliers& at, Compute how, const Multipliers& slopes, double rise) const {
  constexpr double kPerSlice = 0.02;  // slices against whole budgets: of about equal effect
  const auto each = [&](auto&& act) {
    if (how == Compute::kPriced) act(at.chain, slopes.chain, 1.0);
    if (model_.exit_load[static_cast<size_t>(size.depth)]) act(at.exit, slopes.exit, 1.0);
    for (size_t l = 0; l < at.loads.size(); ++l) act(at.loads[l], slopes.loads[l], 1.0);
    if (size.counts) act(at.more, slopes.more, kPerSlice);
    if (size.counts) act(at.fewer, slopes.fewer, kPerSlice);
  };
  double norm = 0;  // only what can still be moved counts
  each([&](double& multiplier, double slope, double unit) {
    norm += multiplier > 0 || slope > 0 ? slope * slope * unit * unit : 0;
  });
  if (norm <= 0) return false;
  const double length = rise / norm;
  each([&](double& multiplier, double slope, double unit) {
    multiplier = std::max(0.0, multiplier + length * slope * unit * unit);
  });
  return true;
}

Dual DualSolver::solve(const SizeClass& size) {
  Multipliers at = last_;
  at.loads.resize(static_cast<size_t>(size.depth), 0);
  at.more = at.fewer = 0;
  if (!model_.exit_load[static_cast<size_t>(size.depth)]) at.exit = 0;
  last_ = climb(size, at, Compute::kPriced, kSteps, 0.05 * range_ + 1);
  return exactly(size, last_);
}

void DualSolver::refine(const SizeClass& size, Dual& dual) const {
  Multipliers at = dual.at_;
  at.chain = 0;
  Dual better = exactly(size, climb(size, at, Compute::kKept, kKeptSteps, 0.01 * range_ + 1));
  if (better.bound > dual.bound) dual = std::move(better);
}

namespace {

// a * price, in 1/1024 micro-nats, rounded down.
int64_t worth(int64_t price, int64_t a) { return static_cast<int64_t>(Wide{price} * a >> (kShift - 10)); }

}  // namespace

int64_t Dual::compute_rest(int layer, int64_t done) const {
  const std::vector<int64_t>& table = tables_[static_cast<size_t>(layer)];
  const int64_t left = time_ - done;
  return left < 0 ? kNever : table[std::min(static_cast<size_t>(left / step_), table.size() - 1)];
}

int64_t Dual::priced(int layer, int64_t storage) const {
  return worth(storage_price_[static_cast<size_t>(layer)], storage - time_);
}

int64_t Dual::counted(int count) const {
  return more_ == 0 && fewer_ == 0 ? 0 : worth(more_, count - high_) + worth(fewer_, low_ - count);
}

// Multipliers are rounded first: what is proven holds for what they were rounded to, whatever doubles did.
Dual DualSolver::exactly(const SizeClass& size, const Multipliers& at) const {
  const auto fixed = [&](double multiplier, double unit) {
    const double v = multiplier / unit * static_cast<double>(int64_t{1} << kShift);
    return v > 0 ? static_cast<int64_t>(std::min(v, kMostMultiplier)) : int64_t{0};
  };
  const auto depth = static_cast<size_t>(size.depth);
  const int64_t exit = model_.exit_load[depth] ? fixed(at.exit, scale_) : 0;
  std::vector<int64_t> loads;
  for (size_t l = 0; l < depth; ++l) loads.push_back(fixed(at.loads[l], scale_));
  Dual out;
  out.at_ = at;
  out.time_ = model_.latency - model_.exit;
  out.low_ = size.low;
  out.high_ = size.high;
  if (size.counts) {
    out.more_ = fixed(at.more, 1);
    out.fewer_ = fixed(at.fewer, 1);
  }
  out.storage_price_.assign(depth + 1, exit);
  for (size_t l = depth; l-- > 0;) out.storage_price_[l] = out.storage_price_[l + 1] + loads[l];
  tabulate(out, size, loads, exit);
  const int64_t least = out.rest(0, model_.rows, model_.rows + model_.embed, 0);
  out.bound = least >= Dual::kNever ? Dual::kNever : (least + Dual::kUnit - 1) >> 10;
  return out;
}

void DualSolver::list(const SizeClass& size, Dual& dual) const {
  if (!dual.groups.empty()) return;
  dual.groups.resize(static_cast<size_t>(size.depth));
  for (size_t l = 0; l < dual.groups.size(); ++l) {
    const std::vector<LayerOption>& options = model_.layers[l].options();
    for (const OptionGroup& of : groups_[l]) {
      Dual::Group& group = dual.groups[l].emplace_back();
      group.compute = of.compute;
      group.tail = of.tail;
      group.count = of.count;
      group.by_price.reserve(of.last - of.first);
      for (uint32_t k = of.first; k < of.last; ++k) {
        const LayerOption& o = options[order_[l][k]];
        group.by_price.emplace_back(o.loss * Dual::kUnit + worth(dual.storage_price_[l + 1], o.io), order_[l][k]);
      }
      std::sort(group.by_price.begin(), group.by_price.end());
    }
  }
}

// A layer's groups by rising compute time; one that is no cheaper than one before it is never taken.
std::vector<DualSolver::Item> DualSolver::items_of(const Dual& dual, size_t layer, int64_t load) const {
  std::vector<Item> items;
  for (const OptionGroup& group : groups_[layer]) {
    int64_t least = Dual::kNever;
    for (uint32_t t = group.tip; t < group.last_tip; ++t)  // what is rounded down is least where it was before
      least = std::min(least, tips_[layer][t].loss * Dual::kUnit + worth(dual.storage_price_[layer], tips_[layer][t].io));
    least += worth(load, group.tail) + worth(dual.more_ - dual.fewer_, group.count);
    if (items.empty() || least < items.back().value) items.push_back({group.compute, least});
  }
  return items;
}

// For each layer l, a knapsack over the layers from it on: the least priced loss in so many steps of compute time. Compute
// times are rounded down to steps, so the tables are never above what is true. O(depth^2 * groups * steps).
void DualSolver::tabulate(Dual& dual, const SizeClass& size, const std::vector<int64_t>& loads, int64_t exit) const {
  const auto depth = static_cast<size_t>(size.depth);
  std::vector<std::vector<Item>> items;
  int64_t divisor = 0, slowest = 0;
  for (size_t j = 0; j < depth; ++j) {
    items.push_back(items_of(dual, j, loads[j]));
    int64_t most = 0;
    for (const OptionGroup& group : groups_[j]) {
      divisor = std::gcd(divisor, group.compute);
      most = std::max(most, group.compute);
    }
    slowest += most;
  }
  const int64_t room = std::clamp<int64_t>(dual.time_, 0, slowest);
  const int64_t even = room / kTableSteps + 1;
  dual.step_ = divisor > 0 && room / divisor <= kTableSteps ? divisor : even;
  const auto steps = static_cast<size_t>(room / dual.step_) + 1;
  const int64_t head = exit > 0 ? worth(exit, *model_.exit_load[depth]) : 0;
  dual.tables_.assign(depth + 1, std::vector<int64_t>(steps, head));
  std::vector<int64_t> next(steps);
  for (size_t l = 0; l < depth; ++l) {
    std::vector<int64_t>& table = dual.tables_[l];
    int64_t before = 0;  // price of a layer's compute by the constraints of layers l..j-1
    for (size_t j = l; j + 1 < depth; ++j) before += loads[j];
    for (size_t j = depth; j-- > l;) {
      std::fill(next.begin(), next.end(), Dual::kNever);
      for (const Item& item : items[j]) {
        const auto takes = static_cast<size_t>(item.compute / dual.step_);
        const int64_t value = item.value + worth(before, item.compute);
        for (size_t b = takes; b < steps; ++b) next[b] = std::min(next[b], table[b - takes] + value);
      }
      std::swap(table, next);
      if (j > l) before -= loads[j - 1];
    }
    for (int64_t& least : table) least = least > Dual::kNever / 2 ? Dual::kNever : least;
  }
}

}  // namespace tessera
