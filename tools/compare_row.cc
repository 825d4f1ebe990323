// Writes rows as JSON.
#include "tools/compare_row.h"

#include <algorithm>
#include <span>

#include "shards/hash.h"
#include "tools/eval_metrics.h"
#include "tools/render_json.h"

namespace tessera {
namespace {

constexpr size_t kHashDigits = 16;

// Fields of a row that only a result can fill.
constexpr const char* kResults[] = {"depth",
                                    "width",
                                    "mean_bits",
                                    "predicted_latency_ms",
                                    "latency_ms_achieved",
                                    "latency_p50_ms",
                                    "latency_p95_ms",
                                    "latency_p99_ms",
                                    "requests",
                                    "misses",
                                    "infeasible_requests",
                                    "accuracy_predicted",
                                    "accuracy",
                                    "accuracy_low",
                                    "accuracy_high",
                                    "accuracy_examples",
                                    "accuracy_key",
                                    "loss_predicted",
                                    "peak_bytes",
                                    "io_bytes",
                                    "plan_us",
                                    "bound",
                                    "gap",
                                    "regret",
                                    "loss_bound",
                                    "loss_gap",
                                    "loss_regret",
                                    "plan_hash",
                                    "nearest",
                                    "error"};

bool whole_numbers(const Json& list, int64_t least, int64_t below) {
  return list.is_array() && std::all_of(list.begin(), list.end(), [&](const Json& n) {
           return n.is_number_integer() && n.get<int64_t>() >= least && n.get<int64_t>() < below;
         });
}

bool whole_ran(const Json& ran) {
  const auto text = [](const Json& one) { return one.is_string(); };
  if (!ran.is_object()) return false;
  const Json plans = ran.value("plans", Json()), apps = ran.value("apps", Json());
  if (!plans.is_array() || !apps.is_array() || !std::all_of(plans.begin(), plans.end(), text)) return false;
  return std::all_of(apps.begin(), apps.end(), [&](const Json& app) {
    if (!app.is_object()) return false;
    const Json plan_of = app.value("plan_of", Json()), sentence_of = app.value("sentence_of", Json());
    const Json set = app.value("set", Json());
    if (!whole_numbers(plan_of, -1, static_cast<int64_t>(plans.size())) || !whole_numbers(sentence_of, 0, INT32_MAX))
      return false;
    if (!set.is_null() && (!set.is_array() || set.size() != 2 || !std::all_of(set.begin(), set.end(), text))) return false;
    return sentence_of.empty() || sentence_of.size() == plan_of.size();
  });
}

Json settings_json(const Contender& contender) {
  Json json = Json::object();
  for (const auto& [name, value] : contender.knobs) json[name] = value;
  if (contender.depth) json["depth"] = *contender.depth;
  if (contender.width) json["width"] = *contender.width;
  if (contender.bits) json["bits"] = *contender.bits;
  if (contender.quantile) json["quantile"] = *contender.quantile;
  if (contender.preload) json["preload"] = contender.preload->n;
  return json;
}

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

void fill_latencies(const Played& played, Json& row) {
  std::vector<double> ms;
  for (const Duration latency : played.latencies) ms.push_back(latency.ms());
  row["requests"] = played.requests;
  row["misses"] = played.misses;
  row["infeasible_requests"] = played.infeasible_requests;
  if (ms.empty()) return;
  for (const auto& [name, q] : {std::pair<const char*, double>{"latency_ms_achieved", 0.50},
                                {"latency_p50_ms", 0.50},
                                {"latency_p95_ms", 0.95},
                                {"latency_p99_ms", 0.99}})
    row[name] = percentile(ms, q);
  row["io_bytes"] = played.io.n / static_cast<int64_t>(ms.size());
  row["peak_bytes"] = played.peak.n;
}

// Bound and distance to it: accuracy in points where the model is profiled, loss in any case.
void fill_bound(const Played& played, Json& row) {
  if (!played.bound) return;
  const ProvenBound& bound = *played.bound;
  row["loss_bound"] = bound.loss.value();
  row["loss_gap"] = (bound.own_loss - bound.loss).value();
  if (played.loss_predicted) row["loss_regret"] = *played.loss_predicted - bound.loss.value();
  if (!bound.accuracy) return;
  row["bound"] = bound.accuracy->value();
  row["gap"] = (*bound.accuracy - *bound.own_accuracy).value() * 100;
  if (played.accuracy_predicted) row["regret"] = (bound.accuracy->value() - *played.accuracy_predicted) * 100;
}

// What later steps need to measure accuracy: plans by pattern; of each app's requests, plan and sentence.
Json ran_json(const Played& played) {
  Json plans = Json::array(), apps = Json::array();
  for (const EffectivePlan& plan : played.plans) plans.push_back(pattern_of(plan));
  for (const PlayedApp& app : played.apps) apps.push_back({{"plan_of", app.plan_of}, {"sentence_of", app.sentence_of}});
  return {{"plans", std::move(plans)}, {"apps", std::move(apps)}};
}

}  // namespace

Json empty_row(const Experiment& experiment, const Cell& cell, const std::string& id, const Json& model) {
  const Contender& contender = experiment.contenders[cell.contender];
  const std::string& workload = experiment.workloads[cell.workload];
  const std::string stem = workload.substr(workload.find_last_of('/') + 1);
  Json row = {{"id", id},
              {"platform", experiment.arenas[cell.arena].name},
              {"model", model},
              {"workload", workload.empty() ? Json(nullptr) : Json(stem.substr(0, stem.rfind(".toml")))},
              {"policy", contender.policy},
              {"label", contender.label},
              {"knobs", settings_json(contender)},
              {"latency_ms", milliseconds_json(cell.latency)},
              {"memory_bytes", bytes_json(cell.memory)},
              {"preload_bytes", bytes_json(cell.preload)},
              {"seed", cell.seed},
              {"feasible", false}};
  for (const char* name : kResults) row[name] = nullptr;
  return row;
}

void fill_row(const Played& played, Json& row) {
  if (!played.error.empty()) return fail_row(played.error, row);
  if (played.decisions > 0) row["plan_us"] = played.planning.us();
  if (played.infeasible) {
    row["nearest"] = nearest_json(*played.infeasible);
    return;
  }
  fill_latencies(played, row);
  row["feasible"] = !played.latencies.empty();
  if (played.latencies.empty()) return;
  if (played.planned != nullptr) {
    row["depth"] = played.planned->plan.depth;
    row["width"] = played.planned->plan.width();
  }
  row["mean_bits"] = optional_json(played.mean_bits);
  row["predicted_latency_ms"] = optional_json(played.predicted_ms);
  row["accuracy_predicted"] = optional_json(played.accuracy_predicted);
  row["loss_predicted"] = optional_json(played.loss_predicted);
  fill_bound(played, row);
  row["ran"] = ran_json(played);
}

void fail_row(const std::string& error, Json& row) { row["error"] = error; }

bool whole_row(const Json& row) {
  if (!row.is_object()) return false;
  for (const char* name : {"id", "platform", "policy", "label"})
    if (!row.contains(name) || !row[name].is_string()) return false;
  for (const char* name : kResults)
    if (!row.contains(name)) return false;
  for (const char* name : {"model", "workload", "latency_ms", "memory_bytes", "preload_bytes", "seed", "knobs"})
    if (!row.contains(name)) return false;
  if (!row.contains("feasible") || !row["feasible"].is_boolean()) return false;
  if (!row["error"].is_null() && !row["error"].is_string()) return false;
  return !row.contains("ran") || whole_ran(row["ran"]);
}

PlanFile plan_file(const PlannedRequest& planned, const ModelShape& shape, const Platform& platform) {
  PlanFile file;
  file.document = plan_json(planned, shape, platform, true);
  file.document.erase("id");
  file.document.erase("planning_us");
  file.document["lanes"] = lanes_json(planned, platform);
  const std::string text = file.document.dump(-1, ' ', false, Json::error_handler_t::replace);
  file.hash = content_digest(std::as_bytes(std::span(text.data(), text.size()))).substr(0, kHashDigits);
  return file;
}

std::string pattern_of(const EffectivePlan& plan) {
  std::string text;
  for (const Bits bits : plan.bits) text += static_cast<char>('0' + bits_level(bits));
  return text;
}

Result<EffectivePlan> plan_of_pattern(const std::string& pattern, int slices) {
  const Error bad{ErrorCode::kData, "'" + pattern + "' is no plan of a model of " + std::to_string(slices) + " slices"};
  if (pattern.empty() || slices < 1 || pattern.size() % static_cast<size_t>(slices) != 0) return bad;
  EffectivePlan plan;
  plan.depth = static_cast<int>(pattern.size()) / slices;
  for (const char digit : pattern) {
    if (digit < '0' || digit > '9') return bad;
    plan.bits.push_back(level_bits(digit - '0'));
  }
  return plan;
}

}  // namespace tessera
