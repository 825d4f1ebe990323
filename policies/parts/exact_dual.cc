// Subgradient ascent with a fixed number of steps, then one exact evaluation.
#include "policies/parts/exact_dual.h"

#include <algorithm>
#include <cmath>

namespace tessera {
namespace {

__extension__ typedef __int128 Wide;
constexpr int kSteps = 140;
constexpr int kShift = 30;  // multipliers are integers of 2^-30 micro-nats a nanosecond, or a slice
constexpr double kMostMultiplier = 4e18;

// Of options that differ in io and loss only: the lower convex hull. They come by rising loss with falling io.
template <typename Point>
void append_hull(std::vector<Point>& out, const std::vector<Point>& group) {
  const size_t first = out.size();
  for (const Point& p : group) {
    while (out.size() >= first + 2) {
      const Point &a = out[out.size() - 2], &b = out.back();
      if ((b.loss - a.loss) * (a.io - p.io) < (p.loss - a.loss) * (a.io - b.io)) break;
      out.pop_back();
    }
    out.push_back(p);
  }
}

}  // namespace

DualSolver::DualSolver(const ExactModel& model) : model_(model) {
  scale_ = static_cast<double>(std::max<int64_t>(model.latency, 1));
  for (const ExactLayer& layer : model.layers) {
    std::vector<const LayerOption*> sorted;
    for (const LayerOption& option : layer.options()) sorted.push_back(&option);
    std::stable_sort(sorted.begin(), sorted.end(), [](const LayerOption* a, const LayerOption* b) {
      return std::tie(a->count, a->compute, a->tail) < std::tie(b->count, b->compute, b->tail);
    });
    std::vector<Point> hull, group;
    int64_t least = INT64_MAX, most = 0;
    for (size_t i = 0; i < sorted.size(); ++i) {
      const LayerOption& o = *sorted[i];
      least = std::min(least, o.loss);
      most = std::max(most, o.loss);
      const Point point{static_cast<double>(o.io), static_cast<double>(o.compute), static_cast<double>(o.tail),
                        static_cast<double>(o.count), static_cast<double>(o.loss)};
      if (group.empty() || point.io < group.back().io) group.push_back(point);
      const bool last = i + 1 == sorted.size() || sorted[i + 1]->count != o.count || sorted[i + 1]->compute != o.compute ||
                        sorted[i + 1]->tail != o.tail;
      if (!last) continue;
      append_hull(hull, group);
      group.clear();
    }
    hulls_.push_back(std::move(hull));
    if (!layer.options().empty()) range_ += static_cast<double>(most - least);
  }
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

// The bound at these multipliers; the violations of its minimiser are a subgradient.
double DualSolver::evaluate(const SizeClass& size, const Multipliers& at, Multipliers& violation) const {
  const std::vector<Prices> all = prices(size, at);
  const auto depth = static_cast<size_t>(size.depth);
  std::vector<Point> chosen(depth);
  double value = 0;
  for (size_t l = 0; l < depth; ++l) {
    const double io = all[l].io / scale_, compute = all[l].compute / scale_, tail = all[l].tail / scale_,
                 count = all[l].count;
    double best = INFINITY;
    for (const Point& p : hulls_[l]) {
      const double v = p.loss + io * p.io + compute * p.compute + tail * p.tail + count * p.count;
      if (v >= best) continue;
      best = v;
      chosen[l] = p;
    }
    value += best;
  }
  double compute = 0, io = 0, count = 0;
  for (const Point& p : chosen) {
    compute += p.compute;
    count += p.count;
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

Dual DualSolver::solve(const SizeClass& size) {
  const auto depth = static_cast<size_t>(size.depth);
  Multipliers at = last_, best, violation;
  at.loads.resize(depth, 0);
  violation.loads.assign(depth, 0);
  at.more = at.fewer = 0;
  if (!model_.exit_load[depth]) at.exit = 0;
  best = at;
  double best_value = -INFINITY, step = 0.05 * range_ + 1;
  int since_best = 0;
  for (int i = 0; i < kSteps; ++i) {
    const double value = evaluate(size, at, violation);
    if (value > best_value) {
      since_best = value > best_value + 0.02 * step ? 0 : since_best + 1;
      best_value = value;
      best = at;
    } else {
      ++since_best;
    }
    if (since_best >= 4) {
      step /= 2;
      since_best = 0;
      at = best;
      if (i + 1 < kSteps) evaluate(size, at, violation);
    }
    // Only what can still be moved counts towards the step's length.
    double norm = 0;
    const auto add = [&](double multiplier, double slope) { norm += multiplier > 0 || slope > 0 ? slope * slope : 0; };
    constexpr double kPerSlice = 0.02;  // slices against whole budgets: of about equal effect
    add(at.chain, violation.chain);
    add(at.exit, violation.exit);
    for (size_t l = 0; l < depth; ++l) add(at.loads[l], violation.loads[l]);
    if (size.counts) {
      add(at.more, violation.more * kPerSlice);
      add(at.fewer, violation.fewer * kPerSlice);
    }
    if (norm <= 0) break;
    const double length = (best_value - value + step) / norm;
    const auto move = [&](double& multiplier, double slope) { multiplier = std::max(0.0, multiplier + length * slope); };
    move(at.chain, violation.chain);
    if (model_.exit_load[depth]) move(at.exit, violation.exit);
    for (size_t l = 0; l < depth; ++l) move(at.loads[l], violation.loads[l]);
    if (size.counts) {
      move(at.more, violation.more * kPerSlice * kPerSlice);
      move(at.fewer, violation.fewer * kPerSlice * kPerSlice);
    }
  }
  last_ = best;
  return exactly(size, best);
}

// The same in integers: whatever doubles did to the multipliers, the bound holds for what they were rounded to.
Dual DualSolver::exactly(const SizeClass& size, const Multipliers& at) const {
  const auto fixed = [&](double multiplier, double unit) {
    const double v = multiplier / unit * static_cast<double>(int64_t{1} << kShift);
    return v > 0 ? static_cast<int64_t>(std::min(v, kMostMultiplier)) : int64_t{0};
  };
  const auto depth = static_cast<size_t>(size.depth);
  const bool has_exit = model_.exit_load[depth].has_value();
  const int64_t chain = fixed(at.chain, scale_), exit = has_exit ? fixed(at.exit, scale_) : 0,
                more = size.counts ? fixed(at.more, 1) : 0, fewer = size.counts ? fixed(at.fewer, 1) : 0;
  std::vector<int64_t> loads;
  Wide total = 0;
  for (size_t l = 0; l < depth; ++l) loads.push_back(fixed(at.loads[l], scale_));
  const Wide most = Wide{model_.latency} - model_.exit;
  for (const int64_t load : loads) total += load * (Wide{model_.rows} - most);
  total += chain * (Wide{model_.rows} + model_.embed - most);
  if (has_exit) total += exit * (Wide{model_.rows} + *model_.exit_load[depth] - most);
  total += Wide{fewer} * size.low - Wide{more} * size.high;

  Dual out;
  out.reduced.resize(depth);
  std::vector<Wide> io(depth), values;
  Wide after = exit, before = chain;
  for (size_t l = depth; l-- > 0;) io[l] = after += loads[l];
  for (size_t l = 0; l < depth; ++l) {
    values.clear();
    for (const LayerOption& o : model_.layers[l].options())
      values.push_back((Wide{o.loss} << kShift) + io[l] * o.io + before * o.compute + Wide{loads[l]} * o.tail +
                       (Wide{more} - fewer) * o.count);
    before += loads[l];
    if (values.empty()) return {INT64_MAX / 4, INT64_MAX / 4, {}};
    const Wide least = *std::min_element(values.begin(), values.end());
    total += least;
    out.reduced[l].reserve(values.size());
    for (const Wide& v : values)
      out.reduced[l].push_back(static_cast<int64_t>(std::min<Wide>((v - least) * kReducedUnit >> kShift, INT64_MAX / 1024)));
  }
  const Wide bound = (total + (Wide{1} << kShift) - 1) >> kShift;  // sums are whole micro-nats
  out.bound = static_cast<int64_t>(std::clamp<Wide>(bound, -(Wide{1} << 60), Wide{1} << 60));
  out.potential = static_cast<int64_t>(std::clamp<Wide>(total * kReducedUnit >> kShift, -(Wide{1} << 60), Wide{1} << 60));
  return out;
}

}  // namespace tessera
