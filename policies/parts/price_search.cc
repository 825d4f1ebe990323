// Steps along the subgradient; then scales prices until the exact clocks agree.
#include "policies/parts/price_search.h"

#include <algorithm>
#include <limits>

namespace tessera {
namespace {

constexpr int kScalings = 10;  // doublings at most until something fits
constexpr int kBisections = 4;
constexpr int kPatience = 3;  // rounds without a better bound

}  // namespace

StageTimes stage_times(const PlanningView& view, StageClock& clock, int depth, bool head_start) {
  constexpr double kAges = 1e17;  // ns; more than any plan can use
  StageTimes out;
  out.deadline = std::min(static_cast<double>(view.budgets.latency.ns), kAges);
  out.rows = static_cast<double>(clock.rows().ns);
  out.embed = static_cast<double>(clock.embed().ns);
  out.exit = static_cast<double>(clock.exit().ns);
  out.exit_load = static_cast<double>(clock.exit_load(depth).ns);
  out.head_start = head_start;
  return out;
}

PriceSearch::PriceSearch(ShardMarket& market, int depth, const StageTimes& times, double scale)
    : market_(market), depth_(depth), times_(times), scale_(scale) {
  const size_t paths = static_cast<size_t>(depth) + 2;
  multipliers_.assign(paths, 0);
  best_multipliers_ = over_ = multipliers_;
  io_price_.assign(static_cast<size_t>(depth), 0);
  compute_price_ = io_price_;
  offers_.resize(static_cast<size_t>(depth));
  rows_.assign(static_cast<size_t>(depth) * market.slices(), 0);
  best_bound_ = -std::numeric_limits<double>::infinity();
}

void PriceSearch::start_from(const PriceSearch& other) {
  const size_t shared = std::min(multipliers_.size(), other.best_multipliers_.size()) - 1;
  std::copy_n(other.best_multipliers_.begin(), shared, multipliers_.begin());
  multipliers_.back() = other.best_multipliers_.back();
}

// Path 0 is compute alone; path k + 1 turns from loads to computes at layer k; path depth + 1 is loads alone.
double PriceSearch::io_coefficient(int path, int layer) const {
  if (path == 0) return !times_.head_start && layer == 0 ? 1 : 0;
  if (!times_.head_start && layer == 0) return 0;
  return layer <= path - 1 ? 1 : 0;
}

double PriceSearch::compute_coefficient(int path, int layer) const {
  if (path == 0) return 1;
  if (times_.head_start) return layer >= path - 1 ? 1 : 0;
  return layer < path - 1 ? -1 : 0;
}

void PriceSearch::set_prices(double factor, double floor) {
  if (times_.head_start) {
    double after = multipliers_[static_cast<size_t>(depth_) + 1];
    for (int l = depth_ - 1; l >= 0; --l) io_price_[l] = factor * (after += multipliers_[l + 1]) + floor;
    double before = multipliers_[0];
    for (int l = 0; l < depth_; ++l) compute_price_[l] = factor * (before += multipliers_[l + 1]);
    return;
  }
  for (int l = 0; l < depth_; ++l) {
    double io = 0, compute = 0;
    for (int path = 0; path < depth_ + 2; ++path) {
      io += io_coefficient(path, l) * multipliers_[path];
      compute += compute_coefficient(path, l) * multipliers_[path];
    }
    io_price_[l] = factor * io + floor;
    compute_price_[l] = factor * compute;
  }
}

void PriceSearch::solve(double factor, double floor) {
  set_prices(factor, floor);
  const int slices = market_.slices();
  const std::vector<int>& widths = market_.rules().widths;
  int width = 0;
  if (market_.rules().equal_widths && widths.size() > 1) {
    std::vector<double> total(widths.size(), 0), costs(widths.size());
    for (int l = 0; l < depth_; ++l) {
      market_.cheapest(l, 0, scale_, io_price_[l], compute_price_[l], &rows_[static_cast<size_t>(l) * slices], costs.data());
      for (size_t w = 0; w < widths.size(); ++w) total[w] += costs[w];
    }
    width = widths[static_cast<size_t>(std::min_element(total.begin(), total.end()) - total.begin())];
  }
  loss_ = 0;
  for (int l = 0; l < depth_; ++l) {
    uint8_t* row = &rows_[static_cast<size_t>(l) * slices];
    market_.cheapest(l, width, scale_, io_price_[l], compute_price_[l], row);
    offers_[l] = market_.offer(l, row);
    loss_ += scale_ * offers_[l].loss;
  }
  measure();
}

// over_[path]: how much later than the deadline it ends.
void PriceSearch::measure() {
  double computes = 0, loads = 0;
  for (const LayerOffer& offer : offers_) computes += offer.compute;
  const double ends = times_.exit - times_.deadline;
  if (times_.head_start) {
    over_[0] = times_.rows + times_.embed + computes + ends;
    for (int k = 0; k < depth_; ++k) {
      loads += offers_[k].io;
      over_[k + 1] = times_.rows + loads + computes + ends;
      computes -= offers_[k].compute;
    }
    over_[depth_ + 1] = times_.rows + loads + times_.exit_load + ends;
    return;
  }
  over_[0] = times_.rows + times_.embed + offers_[0].io + computes + ends;
  double head = times_.embed;
  over_[1] = -1;
  head += offers_[0].compute;
  for (int k = 1; k < depth_; ++k) {
    loads += offers_[k].io;
    over_[k + 1] = loads - head;
    head += offers_[k].compute;
  }
  over_[depth_ + 1] = loads + times_.exit_load - head;
}

bool PriceSearch::in_time() const {
  return std::all_of(over_.begin(), over_.end(), [](double over) { return over <= 0; });
}

std::vector<Bits> PriceSearch::bits() const {
  std::vector<Bits> out(rows_.size());
  for (size_t i = 0; i < rows_.size(); ++i) out[i] = market_.bits_at(rows_[i]);
  return out;
}

bool PriceSearch::run(int rounds, const Target& target, const Judge& judge) {
  double stride = 1;
  int idle = 0;
  for (int round = 0; round < rounds; ++round) {
    solve(1, 0);
    double bound = loss_;
    for (size_t k = 0; k < over_.size(); ++k) bound += multipliers_[k] * over_[k];
    if (bound > best_bound_) {
      best_bound_ = bound;
      best_multipliers_ = multipliers_;
      idle = 0;
    } else if (++idle == kPatience) {
      idle = 0;
      stride /= 2;
      multipliers_ = best_multipliers_;
    }
    const double least = target();
    if (bound >= least) return false;
    if (in_time() && loss_ < least && judge(bits(), loss_) && loss_ <= bound) break;
    step(stride * (least - bound));
  }
  multipliers_ = best_multipliers_;
  return true;
}

// Polyak's step: what is known to fit stands for the optimum's value.
void PriceSearch::step(double gap) {
  double norm = 0;
  for (size_t k = 0; k < over_.size(); ++k)
    if (over_[k] > 0 || multipliers_[k] > 0) norm += over_[k] * over_[k];
  if (norm <= 0) return;
  for (size_t k = 0; k < over_.size(); ++k) multipliers_[k] = std::max(0.0, multipliers_[k] + gap / norm * over_[k]);
}

bool PriceSearch::try_at(double factor, double floor, const Judge& judge) {
  solve(factor, floor);
  return judge(bits(), loss_);
}

void PriceSearch::repair(const Target& target, const Judge& judge, bool bytes_bind) {
  constexpr double kCheaper = 0.75, kDearer = 1.5;
  double low = 1, high = 1;  // fits at `high`, not at `low`
  int tries = 0;
  if (try_at(1, 0, judge)) {
    while (++tries < kScalings && try_at(low *= kCheaper, 0, judge)) high = low;
  } else {
    while (!try_at(high *= kDearer, 0, judge)) {
      if (loss_ >= target() || ++tries == kScalings) return raise_floor(target, judge);
      low = high;
    }
  }
  for (int i = 0; i < kBisections; ++i) {
    const double middle = (low + high) / 2;
    (try_at(middle, 0, judge) ? high : low) = middle;
  }
  const double least = target();
  if (bytes_bind) raise_floor(target, judge);
  if (target() >= least) set_prices(high, 0);
}

// No price of time makes it fit: bytes are short. All of a request's bytes cost the same, whenever they are loaded.
void PriceSearch::raise_floor(const Target& target, const Judge& judge) {
  double total = 0;
  for (const double multiplier : multipliers_) total += multiplier;
  if (total <= 0) total = target() / std::max(1.0, times_.deadline < 1e15 ? times_.deadline : 1e9);
  double low = 0, high = total / 16;
  bool fits = false;
  for (int i = 0; i < 2 * kScalings && !fits; ++i) {
    fits = try_at(1, high, judge);
    if (fits || loss_ >= target()) break;
    low = high;
    high *= 2;
  }
  for (int i = 0; i < kBisections + 1 && fits; ++i) {
    const double middle = (low + high) / 2;
    (try_at(1, middle, judge) ? high : low) = middle;
  }
  set_prices(1, high);
}

double PriceSearch::mean_width() const {
  int present = 0;
  for (const uint8_t rung : rows_) present += rung != 0;
  return static_cast<double>(present) / depth_;
}

}  // namespace tessera
