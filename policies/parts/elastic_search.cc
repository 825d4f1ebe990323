// Prices each depth's time, then exchanges shard against shard in the best.
#include "policies/parts/elastic_search.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

namespace tessera {
namespace {

constexpr int kFirstRounds = 24;  // of the subgradient at the first depth
constexpr int kRounds = 12;       // at the others, which start from its prices
constexpr int kDepths = 12;       // that are tried one by one; of more, some
constexpr int kSwaps = 4;
constexpr int kFirstSwaps = 1;    // of a depth that may become the best
constexpr int kIdle = 2;          // depths in a row that are not worth it
constexpr size_t kExchanged = 2;  // depths, at most
// Moves weighed for each shard of the model until exchanges end (parts/exchange.h says what counts as how many): with this,
// 1,287 requests of 12 x 12 shards are planned within a millisecond each, 20 of them otherwise (benchmarks/README.md).
constexpr int64_t kWeighed = 28;
// A gain that is worth another plan. Less cannot be told: on the embedded model it moves accuracy by 0.03 points, a quarter
// of a sentence of its dev set, and a predicted loss is off by 15 % (docs/accuracy.md).
constexpr Micro kTold{500};

// The clocks must know what a plan would have to give up where bytes are short.
MarketRules rules_for(const PlanningView& view, const Choices& choices, const ElasticIdeas& ideas, const Plan& start,
                      bool exact) {
  MarketRules rules;
  rules.widths = ideas.joint ? choices.widths : std::vector<int>{start.width()};
  rules.ladder = exact ? choices.ladder : choices.anywhere;
  rules.prefixes = !ideas.sets || view.accuracy.prefixes_only;
  rules.equal_widths = !ideas.widths;
  rules.upgrades_held = ideas.upgrade;
  return rules;
}

std::string bits_text(Bits bits) { return bits == kExact ? "exact" : std::to_string(bits) + "b"; }

}  // namespace

ElasticSearch::ElasticSearch(Trials& trials, const Choices& choices, const ElasticIdeas& ideas)
    : trials_(trials),
      view_(trials.view()),
      choices_(choices),
      ideas_(ideas),
      exact_(StageClock::exact_on(view_, choices.device)),
      placement_(view_, trials.residency(), Split::kBalanced),
      clock_(view_, trials.residency(), choices.device) {}

double ElasticSearch::scale(int depth, double width) const {
  const int rounded = std::clamp(static_cast<int>(std::lround(width)), 1, view_.shape.slices);
  const size_t at = static_cast<size_t>(depth - 1) * view_.shape.slices + static_cast<size_t>(rounded - 1);
  return static_cast<double>(view_.accuracy.scale_ppm[at]) / 1e6;
}

// Shards lose nothing at best, or what a noisy profile says.
bool ElasticSearch::worth_trying(int depth) const {
  double least = static_cast<double>(view_.accuracy.base[static_cast<size_t>(depth) - 1].n);
  for (int l = 0; l < depth; ++l)
    for (int j = 0; j < view_.shape.slices; ++j) {
      double best = 0;
      for (int r = 0; r < market_->rungs(); ++r) best = std::min(best, market_->loss(l, j, r));
      least += 2 * best;
    }
  return least < static_cast<double>(draft_.loss.n);
}

bool ElasticSearch::keeps_time(int depth, const std::vector<Bits>& bits) {
  if (exact_)
    return in_time(clock_, stages_of(clock_, depth, view_.shape.slices, bits), view_.budgets.latency, ideas_.slack);
  if (!by_replay_) return placement_.in_time(depth, bits, view_.budgets.latency);
  std::vector<PlacedPlan> candidates = placement_.candidates(depth, bits);
  return std::any_of(candidates.begin(), candidates.end(),
                     [&](PlacedPlan& placed) { return placed.ideal <= view_.budgets.latency && trials_.fits(placed.plan); });
}

bool ElasticSearch::judge(int depth, const std::vector<Bits>& bits) {
  const Micro loss = view_.accuracy.loss(depth, bits);
  if (!exact_ && loss >= draft_.loss) return true;  // to place it costs more than it can bring: cheaper prices are next
  if (!keeps_time(depth, bits)) return false;
  if (loss < drafts_.back().loss) drafts_.back() = {depth, bits, loss};
  if (loss < draft_.loss) draft_ = {depth, bits, loss};
  return true;
}

StageTimes ElasticSearch::times_of(int depth) {
  StageTimes out = stage_times(view_, clock_, depth, ideas_.slack);
  if (room_ && market_->ns_per_byte() > 0) out.room = static_cast<double>(*room_) * market_->ns_per_byte();
  return out;
}

// False where no allocation of this depth can lose less than the best so far.
bool ElasticSearch::search_depth(int depth) {
  const double base = static_cast<double>(view_.accuracy.base[static_cast<size_t>(depth) - 1].n);
  PriceSearch search(*market_, depth, times_of(depth), scale(depth, first_width_));
  const auto target = [&] { return static_cast<double>(draft_.loss.n) - base; };
  const auto exactly = [&](const std::vector<Bits>& bits, double) { return judge(depth, bits); };
  drafts_.push_back(depth == draft_.depth ? draft_ : Draft{depth, {}, {INT64_MAX}});
  if (searches_.empty())
    search.start_even(target, exactly);
  else
    search.start_from(searches_.back());
  const bool hope = search.run(searches_.empty() ? kFirstRounds : kRounds, target, exactly);
  if (hope) {
    const double then = scale(depth, search.mean_width());
    if (then != scale(depth, first_width_)) {
      search.set_scale(then);
      search.run(kRounds, target, exactly);
    }
    search.repair(target, exactly, by_replay_ || room_.has_value());
    first_width_ = search.mean_width();
  }
  searches_.push_back(std::move(search));
  return hope;
}

// Exchanges in the depths that came nearest, as far as their relaxation leaves hope.
void ElasticSearch::exchange() {
  int64_t left = kWeighed * view_.shape.layers * view_.shape.slices;
  for (const PriceSearch& search : searches_) left -= search.priced();  // a layer is priced as fast as a move is weighed
  std::vector<size_t> order(drafts_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return drafts_[a].loss < drafts_[b].loss; });
  for (size_t i = 0; i < std::min(kExchanged, order.size()); ++i) {
    Draft& draft = drafts_[order[i]];
    const PriceSearch& prices = searches_[order[i]];
    if (draft.bits.empty() || !keeps_time(draft.depth, draft.bits)) continue;
    const double bound = prices.bound() + static_cast<double>(view_.accuracy.base[static_cast<size_t>(draft.depth) - 1].n);
    if (i > 0 && (left <= 0 || bound >= static_cast<double>(draft_.loss.n))) continue;
    Exchange(view_, *market_, clock_, times_of(draft.depth), prices, draft, left).improve(i == 0 ? kSwaps : kFirstSwaps);
    if (draft.loss < draft_.loss) draft_ = draft;
  }
}

void ElasticSearch::search(const Plan& start) {
  searches_.clear();
  drafts_.clear();
  draft_ = {start.depth, start.bits, view_.accuracy.loss(start.depth, start.bits)};
  first_width_ = start.width();
  if (ideas_.joint)
    search_depths(start.depth);
  else
    search_depth(start.depth);
  if (exact_) exchange();
}

// From STI's depth outwards, next where the last one lost less; a side ends where two in a row are not worth a search. Of
// many depths every so manyth, and then those around the best.
void ElasticSearch::search_depths(int first) {
  const std::vector<int>& depths = choices_.depths;
  const int count = static_cast<int>(depths.size());
  const int step = (count + kDepths - 1) / kDepths;
  std::vector<bool> tried(static_cast<size_t>(count), false);
  const auto attempt = [&](int i) {
    if (i < 0 || i >= count || tried[static_cast<size_t>(i)]) return true;
    tried[static_cast<size_t>(i)] = true;
    return worth_trying(depths[static_cast<size_t>(i)]) && search_depth(depths[static_cast<size_t>(i)]);
  };
  const auto place = [&](int depth) {
    return static_cast<int>(std::find(depths.begin(), depths.end(), depth) - depths.begin());
  };
  struct Side {
    int at, step, idle = 0;
    Micro best{INT64_MAX};
  };
  const int start = place(first);
  attempt(start);
  Side sides[] = {{start + step, step}, {start - step, -step}};
  const auto over = [&](const Side& side) { return side.at < 0 || side.at >= count || side.idle == kIdle; };
  while (!over(sides[0]) || !over(sides[1])) {
    Side& side = over(sides[0]) || (!over(sides[1]) && sides[1].best < sides[0].best) ? sides[1] : sides[0];
    const bool hope = attempt(side.at);
    side.idle = hope ? 0 : side.idle + 1;
    side.best = hope ? drafts_.back().loss : side.best;
    side.at += side.step;
  }
  const int best = place(draft_.depth);
  for (int i = best + step - 1; i > best - step; --i) attempt(i);
}

// What the process and the request hold beside shards is the replay's knowledge: of the smallest plan, it tells how much.
void ElasticSearch::count_memory(const Plan& start) {
  const Bytes room = std::min(view_.budgets.memory, view_.platform.memories[0].capacity);
  if (!exact_ || room == kUnlimited) return;
  int64_t most = start.predicted.peak.n;
  for (int l = 0; l < view_.shape.layers; ++l)
    for (int j = 0; j < view_.shape.slices; ++j)
      most += view_.shape.bytes_of({static_cast<int16_t>(l), static_cast<int16_t>(j)}, choices_.ladder.back()).n;
  if (most <= room.n) return;
  const Size least{choices_.depths.front(), choices_.widths.front()};
  const std::vector<Bits> bits = resident_bits(view_, trials_.residency(), least, choices_.ladder.front());
  const Plan smallest = assemble(view_, trials_.residency(), choices_.device, least.depth, bits);
  const std::optional<Prediction> known = trials_.replay(smallest, kUnlimited);
  if (!known) return;
  clock_.latency(stages_of(clock_, least.depth, view_.shape.slices, bits));
  room_ = room.n - (known->peak.n - clock_.peak());
  clock_.limit(*room_);
}

std::optional<Plan> ElasticSearch::placed() {
  if (!exact_) return fastest_that_fits(trials_, placement_.candidates(draft_.depth, draft_.bits));
  Plan plan = assemble(view_, trials_.residency(), choices_.device, draft_.depth, draft_.bits);
  return trials_.fits(plan) ? std::optional(std::move(plan)) : std::nullopt;
}

std::optional<Plan> ElasticSearch::improve(const Plan& start) {
  const bool same = view_.accuracy.layers == view_.shape.layers && view_.accuracy.slices == view_.shape.slices;
  if (!same) return std::nullopt;
  const Micro before = view_.accuracy.loss(start.depth, start.bits);
  if (before < kTold) return std::nullopt;
  const MarketRules rules = rules_for(view_, choices_, ideas_, start, exact_);
  std::vector<Bits> held(static_cast<size_t>(view_.shape.layers) * view_.shape.slices);
  for (const ResidentShard& resident : trials_.residency().shards) {
    const size_t at = static_cast<size_t>(resident.id.layer) * view_.shape.slices + resident.id.slice;
    held[at] = exact_ ? clock_.held(resident.id) : resident.bits;
  }
  const auto layer_time = [&](int width, Bits bits) {
    if (!exact_) return placement_.layer_time(width, bits);
    return clock_.costs().part(Op::kLayer, choices_.device, width, bits);
  };
  market_.emplace(view_, view_.accuracy, clock_.costs(), layer_time, held, rules);
  count_memory(start);
  search(start);
  if (before - draft_.loss < kTold) return std::nullopt;
  std::optional<Plan> plan = placed();
  if (!plan && !exact_) plan = placed_in_memory(start);
  if (plan) explain(*plan);
  return plan;
}

// The lanes allowed what memory does not: the same depth once more, each allocation replayed.
std::optional<Plan> ElasticSearch::placed_in_memory(const Plan& start) {
  const int depth = draft_.depth;
  by_replay_ = true;
  searches_.clear();
  drafts_.clear();
  draft_ = {start.depth, start.bits, view_.accuracy.loss(start.depth, start.bits)};
  const Micro before = draft_.loss;
  search_depth(depth);
  return before - draft_.loss < kTold ? std::nullopt : placed();
}

void ElasticSearch::explain(Plan& plan) const {
  const auto at = std::find_if(drafts_.begin(), drafts_.end(), [&](const Draft& d) { return d.depth == plan.depth; });
  if (at == drafts_.end()) return;
  const PriceSearch& prices = searches_[static_cast<size_t>(at - drafts_.begin())];
  plan.explain.clear();
  for (int l = 0; l < plan.depth; ++l) {
    const double per_ms = prices.io_price(l) * 1e6;
    const std::string price = std::to_string(std::llround(per_ms)) + " u-nats/ms";
    for (int j = 0; j < plan.slices; ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const Bits bits = plan.bits_of(id);
      if (bits == kAbsent) continue;
      const int rung = market_->rung_of(bits);
      std::string text = bits_text(bits) + " loses " + std::to_string(view_.accuracy.loss_delta(id, bits).n) + " u-nats";
      if (market_->io(l, j, rung) <= 0) text += ", resident";
      if (rung + 1 < market_->rungs()) {
        const Bits next = market_->bits_at(rung + 1);
        const int64_t gain = view_.accuracy.loss_delta(id, bits).n - view_.accuracy.loss_delta(id, next).n;
        text += "; " + bits_text(next) + " would save " + std::to_string(gain) + " for " +
                to_string(Duration{std::llround(market_->io(l, j, rung + 1) - market_->io(l, j, rung))}) + " of IO at " +
                price;
      }
      plan.explain.push_back({id, std::move(text)});
    }
  }
}

}  // namespace tessera
