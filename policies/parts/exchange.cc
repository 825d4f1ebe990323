// Makes the changes of one shard or one width that pay, alone or in chains.
#include "policies/parts/exchange.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

namespace tessera {
namespace {

constexpr size_t kGivers = 8;   // that a swap tries: the cheapest by loss for the time that they free
constexpr size_t kTakers = 96;  // that may take that time: the worthiest
constexpr size_t kTaken = 6;    // by one chain, at most
constexpr size_t kAsked = 24;   // givers that one taker asks
constexpr size_t kTries = 3;    // chains that the exact clock is asked about
constexpr int kRefused = 12;    // changes that only the exact clock refuses, in a round
constexpr int64_t kAsking = 5;  // moves weighed in the time that it takes to ask the exact clock

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
                   const PriceSearch& prices, Draft& draft, int64_t& left)
    : view_(view), market_(market), clock_(clock), times_(times), prices_(prices), draft_(draft), left_(left) {
  // Time is worth something even where the relaxation has more than it can use.
  constexpr double kShare = 1e-3;
  for (int l = 0; l < draft.depth; ++l)
    least_price_ = std::max({least_price_, kShare * prices.io_price(l), kShare * prices.compute_price(l)});
  read_draft();
  list_moves();
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

// Without a head start everything must end when compute, never waiting, does.
StageSlack Exchange::slack() const {
  std::vector<StageLoad> layers;
  layers.reserve(stages_.size() + 1);
  double computes = 0;
  for (const LayerStage& stage : stages_) {
    const double bytes =
        static_cast<double>(std::accumulate(stage.bytes.begin(), stage.bytes.begin() + stage.loads, int64_t{0}));
    layers.push_back({ns(stage.io), bytes * market_.ns_per_byte(), ns(stage.compute)});
    computes += layers.back().compute;
  }
  double ends = times_.deadline;
  if (!times_.head_start)
    ends = std::min(ends, times_.rows + std::max(times_.embed, layers.front().io) + computes + times_.exit);
  return {times_, ends - times_.exit, std::move(layers)};
}

// Of equal worth by place, so that it is no matter which was listed first.
bool Exchange::worthier(const Move* a, const Move* b) {
  const auto place = [](const Move* m) { return std::tuple(m->layer, m->slice, m->rung, m->row); };
  return a->worth > b->worth || (a->worth == b->worth && place(a) < place(b));
}

// The best `most` of them; none twice.
std::vector<const Exchange::Move*> Exchange::first_of(const std::vector<Move>& moves, size_t most) {
  std::vector<const Move*> out;
  out.reserve(moves.size());
  for (const Move& move : moves) out.push_back(&move);
  const auto end = out.begin() + static_cast<ptrdiff_t>(std::min(most, out.size()));
  if (end != out.end()) std::nth_element(out.begin(), end, out.end(), worthier);
  out.erase(end, out.end());
  std::sort(out.begin(), out.end(), worthier);
  return out;
}

std::vector<bool> Exchange::layers_of(const std::vector<const Move*>& moves, int depth) {
  std::vector<bool> out(static_cast<size_t>(depth), false);
  for (const Move* move : moves) out[static_cast<size_t>(move->layer)] = true;
  return out;
}

bool Exchange::clash(const Move& a, const Move& b) {
  return a.layer == b.layer && (a.slice < 0 || b.slice < 0 || a.slice == b.slice);
}

bool Exchange::clashes(const Chain& chain, const Move& move) {
  return std::any_of(chain.moves.begin(), chain.moves.end(), [&](const Move* other) { return clash(*other, move); });
}

void Exchange::set_row(const Move& move) {
  Bits* row = &draft_.bits[static_cast<size_t>(move.layer) * market_.slices()];
  if (move.slice >= 0)
    row[move.slice] = market_.bits_at(move.rung);
  else
    for (int j = 0; j < market_.slices(); ++j) row[j] = market_.bits_at(rows_[move.row + static_cast<size_t>(j)]);
}

// Makes all of them if the exact clock is in time with them; else none.
bool Exchange::settle(Moves moves) {
  const size_t slices = static_cast<size_t>(market_.slices());
  std::vector<std::pair<int, LayerStage>>& old = old_stages_;
  old.clear();
  old_bits_.clear();
  for (const Move* move : moves) {
    const Bits* row = &draft_.bits[move->layer * slices];
    if (std::none_of(old.begin(), old.end(), [&](const auto& of) { return of.first == move->layer; })) {
      old.emplace_back(move->layer, stages_[move->layer]);
      old_bits_.insert(old_bits_.end(), row, row + slices);
    }
    set_row(*move);
  }
  for (const auto& of : old) stages_[of.first] = clock_.stage(of.first, &draft_.bits[of.first * slices]);
  left_ -= kAsking;
  const bool ok = in_time(clock_, stages_, view_.budgets.latency, times_.head_start);
  for (size_t i = 0; i < old.size(); ++i) {
    if (ok) {
      read_layer(old[i].first);
      continue;
    }
    stages_[old[i].first] = old[i].second;
    std::copy_n(&old_bits_[i * slices], slices, &draft_.bits[old[i].first * slices]);
  }
  return ok;
}

// What of such moves the exact clock grants, in halves where it does not grant all; `refused` single ones may be refused.
void Exchange::grant(Moves moves, int& refused, std::vector<const Move*>& granted) {
  if (moves.empty() || refused == 0 || left_ <= 0) return;
  if (settle(moves)) {
    granted.insert(granted.end(), moves.begin(), moves.end());
    return;
  }
  if (moves.size() == 1) {
    --refused;
    return;
  }
  const size_t half = moves.size() / 2;
  grant(moves.first(half), refused, granted);
  grant(moves.subspan(half), refused, granted);
}

bool Exchange::raise_what_fits() {
  StageSlack left = slack();
  std::vector<const Move*> chosen, granted;
  std::vector<std::pair<double, const Move*>> order;  // by what the last step of each raise is worth
  for (size_t i = 0; i < gains_.size(); ++i) {
    const Move& move = gains_[i];
    if (!left.holds(move.layer, move.more)) continue;
    const Move* less =
        i > 0 && gains_[i - 1].layer == move.layer && gains_[i - 1].slice == move.slice ? &gains_[i - 1] : nullptr;
    const double price = move.gain / move.worth, step = less ? price - less->gain / less->worth : 0;
    const bool dearer = less != nullptr && move.slice >= 0 && step > 0;
    order.emplace_back(dearer ? (move.gain - less->gain) / step : move.worth, &move);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.first > b.first || (a.first == b.first && worthier(a.second, b.second));
  });
  std::vector<const Move*> made(rungs_.size(), nullptr);  // by shard; of a width: by the layer's first
  for (const auto& [step_worth, move] : order) {
    const auto row = made.begin() + static_cast<ptrdiff_t>(move->layer) * market_.slices();
    const auto at = row + std::max<int>(move->slice, 0);
    const bool whole = move->slice < 0;
    if (whole ? std::any_of(row, row + market_.slices(), [](const Move* m) { return m != nullptr; })
              : *row != nullptr && (*row)->slice < 0)
      continue;
    StageLoad more = move->more;
    if (*at != nullptr) {  // the same shard, raised further
      if (move->gain <= (*at)->gain) continue;
      more = {more.io - (*at)->more.io, more.bytes - (*at)->more.bytes, more.compute - (*at)->more.compute};
    }
    if (!left.holds(move->layer, more)) continue;
    left.charge(move->layer, more);
    *at = move;
  }
  std::copy_if(made.begin(), made.end(), std::back_inserter(chosen), [](const Move* m) { return m != nullptr; });
  std::sort(chosen.begin(), chosen.end(), worthier);
  int refused = kRefused;
  grant(chosen, refused, granted);
  if (granted.empty()) return false;
  relist(layers_of(granted, draft_.depth));
  return true;
}

void Exchange::fill(StageSlack& left, Chain& chain) const {
  size_t taken = 0;
  for (const Move* move : takers_) {
    if (!left.holds(move->layer, move->more) || clashes(chain, *move)) continue;
    left.charge(move->layer, move->more);
    chain.moves.push_back(move);
    chain.gain += move->gain;
    if (++taken == kTaken) return;
  }
}

// One gives time, others take it.
Exchange::Chain Exchange::give(StageSlack left, const Move& giver) const {
  Chain out{{&giver}, 1, giver.gain};
  left.charge(giver.layer, giver.more);
  fill(left, out);
  return out;
}

// One takes time that the cheapest others give.
Exchange::Chain Exchange::take(StageSlack left, const Move& taker) const {
  Chain out{{&taker}, 1, taker.gain};
  left.charge(taker.layer, taker.more);
  StageSlack then = left;
  for (const Move* giver : givers_) {
    if (left.lateness() <= 0 || out.gain <= 0) break;
    if (clashes(out, *giver)) continue;
    const double late = left.lateness();
    then = left;
    then.charge(giver->layer, giver->more);
    if (then.lateness() >= late) continue;
    std::swap(left, then);
    out.moves.push_back(giver);
    out.gain += giver->gain;
  }
  out.bound = out.moves.size();
  if (left.lateness() > 0)
    out.gain = -1;
  else
    fill(left, out);
  return out;
}

// The best first.
std::vector<Exchange::Chain> Exchange::chains() {
  takers_ = first_of(gains_, kTakers);
  givers_ = first_of(losses_, kAsked);
  const StageSlack now = slack();
  std::vector<Chain> out;
  const auto keep = [&](Chain chain) {
    if (chain.gain > 0 && chain.moves.size() > 1) out.push_back(std::move(chain));
  };
  for (size_t i = 0; i < std::min(kGivers, givers_.size()); ++i) keep(give(now, *givers_[i]));
  for (const Move& move : losses_)
    if (move.slice < 0) keep(give(now, move));
  for (const Move& move : gains_)
    if (move.slice < 0) keep(take(now, move));
  std::stable_sort(out.begin(), out.end(), [](const Chain& a, const Chain& b) { return a.gain > b.gain; });
  return out;
}

// Keeps what the exact clock grants of it, if that loses less; else nothing is changed.
bool Exchange::follow(const Chain& chain) {
  const Moves moves = chain.moves;
  const std::vector<Bits> before = draft_.bits;
  if (!settle(moves.first(chain.bound))) return false;
  for (size_t i = chain.bound; i < moves.size(); ++i) settle(moves.subspan(i, 1));
  if (const Micro loss = loss_now(); loss < draft_.loss) {
    draft_.loss = loss;
    return true;
  }
  draft_.bits = before;
  read_draft();  // moves were made from it
  return false;
}

bool Exchange::swap_once() {
  const std::vector<Chain> all = chains();
  for (size_t i = 0; i < std::min(kTries, all.size()); ++i)
    if (follow(all[i])) {
      relist(layers_of(all[i].moves, draft_.depth));
      return true;
    }
  return false;
}

void Exchange::fill() {
  for (bool raised = true; raised && left_ > 0;) {
    left_ -= static_cast<int64_t>(gains_.size());
    raised = raise_what_fits();
  }
  draft_.loss = loss_now();
}

// Raises where `scale` changes with the width may lose more: then the draft is as it was.
void Exchange::improve(int swaps) {
  const Draft before = draft_;
  fill();
  for (int i = 0; i < swaps && left_ > 0 && swap_once(); ++i) fill();
  if (draft_.loss > before.loss) draft_ = before;
}

}  // namespace tessera
