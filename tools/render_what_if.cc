// Reads --whatif, asks, and prints: a row for each set of budgets, a sentence for each price.
#include "tools/render_what_if.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "configs/units.h"
#include "framework/registry.h"
#include "tools/wording.h"

namespace tessera {
namespace {

// A policy that takes long to decide is asked no longer than this for each price.
constexpr Duration kPatience = milliseconds(10'000);

Error refused(const std::string& text, const std::string& why) {
  return {ErrorCode::kInvalid, "--whatif " + text + ": " + why};
}

template <typename T>
Status read_amount(const std::string& whole, const std::string& key, Result<T> value, std::optional<T>& to) {
  if (!value.ok()) return refused(whole, key + ": " + value.error().message);
  if (to) return refused(whole, key + " is given twice; ask for each in a --whatif of its own");
  to = value.take();
  return {};
}

std::string budgets_text(const Budgets& budgets) {
  std::string text = budgets.latency == kForever ? "no deadline" : to_string(budgets.latency);
  text += ", " + (budgets.memory == kUnlimited ? "all memory" : to_string(budgets.memory));
  return budgets.preload.n > 0 ? text + ", preload " + to_string(budgets.preload) : text;
}

std::string amount(BudgetKind kind, int64_t n) {
  return kind == BudgetKind::kLatency ? to_string(Duration{n}) : to_string(Bytes{n});
}

// The same, to be typed in as a budget: rounded up, so that it suffices.
std::string typed(BudgetKind kind, int64_t n) {
  if (kind == BudgetKind::kLatency) return format_number("%.3fms", std::ceil(static_cast<double>(n) / 1e3) / 1e3);
  const double kibibytes = std::ceil(static_cast<double>(n) / 1024);
  return kibibytes < 10'000 ? format_number("%.0fKiB", kibibytes)
                            : format_number("%.2fMiB", std::ceil(kibibytes / 10.24) / 100);
}

std::string gain_text(std::optional<Micro> loss, std::optional<Micro> accuracy) {
  if (!loss) return "";
  if (loss->n == 0) return "the same";
  std::string text = nats_text(std::abs(loss->value())) + " nats " + (loss->n < 0 ? "less" : "more");
  if (accuracy) text += " (" + format_number("%+.2f", accuracy->value() * 100) + " points)";
  return text;
}

// "0.15 points/ms", of what the step buys or costs.
std::string rate_text(const BudgetStep& step, BudgetKind kind) {
  if (!step.loss_change || step.by == 0) return "";
  const double unit = kind == BudgetKind::kLatency ? 1e6 : 1 << 20;
  const double per = static_cast<double>(step.by) / unit;
  const char* const of = kind == BudgetKind::kLatency ? "/ms" : "/MiB";
  if (step.accuracy_change)
    return format_number("%.3g", std::abs(step.accuracy_change->value()) * 100 / per) + " points" + of;
  return format_number("%.3g", std::abs(step.loss_change->value()) / per) + " nats" + of;
}

// "0.3-5 1.0", by layer.
std::string shard_list(const std::vector<ShardId>& ids) {
  std::map<int, SliceMask> layers;
  for (const ShardId id : ids) layers[id.layer] |= SliceMask{1} << id.slice;
  std::string text;
  for (const auto& [layer, slices] : layers) {
    std::string list = slice_list(slices);
    std::erase(list, ' ');
    text += (text.empty() ? "" : " ") + std::to_string(layer) + "." + list;
  }
  return text;
}

std::string changes_text(const Plan& from, const Plan& to) {
  std::map<std::pair<int, int>, std::vector<ShardId>> kinds;
  std::vector<ShardId> moved;
  for (const ShardChange& change : changes(from, to)) {
    if (change.moved)
      moved.push_back(change.id);
    else
      kinds[{change.from, change.to}].push_back(change.id);
  }
  std::string text = from.depth == to.depth ? "" : "exit " + std::to_string(from.depth) + " -> " + std::to_string(to.depth);
  const auto add = [&](const std::string& what, const std::vector<ShardId>& ids) {
    text += (text.empty() ? "" : "; ") + std::to_string(ids.size()) + (ids.size() == 1 ? " shard " : " shards ") + what +
            ": " + shard_list(ids);
  };
  for (const auto& [kind, ids] : kinds)
    add(bits_words(static_cast<Bits>(kind.first)) + " -> " + bits_words(static_cast<Bits>(kind.second)), ids);
  if (!moved.empty()) add("moved to another device", moved);
  return text.empty() ? "the same shards" : text;
}

std::string plan_row(const std::string& name, int width, const PlannedRequest& planned, int columns, const Painter& paint,
                     Paint kind) {
  if (planned.infeasible)
    return "  " + paint(kind, pad(name, width)) + "  " +
           wrapped("infeasible: " + planned.infeasible->why, width + 4, width + 4, columns) + '\n';
  const Plan& plan = planned.plan;
  const Prediction& p = plan.predicted;
  const std::string size = std::to_string(plan.depth) + "x" + std::to_string(plan.width());
  return "  " + paint(kind, pad(name, width)) + pad_left(size, 7) + pad_left(format_number("%.1f", plan.mean_bits()), 7) +
         pad_left(p.accuracy_known ? format_number("%.2f %%", p.accuracy.value() * 100) : "-", 10) +
         pad_left(format_number("%.4f", p.loss.value()), 9) + pad_left(to_string(p.latency), 11) +
         pad_left(to_string(p.peak), 11) + '\n';
}

const char* name_of(BudgetKind kind) {
  return kind == BudgetKind::kLatency ? "latency" : kind == BudgetKind::kMemory ? "memory" : "preload";
}

std::string about(const BudgetStep& step, BudgetKind kind) {
  return step.within * 50 > step.by ? " (found to " + amount(kind, step.within) + ")" : "";
}

std::string more_text(const ShadowPrice& price, bool feasible) {
  const std::string ended = price.in_full ? "" : "; not searched further, the policy takes long to decide";
  const auto to = [&](int64_t by) { return typed(price.budget, price.given + by); };
  if (!price.more) {
    if (price.searched == 0) return "more cannot be had" + ended;
    return (feasible ? "more buys nothing, up to " : "infeasible up to ") + to(price.searched) + ended;
  }
  const BudgetStep& step = *price.more;
  if (!feasible) return "feasible from " + to(step.by) + about(step, price.budget) + ended;
  const std::string rate = rate_text(step, price.budget);
  return "+" + amount(price.budget, step.by) + " (to " + to(step.by) + ") loses " +
         gain_text(step.loss_change, step.accuracy_change) + (rate.empty() ? "" : ", " + rate) + about(step, price.budget) +
         ended;
}

std::string less_text(const ShadowPrice& price) {
  if (!price.less) return price.given == 0 ? "" : "; less costs nothing";
  const BudgetStep& step = *price.less;
  const std::string by = "; -" + amount(price.budget, step.by) + about(step, price.budget);
  if (step.planned->infeasible) return by + " is infeasible";
  return by + (step.loss_change ? " loses " + gain_text(step.loss_change, step.accuracy_change) : " is late");
}

std::string price_line(const ShadowPrice& price, bool feasible, int columns, const Painter& paint) {
  std::string text = more_text(price, feasible) + (feasible ? less_text(price) : "");
  if (feasible && price.tenth && price.tenth->loss_change) {
    const BudgetStep& tenth = *price.tenth;
    text += "; a tenth more loses " + gain_text(tenth.loss_change, tenth.accuracy_change);
    if (tenth.loss_change->n < 0) text += ", " + rate_text(tenth, price.budget);
  }
  if (price.hurts && feasible) {
    text += "; +" + amount(price.budget, price.hurts->by) + " makes the policy's plan worse";
    if (price.hurts->loss_change) text += ": it loses " + gain_text(price.hurts->loss_change, price.hurts->accuracy_change);
  }
  return "  " + paint(Paint::kBold, pad(name_of(price.budget), 9)) + wrapped(text, 11, 11, columns) + '\n';
}

}  // namespace

Budgets WhatIf::over(Budgets budgets) const {
  return {latency.value_or(budgets.latency), memory.value_or(budgets.memory), preload.value_or(budgets.preload)};
}

Result<WhatIf> parse_what_if(const std::string& text) {
  WhatIf out;
  out.text = text;
  std::istringstream fields(text);
  std::string field;
  while (std::getline(fields, field, ',')) {
    const size_t equals = field.find('=');
    const std::string key = field.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : field.substr(equals + 1);
    if (key != "latency" && key != "memory" && key != "preload")
      return refused(text,
                     unknown_name("budget", key, {"latency", "memory", "preload"}) + "; e.g. latency=30ms,memory=16MiB");
    if (value.empty()) return refused(text, key + " has no amount; write " + key + (key == "latency" ? "=30ms" : "=16MiB"));
    if (key == "latency") TESSERA_TRY(read_amount(text, key, parse_duration(value), out.latency));
    if (key == "memory") TESSERA_TRY(read_amount(text, key, parse_bytes(value), out.memory));
    if (key == "preload") TESSERA_TRY(read_amount(text, key, parse_bytes(value), out.preload));
  }
  if (!out.latency && !out.memory && !out.preload) return refused("''", "names no budget; e.g. latency=30ms,memory=16MiB");
  return out;
}

Result<WhatIfReport> ask_what_if(BudgetProbe& probe, const std::vector<WhatIf>& asked) {
  WhatIfReport out;
  out.budgets = probe.budgets();
  out.now = probe.now();
  for (const WhatIf& one : asked) {
    const Budgets budgets = one.over(out.budgets);
    TESSERA_ASSIGN(BudgetProbe::Planned planned, probe.under(budgets));
    out.answers.push_back({one, budgets, std::move(planned)});
  }
  for (const BudgetKind kind : {BudgetKind::kLatency, BudgetKind::kMemory, BudgetKind::kPreload}) {
    TESSERA_ASSIGN(std::optional<ShadowPrice> price, shadow_price(probe, kind, kPatience));
    if (price) out.prices.push_back(std::move(*price));
  }
  return out;
}

std::string render_what_if(const WhatIfReport& report, int columns, const Painter& paint) {
  const std::string now = "now: " + budgets_text(report.budgets);
  int width = cells(now);
  for (const WhatIfAnswer& answer : report.answers) width = std::max(width, cells(budgets_text(answer.budgets)));
  std::string text =
      "  " +
      paint(Paint::kDim, pad("what if", width) + pad_left("size", 7) + pad_left("bits", 7) + pad_left("accuracy", 10) +
                             pad_left("nats", 9) + pad_left("latency", 11) + pad_left("peak", 11)) +
      '\n';
  text += plan_row(now, width, *report.now, columns, paint, Paint::kPlain);
  for (const WhatIfAnswer& answer : report.answers) {
    text += plan_row(budgets_text(answer.budgets), width, *answer.planned, columns, paint, Paint::kBold);
    if (!answer.planned->infeasible && !report.now->infeasible)
      text += "    " + wrapped(changes_text(report.now->plan, answer.planned->plan), 4, 6, columns) + '\n';
  }
  text += "\n  " + paint(Paint::kDim, "the next step of each budget") + '\n';
  for (const ShadowPrice& price : report.prices) text += price_line(price, !report.now->infeasible, columns, paint);
  return text;
}

}  // namespace tessera
