// Builds the JSON of what other budgets would change.
#include "tools/render_json.h"
#include "tools/render_what_if.h"

namespace tessera {
namespace {

Json nats(std::optional<Micro> change) { return change ? Json(change->value()) : Json(nullptr); }
Json points(std::optional<Micro> change) { return change ? Json(change->value() * 100) : Json(nullptr); }

// Milliseconds, or bytes.
Json amount_json(BudgetKind kind, int64_t n) { return kind == BudgetKind::kLatency ? Json(Duration{n}.ms()) : Json(n); }
std::string unit(BudgetKind kind, const std::string& name) {
  return name + (kind == BudgetKind::kLatency ? "_ms" : "_bytes");
}

Json change_json(const ShardChange& change) {
  return {{"layer", change.id.layer},
          {"slice", change.id.slice},
          {"from", change.from},
          {"to", change.to},
          {"moved", change.moved}};
}

Json answer_json(const WhatIfAnswer& answer, const PlannedRequest& now, const ModelShape& shape, const Platform& platform) {
  const PlannedRequest& planned = *answer.planned;
  Json json = {{"asked", answer.asked.text},
               {"budget", budget_json(answer.budgets, platform)},
               {"feasible", !planned.infeasible},
               {"nearest", planned.infeasible ? nearest_json(*planned.infeasible) : Json(nullptr)},
               {"plan", planned.infeasible ? Json(nullptr) : plan_json(planned, shape, platform, false)}};
  Json& list = json["changes"] = Json::array();
  json["loss"] = planned.infeasible ? Json(nullptr) : Json(planned.plan.predicted.loss.value());
  if (planned.infeasible || now.infeasible) return json;
  for (const ShardChange& change : changes(now.plan, planned.plan)) list.push_back(change_json(change));
  return json;
}

Json step_json(BudgetKind kind, int64_t given, int sign, const BudgetStep& step) {
  return {{unit(kind, "step"), amount_json(kind, step.by)},
          {unit(kind, "at"), amount_json(kind, given + sign * step.by)},
          {unit(kind, "within"), amount_json(kind, step.within)},
          {"feasible", !step.planned->infeasible},
          {"loss_change", nats(step.loss_change)},
          {"points_change", points(step.accuracy_change)}};
}

// {"step_ms", "at_ms", "within_ms", "gain_loss", "gain_points", "points_per_ms", "loss_per_ms", "searched_ms", "in_full",
// "tenth", "less", "hurts"}; of memory in bytes, and per MiB.
Json price_json(const ShadowPrice& price) {
  const BudgetKind kind = price.budget;
  const std::string per = kind == BudgetKind::kLatency ? "_per_ms" : "_per_mib";
  const double in_units = kind == BudgetKind::kLatency ? 1e-6 : 1.0 / (1 << 20);
  Json gain_loss, gain_points, step, at, within, loss_rate, points_rate;
  if (price.more) {
    const BudgetStep& more = *price.more;
    const double units = static_cast<double>(more.by) * in_units;
    step = amount_json(kind, more.by);
    at = amount_json(kind, price.given + more.by);
    within = amount_json(kind, more.within);
    if (more.loss_change) gain_loss = -more.loss_change->value(), loss_rate = -more.loss_change->value() / units;
    if (more.accuracy_change)
      gain_points = more.accuracy_change->value() * 100, points_rate = more.accuracy_change->value() * 100 / units;
  }
  return {{unit(kind, "step"), step},
          {unit(kind, "at"), at},
          {unit(kind, "within"), within},
          {"gain_loss", gain_loss},
          {"gain_points", gain_points},
          {"loss" + per, loss_rate},
          {"points" + per, points_rate},
          {unit(kind, "searched"), amount_json(kind, price.searched)},
          {"in_full", price.in_full},
          {"tenth", price.tenth ? step_json(kind, price.given, 1, *price.tenth) : Json(nullptr)},
          {"less", price.less ? step_json(kind, price.given, -1, *price.less) : Json(nullptr)},
          {"hurts", price.hurts ? step_json(kind, price.given, 1, *price.hurts) : Json(nullptr)}};
}

}  // namespace

void add_what_if(const WhatIfReport& report, const ModelShape& shape, const Platform& platform, Json& json) {
  Json& answers = json["whatif"] = Json::array();
  for (const WhatIfAnswer& answer : report.answers) answers.push_back(answer_json(answer, *report.now, shape, platform));
  Json& prices = json["shadow_prices"] = {{"latency", nullptr}, {"memory", nullptr}, {"preload", nullptr}};
  for (const ShadowPrice& price : report.prices)
    prices[price.budget == BudgetKind::kLatency  ? "latency"
           : price.budget == BudgetKind::kMemory ? "memory"
                                                 : "preload"] = price_json(price);
}

}  // namespace tessera
