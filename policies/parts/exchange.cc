// Lists the changes of one shard or one width, and makes those that pay.
#include "policies/parts/exchange.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace tessera {
namespace {

constexpr size_t kGivers = 24;  // that a swap tries: the cheapest by loss for the time that they free
constexpr int kRefused = 12;    // changes that only the exact clock refuses, in a row

double ns(Duration d) { return static_cast<double>(d.ns); }

}  // namespace

bool in_time(StageClock& clock, const std::vector<LayerStage>& stages, Duration deadline, bool head_start) {
  const Duration latency = clock.latency(stages);
  if (latency > deadline) return false;
  if (head_start) return true;
  Duration steady = clock.rows() + std::max(clock.embed(), stages.front().io) + clock.exit();
  for (const LayerStage& stage : stages) steady += stage.compute;
  return latency <= steady;
}

Exchange::Exchange(const PlanningView& view, ShardMarket& market, StageClock& clock, const StageTimes& times,
                   const PriceSearch& prices, Draft& draft)
    : view_(view), market_(market), clock_(clock), times_(times), prices_(prices), draft_(draft) {
  read_draft();
}

void Exchange::read_draft() {
  const int slices = market_.slices();
  rungs_.resize(draft_.bits.size());
  for (size_t i = 0; i < rungs_.size(); ++i) rungs_[i] = static_cast<uint8_t>(market_.rung_of(draft_.bits[i]));
  stages_ = stages_of(clock_, draft_.depth, slices, draft_.bits);
  counts_.assign(static_cast<size_t>(draft_.depth), std::vector<int>(static_cast<size_t>(market_.rungs()), 0));
  int64_t present = 0;
  for (const uint8_t rung : rungs_) present += rung != 0;
  const int64_t width = std::clamp<int64_t>((2 * present + draft_.depth) / (2 * draft_.depth), 1, slices);
  scale_ = static_cast<double>(
               view_.accuracy.scale_ppm[static_cast<size_t>(draft_.depth - 1) * slices + static_cast<size_t>(width - 1)]) /
           1e6;
  for (int l = 0; l < draft_.depth; ++l) read_layer(l);
}

void Exchange::read_layer(int layer) {
  std::fill(counts_[layer].begin(), counts_[layer].end(), 0);
  const size_t at = static_cast<size_t>(layer) * market_.slices();
  for (int j = 0; j < market_.slices(); ++j) {
    rungs_[at + j] = static_cast<uint8_t>(market_.rung_of(draft_.bits[at + j]));
    const int rung = rungs_[at + j];
    if (rung != 0 && market_.io(layer, j, rung) > 0) ++counts_[layer][rung];
  }
}

// As PriceSearch::measure(), from the exact stages; without a head start everything must end when compute, never waiting,
// does.
void Exchange::measure() {
  double computes = 0, loads = 0;
  for (const LayerStage& stage : stages_) computes += ns(stage.compute);
  double ends = times_.deadline;
  if (!times_.head_start)
    ends = std::min(ends, times_.rows + std::max(times_.embed, ns(stages_[0].io)) + computes + times_.exit);
  ends -= times_.exit + times_.rows;
  const size_t depth = stages_.size();
  paths_.slack.resize(depth + 2);
  paths_.slack[0] = times_.deadline - times_.exit - times_.rows - times_.embed - computes;
  for (size_t k = 0; k < depth; ++k) {
    loads += ns(stages_[k].io);
    paths_.slack[k + 1] = ends - loads - computes;
    computes -= ns(stages_[k].compute);
  }
  paths_.slack[depth + 1] = ends - loads - times_.exit_load;
  paths_.bound();
}

void Exchange::Paths::bound() {
  before = after = slack;
  for (size_t k = 1; k < slack.size(); ++k) before[k] = std::min(before[k], before[k - 1]);
  for (size_t k = slack.size() - 1; k-- > 0;) after[k] = std::min(after[k], after[k + 1]);
}

void Exchange::Paths::charge(const Move& move) {
  const size_t at = static_cast<size_t>(move.layer) + 1;
  for (size_t k = 0; k < slack.size(); ++k) slack[k] -= (k <= at ? move.compute : 0) + (k >= at ? move.io : 0);
  bound();
}

// Paths before the layer's turn take its compute, those after it its loads.
bool Exchange::Paths::hold(const Move& move) const {
  const size_t at = static_cast<size_t>(move.layer) + 1;
  return before[at - 1] >= move.compute && slack[at] >= move.compute + move.io && after[at + 1] >= move.io;
}

double Exchange::worth(const Move& move) const {
  constexpr double kLeast = 1e-9;
  const double price = move.io * prices_.io_price(move.layer) + move.compute * prices_.compute_price(move.layer);
  return move.gain > 0 ? move.gain / std::max(price, kLeast) : -move.gain / std::max(-price, kLeast);
}

void Exchange::add(const Move& move) {
  if (move.gain > 0)
    gains_.push_back(move);
  else if (move.io < 0 || move.compute < 0)
    losses_.push_back(move);
}

void Exchange::list_shards(int layer) {
  const size_t at = static_cast<size_t>(layer) * market_.slices();
  for (int j = 0; j < market_.slices(); ++j) {
    const int has = rungs_[at + j];
    if (has == 0) continue;
    const bool loaded = market_.io(layer, j, has) > 0;
    const double freed = loaded ? market_.io(layer, j, has) + (counts_[layer][has] == 1 ? market_.call() : 0) : 0;
    for (int r = 1; r < market_.rungs(); ++r) {
      const double loss = market_.loss(layer, j, r);
      if (r == has || loss == std::numeric_limits<double>::infinity()) continue;
      const double io = market_.io(layer, j, r);
      Move move;
      move.layer = static_cast<int16_t>(layer);
      move.slice = static_cast<int16_t>(j);
      move.rung = static_cast<uint8_t>(r);
      move.gain = scale_ * (market_.loss(layer, j, has) - loss);
      move.io = io + (io > 0 && counts_[layer][r] == 0 ? market_.call() : 0) - freed;
      move.compute = market_.decode(r) - market_.decode(has);
      add(move);
    }
  }
}

// The next width up and down, at the layer's prices.
void Exchange::list_widths(int layer) {
  const std::vector<int>& widths = market_.rules().widths;
  if (widths.size() < 2 || market_.rules().equal_widths) return;
  const size_t slices = static_cast<size_t>(market_.slices());
  const uint8_t* row = &rungs_[static_cast<size_t>(layer) * slices];
  const LayerOffer now = market_.offer(layer, row);
  const int width = static_cast<int>(slices) - static_cast<int>(std::count(row, row + slices, uint8_t{0}));
  const auto at = std::find(widths.begin(), widths.end(), width);
  if (at == widths.end()) return;
  for (const int step : {-1, 1}) {
    if ((step < 0 && at == widths.begin()) || (step > 0 && at + 1 == widths.end())) continue;
    const size_t offset = rows_.size();
    rows_.resize(offset + slices);
    market_.cheapest(layer, *(at + step), scale_, prices_.io_price(layer), prices_.compute_price(layer), &rows_[offset]);
    const LayerOffer then = market_.offer(layer, &rows_[offset]);
    Move move;
    move.layer = static_cast<int16_t>(layer);
    move.row = offset;
    move.gain = scale_ * (now.loss - then.loss);
    move.io = then.io - now.io;
    move.compute = then.compute - now.compute;
    add(move);
  }
}

void Exchange::list_moves() {
  gains_.clear();
  losses_.clear();
  rows_.clear();
  for (int l = 0; l < draft_.depth; ++l) {
    list_shards(l);
    list_widths(l);
  }
}

void Exchange::set_row(const Move& move, std::vector<Bits>& bits) const {
  const size_t at = static_cast<size_t>(move.layer) * market_.slices();
  if (move.slice >= 0)
    bits[at + static_cast<size_t>(move.slice)] = market_.bits_at(move.rung);
  else
    for (int j = 0; j < market_.slices(); ++j) bits[at + j] = market_.bits_at(rows_[move.row + j]);
}

// Keeps the changed layers where the exact loss is less and the exact clock in time.
bool Exchange::settle(std::vector<Bits> bits, int first, int second) {
  const Micro loss = view_.accuracy.loss(draft_.depth, bits);
  if (loss >= draft_.loss) return false;
  const LayerStage old_first = stages_[first], old_second = stages_[second];
  stages_[first] = clock_.stage(first, &bits[static_cast<size_t>(first) * market_.slices()]);
  if (second != first) stages_[second] = clock_.stage(second, &bits[static_cast<size_t>(second) * market_.slices()]);
  if (!in_time(clock_, stages_, view_.budgets.latency, times_.head_start)) {
    stages_[second] = old_second;
    stages_[first] = old_first;
    return false;
  }
  draft_.bits = std::move(bits);
  draft_.loss = loss;
  read_layer(first);
  if (second != first) read_layer(second);
  measure();
  return true;
}

bool Exchange::raise_what_fits() {
  std::vector<std::pair<double, const Move*>> order;
  for (const Move& move : gains_)
    if (paths_.hold(move)) order.emplace_back(-worth(move), &move);
  std::sort(order.begin(), order.end());  // of equal worth as they were listed
  std::vector<bool> touched(rungs_.size(), false);
  const auto first_of = [&](const Move& move) {
    return touched.begin() + static_cast<ptrdiff_t>(move.layer) * market_.slices() + std::max<int>(move.slice, 0);
  };
  bool any = false;
  int refused = 0;
  for (const auto& [minus_worth, move] : order) {
    const auto first = first_of(*move), last = first + (move->slice < 0 ? market_.slices() : 1);
    if (std::find(first, last, true) != last || !paths_.hold(*move)) continue;
    std::vector<Bits> bits = draft_.bits;
    set_row(*move, bits);
    if (settle(std::move(bits), move->layer, move->layer)) {
      std::fill(first, last, true);
      any = true;
      refused = 0;
    } else if (++refused == kRefused) {
      break;
    }
  }
  return any;
}

// The pair that gains most: one gives time, another takes it.
bool Exchange::swap_once() {
  std::vector<std::pair<double, const Move*>> order;
  order.reserve(losses_.size());
  for (const Move& move : losses_) order.emplace_back(worth(move), &move);
  const size_t givers = std::min(kGivers, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(givers), order.end());
  const Move* give = nullptr;
  const Move* take = nullptr;
  double best = 0;
  Paths paths;
  for (size_t i = 0; i < givers; ++i) {
    const Move& giver = *order[i].second;
    paths.slack = paths_.slack;
    paths.charge(giver);
    for (const Move& taker : gains_) {
      if (taker.gain + giver.gain <= best || !paths.hold(taker)) continue;
      const bool same = taker.layer == giver.layer;
      if (same && (taker.slice < 0 || giver.slice < 0 || taker.slice == giver.slice)) continue;
      best = taker.gain + giver.gain;
      give = &giver;
      take = &taker;
    }
  }
  if (give == nullptr) return false;
  std::vector<Bits> bits = draft_.bits;
  set_row(*give, bits);
  set_row(*take, bits);
  return settle(std::move(bits), give->layer, take->layer);
}

void Exchange::improve(int swaps) {
  measure();
  list_moves();
  for (int i = 0; i < swaps; ++i) {
    while (raise_what_fits()) list_moves();
    if (!swap_once()) return;
    list_moves();
  }
  raise_what_fits();
}

}  // namespace tessera
