// Searches the budgets at which a policy's plan changes.
#include "scheduler/what_if.h"

#include <algorithm>
#include <tuple>

#include "framework/clock.h"
#include "framework/saturating.h"

namespace tessera {
namespace {

constexpr int64_t kMicrosecond = 1'000;
constexpr int64_t kKibibyte = 1'024;
// An increase is first this share of the budget, then doubled.
constexpr int64_t kFirstShare = 1'024;
// Latencies up to this are tried from any start.
constexpr int64_t kMinute = 60'000'000'000;
// A step is told to this share of itself.
constexpr int64_t kPrecision = 100;

int64_t& field(Budgets& budgets, BudgetKind kind) {
  if (kind == BudgetKind::kLatency) return budgets.latency.ns;
  return kind == BudgetKind::kMemory ? budgets.memory.n : budgets.preload.n;
}

// How good a plan is: feasible, in time, else the less late, then the less loss. Compared as tuples.
auto worth(const PlannedRequest& planned, Duration budget) {
  const Prediction& predicted = planned.plan.predicted;
  const bool feasible = !planned.infeasible, in_time = feasible && predicted.latency <= budget;
  return std::tuple(feasible, in_time, in_time ? 0 : -predicted.latency.ns, -predicted.loss.n);
}

// All of the model, exact, and as much again for what else a request holds.
int64_t ample_memory(const ModelShape& shape) {
  int64_t sum = shape.resident_bytes.n;
  for (int l = 0; l < shape.layers; ++l) {
    sum += shape.exit_bytes[l].n;
    for (int j = 0; j < shape.slices; ++j)
      sum =
          saturating_add(sum, shape.bytes_of({static_cast<int16_t>(l), static_cast<int16_t>(j)}, shape.bitwidths.back()).n);
  }
  return saturating_add(sum, sum);
}

class Search {
 public:
  Search(BudgetProbe& probe, BudgetKind kind, Duration patience)
      : probe_(probe), kind_(kind), until_(WallClock::instance().now() + patience) {
    Budgets budgets = probe.budgets();
    out_.budget = kind;
    out_.given = field(budgets, kind);
    grain_ = kind == BudgetKind::kLatency ? kMicrosecond : kKibibyte;
  }

  Result<std::optional<ShadowPrice>> run() {
    if (out_.given == kForever.ns) return std::optional<ShadowPrice>{};
    if (const int64_t by = out_.given / 10; by > 0 && by <= most() && !out_of_patience()) {
      TESSERA_ASSIGN(const Tried tried, at(1, by));
      out_.tenth = step(by, 0, tried.planned);
    }
    TESSERA_TRY(search(1, most(), out_.more));
    if (!probe_.now()->infeasible) TESSERA_TRY(search(-1, out_.given, out_.less));
    return std::optional(out_);
  }

 private:
  // How far an increase is tried.
  int64_t most() const {
    if (kind_ == BudgetKind::kLatency) return std::max(std::min(out_.given, INT64_MAX / 64) * 32, kMinute);
    const int64_t ample = ample_memory(probe_.shape());
    const int64_t limit = kind_ == BudgetKind::kPreload ? std::min(ample, probe_.budgets().memory.n) : ample;
    return std::max<int64_t>(0, limit - out_.given);
  }

  struct Tried {
    BudgetProbe::Planned planned;
    bool changes = false;  // for the better (sign 1), for the worse (sign -1)
    bool hurts = false;    // an increase for the worse
  };

  Result<Tried> at(int sign, int64_t by) {
    Budgets budgets = probe_.budgets();
    field(budgets, kind_) = saturating_add(out_.given, sign * by);
    Tried tried;
    TESSERA_ASSIGN(tried.planned, probe_.under(budgets));
    const auto before = worth(*probe_.now(), probe_.budgets().latency);
    const auto after = worth(*tried.planned, budgets.latency);
    tried.changes = sign > 0 ? after > before : after < before;
    tried.hurts = sign > 0 && after < before;
    return tried;
  }

  bool out_of_patience() {
    if (WallClock::instance().now() < until_) return false;
    out_.in_full = false;
    return true;
  }

  Status search(int sign, int64_t most, std::optional<BudgetStep>& found) {
    int64_t unchanged = 0, by = std::max(grain_, out_.given / kFirstShare);
    BudgetProbe::Planned planned;
    for (by = std::min(by, most); by > 0; by = std::min(by > most / 2 ? most : 2 * by, most)) {
      if (out_of_patience()) return {};
      TESSERA_ASSIGN(const Tried tried, at(sign, by));
      if (sign > 0) out_.searched = by;
      if (tried.hurts && !out_.hurts) out_.hurts = step(by, by - unchanged, tried.planned);
      if (tried.changes) planned = tried.planned;
      if (tried.changes || by == most) break;
      unchanged = by;
    }
    if (planned == nullptr) return {};
    while (by - unchanged > std::max(grain_ / kPrecision, by / kPrecision) && !out_of_patience()) {
      const int64_t middle = unchanged + (by - unchanged) / 2;
      TESSERA_ASSIGN(const Tried tried, at(sign, middle));
      if (tried.changes) planned = tried.planned;
      (tried.changes ? by : unchanged) = middle;
    }
    found = step(by, by - unchanged, planned);
    return {};
  }

  BudgetStep step(int64_t by, int64_t within, const BudgetProbe::Planned& planned) const {
    BudgetStep out{by, within, planned, {}, {}};
    if (planned->infeasible || probe_.now()->infeasible) return out;
    const Prediction &before = probe_.now()->plan.predicted, &after = planned->plan.predicted;
    out.loss_change = after.loss - before.loss;
    if (before.accuracy_known && after.accuracy_known) out.accuracy_change = after.accuracy - before.accuracy;
    return out;
  }

  BudgetProbe& probe_;
  const BudgetKind kind_;
  const Duration until_;
  int64_t grain_ = 1;
  ShadowPrice out_;
};

}  // namespace

Result<BudgetProbe> BudgetProbe::create(const ModelShape& shape, const AccuracyModel& accuracy, const Machine& machine,
                                        Bytes base, RequestOptions options, int tokens) {
  TESSERA_ASSIGN(SessionPlanner planner, SessionPlanner::create(shape, accuracy, machine, base));
  BudgetProbe out(shape, std::move(planner), std::move(options), tokens);
  TESSERA_ASSIGN(out.now_, out.under(out.options_.budgets));
  return out;
}

Result<BudgetProbe::Planned> BudgetProbe::under(const Budgets& budgets) {
  RequestOptions options = options_;
  options.budgets = budgets;
  ++replans_;
  TESSERA_ASSIGN(Residency resident, planner_.preload(options, tokens_));
  for (ResidentShard& shard : resident.shards) shard.space = kHostSpace;  // where a session loads it
  TESSERA_ASSIGN(SessionPlanner::Planned planned, planner_.plan(options, tokens_, {resident, "what-if", true}));
  return planned.request;
}

std::vector<ShardChange> changes(const Plan& from, const Plan& to) {
  const auto bits_in = [](const Plan& plan, ShardId id) { return id.layer < plan.depth ? plan.bits_of(id) : kAbsent; };
  const auto device_in = [](const Plan& plan, ShardId id) {
    return plan.placement[id.layer][static_cast<size_t>(plan.part_of(id).value_or(0))].device;
  };
  std::vector<ShardChange> out;
  for (int l = 0; l < std::max(from.depth, to.depth); ++l)
    for (int j = 0; j < std::max(from.slices, to.slices); ++j) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      const Bits before = bits_in(from, id), after = bits_in(to, id);
      const bool moved = before == after && before != kAbsent && device_in(from, id) != device_in(to, id);
      if (before != after || moved) out.push_back({id, before, after, moved});
    }
  return out;
}

Result<std::optional<ShadowPrice>> shadow_price(BudgetProbe& probe, BudgetKind budget, Duration patience) {
  return Search(probe, budget, patience).run();
}

}  // namespace tessera
