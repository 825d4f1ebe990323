// Turns the relaxed problem's answer into a plan that the replay lets pass, and betters it where the two differ.
#pragma once

#include <optional>
#include <vector>

#include "policies/parts/exact_search.h"
#include "policies/parts/placement.h"

namespace tessera {

// Lives as long as one decision.
class ExactValue {
 public:
  ExactValue(Trials& trials, const AccuracyModel& accuracy, const Choices& choices);

  // The plan for such bits that keeps the budgets; of several placements, the fastest.
  std::optional<Plan> fitting(int depth, const std::vector<Bits>& bits);
  // Every way to compute them that is worth replaying, whatever the budgets.
  std::vector<Plan> ways(int depth, const std::vector<Bits>& bits);
  // A plan with as little loss as can be found: `out.best` itself, or, where the replay has it late or too big, every plan
  // of a small model by rising loss, and of others what is found with memory followed and under shorter latencies, raised
  // bit by bit.
  std::optional<Plan> find(const ExactModel& model, ExactSearch& search, const ExactOutcome& out);
  // Where there is no relaxed problem, because layers have too many histograms.
  std::optional<Plan> find_without_model();
  static std::vector<Bits> bits_of(const ExactModel& model, const ExactSolution& solution);
  int64_t loss(const Plan& plan) const { return accuracy_.loss(plan.depth, plan.bits).n; }

 private:
  bool offer(const ExactModel& model, const std::optional<ExactSolution>& solution);
  bool offer(int depth, const std::vector<Bits>& bits);
  void find_nearby();
  void raise_bits();

  Trials& trials_;
  const PlanningView& view_;
  const AccuracyModel& accuracy_;
  const Choices& choices_;
  Placement placement_;
  std::optional<Plan> best_;
};

}  // namespace tessera
