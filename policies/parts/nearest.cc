// Searches the smallest submodels with the replay: least latency, least memory, and a pair that works together.
//
//   latency ▲  each plan is feasible above and right of its curve (more memory never makes it later):
//           │ \        least latency = lowest curve at the given memory
//           │  \___    least memory  = leftmost curve at the given latency
//           └──────► memory
#include "policies/parts/nearest.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace tessera {
namespace {

constexpr int64_t kPage = 4096;  // to which least memory is found

struct Floor {
  Plan plan;
  Size size;
  Bits bits = kAbsent;
  std::optional<Prediction> given;  // under the given memory
  Prediction unlimited;             // under unlimited memory
};

struct Pair {
  Duration latency;
  Bytes memory;
};

class SmallestPlans {
 public:
  SmallestPlans(Trials& trials, const Choices& choices, const BuildFloors& build) : trials_(trials) {
    for (auto width = choices.widths.rbegin(); width != choices.widths.rend(); ++width)
      for (auto bits = choices.ladder.rbegin(); bits != choices.ladder.rend(); ++bits) {
        const Size size{choices.depths.front(), *width};
        for (Plan& plan : build(size, *bits)) floors_.push_back({std::move(plan), size, *bits, {}, {}});
      }
  }

  // Of the first size and bitwidth that fits, the fastest plan.
  std::optional<Plan> first_that_fits() {
    const Floor* best = nullptr;
    for (Floor& floor : floors_) {
      if (best != nullptr && (floor.size != best->size || floor.bits != best->bits)) break;
      if (!trials_.fits(floor.plan)) continue;
      if (best == nullptr || floor.plan.predicted.latency < best->plan.predicted.latency) best = &floor;
    }
    return best == nullptr ? std::nullopt : std::optional(best->plan);
  }

  // Nothing fits: what each does under the given memory and under unlimited memory.
  void measure() {
    for (Floor& floor : floors_) {
      floor.given = trials_.replay(floor.plan, budgets().memory);
      if (floor.given && floor.given->peak > budgets().memory) floor.given.reset();
      if (const auto free = trials_.replay(floor.plan, kUnlimited)) {
        floor.unlimited = *free;
        runnable_.push_back(&floor);
      }
    }
  }

  const Floor* least_late() const {
    const Floor* best = nullptr;
    for (const Floor* floor : runnable_)
      if (floor->given && (best == nullptr || floor->given->latency < best->given->latency)) best = floor;
    return best;
  }

  // Least memory, in pages, in which any plan keeps `latency`.
  std::optional<Bytes> least_memory(Duration latency) {
    std::optional<Bytes> best;
    for (const Floor* floor : runnable_) {
      if (floor->unlimited.latency > latency) continue;
      const int64_t enough = pages(floor->unlimited.peak);
      const int64_t most = best ? best->n / kPage : enough;
      if (best && !keeps(*floor, most - 1, latency)) continue;
      best = Bytes{least_pages(*floor, latency, std::min(enough, most)) * kPage};
    }
    return best;
  }

  std::optional<Duration> least_latency(Bytes memory) {
    std::optional<Duration> best;
    for (const Floor* floor : runnable_) {
      const auto predicted = trials_.replay(floor->plan, memory);
      if (predicted && predicted->peak <= memory && (!best || predicted->latency < *best)) best = predicted->latency;
    }
    return best;
  }

  // The fewest bytes in which anything runs at all, and the fastest that anything ever is: each with the other's least.
  std::vector<Pair> extremes() {
    std::vector<Pair> out;
    if (const auto memory = least_memory(kForever)) out.push_back({*least_latency(*memory), *memory});
    Duration fastest = kForever;
    for (const Floor* floor : runnable_) fastest = std::min(fastest, floor->unlimited.latency);
    if (const auto memory = least_memory(fastest)) out.push_back({fastest, *memory});
    return out;
  }

  const Floor* smallest() const { return runnable_.empty() ? nullptr : runnable_.back(); }

 private:
  const Budgets& budgets() const { return trials_.view().budgets; }
  static int64_t pages(Bytes b) { return b.n / kPage + (b.n % kPage != 0); }
  bool keeps(const Floor& floor, int64_t page_count, Duration latency) {
    const Bytes memory{page_count * kPage};
    const auto predicted = trials_.replay(floor.plan, memory);
    return predicted && predicted->latency <= latency && predicted->peak <= memory;
  }
  // Invariant: `high` pages suffice, `low` do not (or are none).
  int64_t least_pages(const Floor& floor, Duration latency, int64_t high) {
    int64_t low = -1;
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (keeps(floor, middle, latency) ? high : low) = middle;
    }
    return high;
  }

  Trials& trials_;
  std::vector<Floor> floors_;  // widest and most bits first
  std::vector<const Floor*> runnable_;
};

// How far a budget would have to be raised: 1 where it suffices.
double raise(double needed, double given) { return std::max(1.0, needed / std::max(given, 1.0)); }

Pair nearer(const std::vector<Pair>& pairs, const Budgets& given) {
  const auto cost = [&](const Pair& p) {
    return raise(static_cast<double>(p.latency.ns), static_cast<double>(given.latency.ns)) *
           raise(static_cast<double>(p.memory.n), static_cast<double>(given.memory.n));
  };
  return *std::min_element(pairs.begin(), pairs.end(), [&](const Pair& a, const Pair& b) { return cost(a) < cost(b); });
}

std::string given_text(const PlanningView& view) {
  return to_string(view.budgets.latency) + " and " + to_string(view.budgets.memory) + " given";
}

std::string reason(const PlanningView& view, const Floor& smallest, const Infeasible& found) {
  const std::string hand = given_by_hand(view);
  std::string text = hand.empty() ? "the smallest submodel, " : hand + ": ";
  text += to_string(smallest.size) + (view.bits ? "" : " at " + std::to_string(smallest.bits) + " bits") + ", needs ";
  if (found.latency)
    text += to_string(*found.latency) + " in " + to_string(view.budgets.memory);
  else if (found.memory)
    text += to_string(*found.memory) + " to run in " + to_string(view.budgets.latency);
  else
    text += to_string(found.both_latency) + " and " + to_string(found.both_memory);
  return text + "; " + given_text(view);
}

Result<Decision> nearest(SmallestPlans& plans, const PlanningView& view) {
  const Floor* smallest = plans.smallest();
  if (smallest == nullptr) {
    return Error{ErrorCode::kInfeasible, "model " + view.shape.name + " on " + view.platform.name +
                                             ": not even the smallest submodel runs in unlimited memory; "
                                             "see the capacities of the platform's memories"};
  }
  Infeasible out;
  std::vector<Pair> pairs;
  const Floor* least_late = plans.least_late();
  if (least_late != nullptr) {
    out.latency = least_late->given->latency;
    pairs.push_back({*out.latency, view.budgets.memory});
  }
  out.memory = plans.least_memory(view.budgets.latency);
  if (out.memory) pairs.push_back({view.budgets.latency, *out.memory});
  if (pairs.empty()) pairs = plans.extremes();
  const Pair both = nearer(pairs, view.budgets);
  out.both_latency = both.latency;
  out.both_memory = both.memory;
  out.why = reason(view, least_late != nullptr ? *least_late : *smallest, out);
  return Decision{std::move(out)};
}

}  // namespace

Result<Decision> decide_among_smallest(Trials& trials, const Choices& choices, const BuildFloor& build) {
  return decide_among_smallest(trials, choices,
                               BuildFloors([&](Size size, Bits bits) { return std::vector<Plan>{build(size, bits)}; }));
}

Result<Decision> decide_among_smallest(Trials& trials, const Choices& choices, const BuildFloors& build) {
  SmallestPlans plans(trials, choices, build);
  if (auto plan = plans.first_that_fits()) return Decision{std::move(*plan)};
  TESSERA_TRY(trials.status());
  plans.measure();
  TESSERA_TRY(trials.status());
  if (const Floor* late = plans.least_late(); late != nullptr && trials.view().best_effort) {
    Plan plan = late->plan;
    plan.predicted = *late->given;
    return Decision{std::move(plan)};
  }
  Result<Decision> decision = nearest(plans, trials.view());
  TESSERA_TRY(trials.status());
  return decision;
}

Result<Residency> best_residency(std::vector<Residency> candidates,
                                 const std::function<Result<Decision>(const Residency&)>& decide) {
  candidates.insert(candidates.begin(), Residency{});
  Residency* best = &candidates.front();
  Duration least = kForever;
  for (Residency& candidate : candidates) {
    TESSERA_ASSIGN(const Decision decision, decide(candidate));
    const Infeasible* infeasible = std::get_if<Infeasible>(&decision);
    if (infeasible == nullptr) return std::move(candidate);
    const Duration latency = infeasible->latency.value_or(kForever);
    if (latency >= least) continue;
    best = &candidate;
    least = latency;
  }
  return std::move(*best);
}

}  // namespace tessera
