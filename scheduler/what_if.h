// Decides again under other budgets, with the same policy: what would change, and what the next step of a budget would buy.
//
// A shadow price is the gain for the least increase of one budget at which the policy's plan changes for the better, found
// by doubling the increase and then halving the interval. Policies need not be monotone: a still smaller increase may help
// too, and more budget may even hurt; where the doubling meets that, it is told.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "scheduler/session_planner.h"

namespace tessera {

// One request, decided under budget after budget; each time as a session would that was opened for it: with what the policy
// wants preloaded under these budgets. Nothing is loaded.
class BudgetProbe {
 public:
  // References outlive it. `base`: what the process holds whatever is planned. `options.budgets` are where it starts from.
  static Result<BudgetProbe> create(const ModelShape& shape, const AccuracyModel& accuracy, const Machine& machine,
                                    Bytes base, RequestOptions options, int tokens);
  using Planned = std::shared_ptr<const PlannedRequest>;
  // An infeasible request is an answer.
  Result<Planned> under(const Budgets& budgets);
  const Planned& now() const { return now_; }
  const Budgets& budgets() const { return options_.budgets; }
  const ModelShape& shape() const { return shape_; }
  int replans() const { return replans_; }

 private:
  BudgetProbe(const ModelShape& shape, SessionPlanner planner, RequestOptions options, int tokens)
      : shape_(shape), planner_(std::move(planner)), options_(std::move(options)), tokens_(tokens) {}
  const ModelShape& shape_;
  SessionPlanner planner_;
  RequestOptions options_;
  int tokens_;
  int replans_ = 0;
  Planned now_;
};

// A shard at other bits; kAbsent where a plan does not have it. `moved`: at the same bits on another device.
struct ShardChange {
  ShardId id;
  Bits from = kAbsent, to = kAbsent;
  bool moved = false;
};
std::vector<ShardChange> changes(const Plan& from, const Plan& to);

enum class BudgetKind : uint8_t { kLatency, kMemory, kPreload };

// A change of one budget at which the plan changes.
struct BudgetStep {
  int64_t by = 0;      // ns or bytes, positive
  int64_t within = 0;  // how exactly: a change of `by - within` was tried, and did not do
  BudgetProbe::Planned planned;
  // Against the plan under the budgets as given; both feasible.
  std::optional<Micro> loss_change, accuracy_change;
};
struct ShadowPrice {
  BudgetKind budget = BudgetKind::kLatency;
  int64_t given = 0;                // ns or bytes
  std::optional<BudgetStep> more;   // the least increase found that buys something
  std::optional<BudgetStep> less;   // the least decrease found that costs something
  std::optional<BudgetStep> hurts;  // an increase under which the policy plans worse
  std::optional<BudgetStep> tenth;  // what a tenth more makes of it, better or worse; nothing where that is no amount
  int64_t searched = 0;             // increases up to this were tried
  bool in_full = true;              // false: `patience` ended the search
};
// Nothing where the budget is unlimited. Stops asking the policy once `patience` has passed.
Result<std::optional<ShadowPrice>> shadow_price(BudgetProbe& probe, BudgetKind budget, Duration patience);

}  // namespace tessera
