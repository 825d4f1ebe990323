// Steps along the subgradient; then scales prices until the exact clocks agree.
#include "policies/parts/price_search.h"

#include <algorithm>
#include <limits>

namespace tessera {
namespace {

constexpr int kScalings = 10;  // doublings at most until something fits
constexpr int kBisections = 4;
constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kDeflection = 1.5;  // of Camerini, Fratta and Maffioli
constexpr int kPatience = 3;         // rounds without a better bound

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
  multipliers_.assign(room_binds() ? paths + static_cast<size_t>(depth) : paths, 0);
  best_multipliers_ = over_ = direction_ = multipliers_;
  io_price_.assign(static_cast<size_t>(depth), 0);
  compute_price_ = io_price_;
  own_ = io_price_;
  offers_.resize(static_cast<size_t>(depth));
  rows_.assign(static_cast<size_t>(depth) * market.slices(), 0);
  best_bound_ = -std::numeric_limits<double>::infinity();
}

void PriceSearch::start_from(const PriceSearch& other) {
  const std::vector<double>& from = other.best_multipliers_;
  const int shared = std::min(depth_, other.depth_);
  std::copy_n(from.begin(), shared + 1, multipliers_.begin());
  multipliers_[static_cast<size_t>(depth_) + 1] = from[static_cast<size_t>(other.depth_) + 1];
  if (!room_binds()) return;
  std::copy_n(other.own_.begin(), shared, own_.begin());
  floor_ = other.floor_;
  const auto last = from.begin() + (other.depth_ + 2 + shared);
  std::fill_n(std::copy(last - shared, last, multipliers_.begin() + (depth_ + 2)), depth_ - shared, *(last - 1));
  waits_ = other.best_waits_;
  std::erase_if(waits_, [&](const Wait& wait) { return wait.to >= depth_; });
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
    if (!room_binds()) return;
    for (int l = 0; l < depth_; ++l)
      io_price_[l] += factor * multipliers_[static_cast<size_t>(depth_) + 2 + static_cast<size_t>(l)];
    for (const Wait& wait : waits_) {
      for (int l = wait.from; l <= wait.to; ++l) io_price_[l] += factor * wait.price;
      for (int l = wait.from + 1; l < wait.to; ++l) compute_price_[l] -= factor * wait.price;
    }
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

void PriceSearch::solve(double factor, double floor, bool must_fit) {
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
  priced_ += depth_;
  loss_ = 0;
  for (int l = 0; l < depth_; ++l) {
    uint8_t* row = &rows_[static_cast<size_t>(l) * slices];
    if (must_fit) {
      market_.cheapest_within(times_.room, l, width, scale_, io_price_[l], compute_price_[l], row, offers_[l], own_[l]);
    } else {
      market_.cheapest(l, width, scale_, io_price_[l], compute_price_[l], row);
      offers_[l] = market_.offer(l, row);
    }
    loss_ += scale_ * offers_[l].loss;
  }
  measure();
  if (room_binds()) measure_room();
}

void PriceSearch::measure_room() {
  for (int l = 0; l < depth_; ++l)
    over_[static_cast<size_t>(depth_) + 2 + static_cast<size_t>(l)] = offers_[l].bytes - times_.room;
  find_waits();
  for (Wait& wait : waits_) {
    wait.over = offers_[wait.from].bytes + offers_[wait.to].bytes - times_.room;
    for (int l = wait.from + 1; l < wait.to; ++l) wait.over += offers_[l].bytes - offers_[l].compute;
  }
}

// Of each layer the wait that binds, for the layers as they are now: as StageSlack follows them.
void PriceSearch::find_waits() {
  double loaded = times_.rows, bytes = 0, end = times_.rows + times_.embed, latest = 0;
  int from = -1;
  for (int k = 0; k < depth_; ++k) {
    loaded += offers_[k].io;
    const double before = bytes;
    bytes += offers_[k].bytes;
    const bool waits = from >= 0 && bytes + latest > std::max(end, loaded);
    if (waits && std::none_of(waits_.begin(), waits_.end(), [&](const Wait& w) { return w.from == from && w.to == k; }))
      waits_.push_back({from, k, 0, 0});
    end = std::max(end, from >= 0 ? std::max(loaded, bytes + latest) : loaded) + offers_[k].compute;
    if (from >= 0 && end - before - times_.room <= latest) continue;
    latest = end - before - times_.room;
    from = k;
  }
}

// No more passes by a wait than passes there at all.
void PriceSearch::bound_waits() {
  std::vector<double> passes(static_cast<size_t>(depth_));
  double before = multipliers_[0];
  for (int l = 0; l < depth_; ++l) passes[l] = before += multipliers_[static_cast<size_t>(l) + 1];
  for (Wait& wait : waits_) {
    for (int l = wait.from; l < wait.to; ++l) wait.price = std::min(wait.price, passes[l]);
    for (int l = wait.from; l < wait.to; ++l) passes[l] -= wait.price;
  }
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
  return std::all_of(over_.begin(), over_.begin() + depth_ + 2, [](double over) { return over <= 0; });
}

std::vector<Bits> PriceSearch::bits() const {
  std::vector<Bits> out(rows_.size());
  for (size_t i = 0; i < rows_.size(); ++i) out[i] = market_.bits_at(rows_[i]);
  return out;
}

void PriceSearch::start_even(const Target& target, const Judge& judge) {
  constexpr int kWide = 10, kBetween = 3;
  constexpr double kApart = 4;
  std::fill_n(multipliers_.begin(), depth_ + 2, 1.0 / (depth_ + 2));
  double price = target() / std::max(1.0, times_.deadline), low = 0, high = 0;
  for (int i = 0; i < kWide && (low == 0 || high == 0); ++i) {
    const bool fits = try_at(price, 0, judge);
    (fits ? high : low) = price;
    price = fits ? price / kApart : price * kApart;
    if (!fits && loss_ >= target()) high = price;  // dearer is of no use
  }
  if (high == 0) high = low;
  for (int i = 0; i < kBetween && low > 0; ++i) {
    const double middle = (low + high) / 2;
    (try_at(middle, 0, judge) ? high : low) = middle;
  }
  for (double& multiplier : multipliers_) multiplier *= high;
}

bool PriceSearch::run(int rounds, const Target& target, const Judge& judge) {
  double stride = 1;
  int idle = 0;
  for (int round = 0; round < rounds; ++round) {
    solve(1, 0, false);
    double bound = loss_;
    for (size_t k = 0; k < over_.size(); ++k) bound += multipliers_[k] * over_[k];
    for (const Wait& wait : waits_) bound += wait.price * wait.over;
    if (bound > best_bound_) {
      best_bound_ = bound;
      best_multipliers_ = multipliers_;
      best_waits_ = waits_;
      idle = 0;
    } else if (++idle == kPatience) {
      idle = 0;
      stride /= 2;
      multipliers_ = best_multipliers_;
      waits_ = best_waits_;
    }
    const double least = target();
    if (bound >= least) return false;
    if (in_time() && loss_ < least && judge(bits(), loss_) && loss_ <= bound) break;
    step(stride * (least - bound));
  }
  multipliers_ = best_multipliers_;
  waits_ = best_waits_;
  return true;
}

// Polyak's step: what is known to fit stands for the optimum's value.
void PriceSearch::step(double gap) {
  double turn = 0, was = 0;
  for (size_t k = 0; k < over_.size(); ++k) {
    turn += over_[k] * direction_[k];
    was += direction_[k] * direction_[k];
  }
  const double keep = turn < 0 ? -kDeflection * turn / was : 0;
  double norm = 0;
  for (size_t k = 0; k < over_.size(); ++k) {
    direction_[k] = over_[k] + keep * direction_[k];
    if (direction_[k] > 0 || multipliers_[k] > 0) norm += direction_[k] * direction_[k];
  }
  for (const Wait& wait : waits_)
    if (wait.over > 0 || wait.price > 0) norm += wait.over * wait.over;
  if (norm <= 0) return;
  for (size_t k = 0; k < over_.size(); ++k) multipliers_[k] = std::max(0.0, multipliers_[k] + gap / norm * direction_[k]);
  for (Wait& wait : waits_) wait.price = std::max(0.0, wait.price + gap / norm * wait.over);
  bound_waits();
}

bool PriceSearch::try_at(double factor, double floor, const Judge& judge) {
  solve(factor, floor, room_binds());
  return judge(bits(), loss_);
}

void PriceSearch::repair(const Target& target, const Judge& judge, bool bytes_bind) {
  constexpr double kCheaper = 0.75, kDearer = 1.5;
  double low = 1, high = 1;  // fits at `high`, not at `low`
  int tries = 0;
  if (try_at(1, 0, judge)) {
    for (double before = kNever; loss_ < before && ++tries < kScalings;) {
      before = loss_;
      low *= kCheaper;
      if (!try_at(low, 0, judge)) break;
      high = low;
    }
    bytes_bind = false;
  } else {
    while (!try_at(high *= kDearer, 0, judge)) {
      if (loss_ >= target() || ++tries == kScalings) return raise_floor(target, judge);
      low = high;
    }
  }
  for (int i = 0; i < kBisections && low < high; ++i) {
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
  double low = 0, high = floor_ > 0 ? floor_ : total / 16;
  bool fits = try_at(1, high, judge);
  if (fits) {
    bool less = true;
    for (double before = kNever; less && loss_ < before && low == 0;) {
      before = loss_;
      less = try_at(1, high / 2, judge);
      (less ? high : low) = high / 2;
    }
  }
  for (int i = 0; i < 2 * kScalings && !fits && loss_ < target(); ++i) {
    low = high;
    high *= 2;
    fits = try_at(1, high, judge);
  }
  for (int i = 0; i < kBisections && fits && low > 0; ++i) {
    const double middle = (low + high) / 2;
    (try_at(1, middle, judge) ? high : low) = middle;
  }
  if (fits) floor_ = high;
  set_prices(1, high);
}

double PriceSearch::mean_width() const {
  int present = 0;
  for (const uint8_t rung : rows_) present += rung != 0;
  return static_cast<double>(present) / depth_;
}

}  // namespace tessera
