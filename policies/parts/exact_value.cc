// Tries candidates with the replay: counts of replays are bounded, never time.
#include "policies/parts/exact_value.h"

#include <algorithm>
#include <tuple>

#include "policies/parts/elastic_search.h"
#include "policies/parts/exact_small.h"
#include "policies/parts/sti_planner.h"

namespace tessera {
namespace {

constexpr size_t kMostSmallPlans = 20'000;
constexpr int kShorterLatencies = 2;
constexpr int kMostRaises = 240;  // replays

}  // namespace

ExactValue::ExactValue(Trials& trials, const AccuracyModel& accuracy, const Choices& choices)
    : trials_(trials),
      view_(trials.view()),
      accuracy_(accuracy),
      choices_(choices),
      placement_(view_, trials.residency(), Split::kBalanced) {}

std::vector<Plan> ExactValue::ways(int depth, const std::vector<Bits>& bits) {
  if (!placement_.several()) return {assemble(view_, trials_.residency(), choices_.device, depth, bits)};
  return placement_.floors(depth, bits);
}

std::optional<Plan> ExactValue::fitting(int depth, const std::vector<Bits>& bits) {
  if (placement_.several()) return fastest_that_fits(trials_, placement_.candidates(depth, bits));
  Plan plan = assemble(view_, trials_.residency(), choices_.device, depth, bits);
  return trials_.fits(plan) ? std::optional(std::move(plan)) : std::nullopt;
}

std::vector<Bits> ExactValue::bits_of(const ExactModel& model, const ExactSolution& solution) {
  std::vector<Bits> out;
  for (size_t l = 0; l < solution.chosen.size(); ++l) {
    const std::vector<Bits> layer = model.layers[l].bits_of(*solution.chosen[l]);
    out.insert(out.end(), layer.begin(), layer.end());
  }
  return out;
}

// Whether such a plan passes; the best so far is kept.
bool ExactValue::offer(int depth, const std::vector<Bits>& bits) {
  if (best_ && accuracy_.loss(depth, bits).n >= loss(*best_)) return true;
  std::optional<Plan> plan = fitting(depth, bits);
  if (!plan) return false;
  best_ = std::move(plan);
  return true;
}

bool ExactValue::offer(const ExactModel& model, const std::optional<ExactSolution>& solution) {
  return solution && offer(solution->depth, bits_of(model, *solution));
}

std::optional<Plan> ExactValue::find(const ExactModel& model, ExactSearch& search, const ExactOutcome& out) {
  best_.reset();
  if (!out.bound) return std::nullopt;
  if (offer(model, out.best)) {
    if (loss(*best_) > *out.bound) find_nearby();  // the search had to stop: perhaps there is better
    return best_;
  }
  if (!placement_.several()) {
    if (const auto all = all_plans(view_.shape, accuracy_, choices_, kMostSmallPlans)) {
      for (const SmallPlan& small : *all) {
        if (small.loss < *out.bound) continue;
        if (offer(small.depth, small.bits)) return best_;
      }
      return std::nullopt;
    }
  }
  for (const Room room : {Room::kAllHeld, Room::kNoneUnused})
    if (model.weighs) offer(model, search.find(model.latency, room));
  // What is late with all of the latency may be in time with less of it.
  int64_t low = 0, high = model.latency;
  for (int i = 0; i < kShorterLatencies && high < (int64_t{1} << 52); ++i) {
    const int64_t middle = high - (high - low) / (i == 0 ? 16 : 2);
    const std::optional<ExactSolution> shorter = search.find(middle, Room::kNoneUnused);
    if (!shorter || offer(model, shorter))
      low = middle;
    else
      high = middle;
  }
  find_nearby();
  raise_bits();
  return best_;
}

// From what the published planner finds, and from the best so far, as `elastic` searches: it counts memory and placements.
void ExactValue::find_nearby() {
  StiSettings sti;
  sti.choices = choices_;
  if (placement_.several()) sti.choices.ladder = choices_.anywhere;
  const Result<Decision> decision = decide_sti(trials_, sti);
  const Plan* start = decision.ok() ? std::get_if<Plan>(&*decision) : nullptr;
  const bool in_time = start != nullptr && start->predicted.latency <= view_.budgets.latency;
  if (in_time && accuracy_.knows(start->depth, start->bits) && (!best_ || loss(*start) < loss(*best_))) best_ = *start;
  if (!best_) return;
  std::optional<Plan> better = ElasticSearch(trials_, sti.choices, ElasticIdeas{}).improve(*best_);
  if (better && accuracy_.knows(better->depth, better->bits) && loss(*better) < loss(*best_)) best_ = std::move(better);
}

// Shard by shard, the greatest gain first, as long as the replay lets it pass.
void ExactValue::raise_bits() {
  if (!best_ || view_.bits) return;
  struct Move {
    int64_t gain = 0;
    size_t at = 0;
    Bits to = kAbsent;
  };
  int left = kMostRaises;
  for (bool any = true; any && left > 0;) {
    any = false;
    std::vector<Move> moves;
    const auto slices = static_cast<size_t>(best_->slices);
    for (size_t i = 0; i < best_->bits.size(); ++i)
      for (const Bits to : placement_.several() ? choices_.anywhere : choices_.ladder) {
        if (best_->bits[i] == kAbsent || to <= best_->bits[i]) continue;
        const ShardId id{static_cast<int16_t>(i / slices), static_cast<int16_t>(i % slices)};
        const int64_t gain = (accuracy_.loss_delta(id, best_->bits[i]) - accuracy_.loss_delta(id, to)).n;
        if (gain > 0) moves.push_back({gain, i, to});
      }
    std::sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) {
      return std::tuple(-a.gain, a.at, a.to) < std::tuple(-b.gain, b.at, b.to);
    });
    for (const Move& move : moves) {
      if (left-- <= 0) break;
      if (best_->bits[move.at] >= move.to) continue;
      std::vector<Bits> bits = best_->bits;
      bits[move.at] = move.to;
      any = offer(best_->depth, bits) || any;
    }
  }
}

}  // namespace tessera
