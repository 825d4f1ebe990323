// Searches what a request under two budgets should be: depth, every layer's slices and every shard's bits at once.
#pragma once

#include <optional>
#include <vector>

#include "policies/parts/choices.h"
#include "policies/parts/exchange.h"
#include "policies/parts/placement.h"
#include "policies/parts/trials.h"

namespace tessera {

// Ideas that can be switched off, each for itself.
struct ElasticIdeas {
  bool slack = true;    // IO runs ahead by all that compute leaves of the target
  bool joint = true;    // depth, widths and bits at once; else STI's size
  bool sets = true;     // any slices of a layer, where the accuracy model can price them; else the first ones
  bool widths = true;   // a width for each layer; else one for all
  bool upgrade = true;  // what is resident may be loaded anew at other bits
};

// Lives as long as one decision, on its thread. One device that computes in host memory: its clock is exact, memory counted.
// Otherwise placements are timed by their lanes, and the replay has the last word.
class ElasticSearch {
 public:
  ElasticSearch(Trials& trials, const Choices& choices, const ElasticIdeas& ideas);
  // A plan that keeps the budgets and loses less than `start`, which does, by as much as the accuracy model can tell;
  // nothing where none was found. Nothing is kept.
  std::optional<Plan> improve(const Plan& start);

 private:
  bool worth_trying(int depth) const;
  bool judge(int depth, const std::vector<Bits>& bits);
  bool keeps_time(int depth, const std::vector<Bits>& bits);
  StageTimes times_of(int depth);
  void search(const Plan& start);
  void search_depths(int first);
  bool search_depth(int depth);
  void exchange();
  void count_memory(const Plan& start);
  std::optional<Plan> placed();
  std::optional<Plan> placed_in_memory(const Plan& start);
  void explain(Plan& plan) const;
  double scale(int depth, double width) const;

  Trials& trials_;
  const PlanningView& view_;
  const Choices choices_;
  const ElasticIdeas ideas_;
  const bool exact_;
  Placement placement_;
  StageClock clock_;
  std::optional<ShardMarket> market_;
  std::vector<PriceSearch> searches_;  // of the depths that were tried
  std::vector<Draft> drafts_;          // the best of each
  Draft draft_;                        // of all
  double first_width_ = 1;
  std::optional<int64_t> room_;  // bytes of loads and residents at once, where they may bind
  bool by_replay_ = false;       // not by the lanes
};

}  // namespace tessera
