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

// Where weights go on over a link, they may come first: the link takes them over while rows are read.
std::optional<Plan> rows_later(const Platform& platform, const Plan& plan) {
  if (platform.space(plan.placement[0][0].device) == kHostSpace) return std::nullopt;
  Plan out = plan;
  const auto rows =
      std::find_if(out.loads.begin(), out.loads.end(), [](const auto& load) { return load.op == Op::kLoadRows; });
  auto next = rows;
  while (next != out.loads.end() && (next == rows || (next->op == Op::kLoadShards && next->layer == 0))) ++next;
  if (rows == out.loads.end() || next - rows < 2) return std::nullopt;
  std::rotate(rows, rows + 1, next);
  return out;
}

}  // namespace

ExactValue::ExactValue(Trials& trials, const AccuracyModel& accuracy, const Choices& choices)
    : trials_(trials),
      view_(trials.view()),
      accuracy_(accuracy),
      choices_(choices),
      placement_(view_, trials.residency(), Split::kBalanced) {}

std::vector<Plan> ExactValue::ways(int depth, const std::vector<Bits>& bits) {
  std::vector<Plan> out;
  if (placement_.several())
    out = placement_.floors(depth, bits);
  else
    out.push_back(assemble(view_, trials_.residency(), choices_.device, depth, bits));
  const size_t count = out.size();
  for (size_t i = 0; i < count; ++i)
    if (auto other = rows_later(view_.platform, out[i])) out.push_back(std::move(*other));
  return out;
}

std::optional<Plan> ExactValue::fitting(int depth, const std::vector<Bits>& bits) {
  if (placement_.several()) {
    if (auto plan = fastest_that_fits(trials_, placement_.candidates(depth, bits))) return plan;
  }
  for (Plan& plan : ways(depth, bits))
    if (trials_.fits(plan)) return std::move(plan);
  return std::nullopt;
}

std::optional<Plan> ExactValue::find_without_model() {
  best_.reset();
  find_nearby();
  return best_;
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
  const auto better = [&](const std::optional<Plan>& plan) {
    return plan && accuracy_.knows(plan->depth, plan->bits) && (!best_ || loss(*plan) < loss(*best_));
  };
  const auto improved = [&](const Plan& from) { return ElasticSearch(trials_, sti.choices, ElasticIdeas{}).improve(from); };
  const std::optional<Plan> own = best_;
  if (start != nullptr && start->predicted.latency <= view_.budgets.latency) {
    if (better(*start)) best_ = *start;
    if (std::optional<Plan> plan = improved(*start); better(plan)) best_ = std::move(plan);
  }
  if (!own) return;
  if (std::optional<Plan> plan = improved(*own); better(plan)) best_ = std::move(plan);
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
