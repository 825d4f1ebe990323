// Builds the JSON of an explanation; reads what --explain asks for.
#include <algorithm>
#include <charconv>

#include "tools/render_explain.h"
#include "tools/render_json.h"

namespace tessera {
namespace {

std::optional<int> whole_number(std::string_view text) {
  int value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

Json span_json(const std::optional<TimeSpan>& span) {
  if (!span) return nullptr;
  return {{"start_ms", span->start.ms()}, {"end_ms", span->end.ms()}};
}

// What came of it. What is not known is null: a plan that was not replayed has no times.
void add_outcome(const Outcome& outcome, bool losses, Json& json) {
  const bool known = outcome.replayed;
  json["verdict"] = to_string(outcome.verdict);
  json["why"] = outcome.why;
  json["load"] = span_json(outcome.load);
  json["compute"] = span_json(outcome.compute);
  json["latency_ms"] = known ? Json(outcome.latency.ms()) : Json(nullptr);
  json["peak_bytes"] = known ? Json(outcome.peak.n) : Json(nullptr);
  json["io_bytes"] = known ? Json(outcome.io.n) : Json(nullptr);
  json["loss_change"] =
      known && losses && outcome.verdict != Verdict::kUnknown ? Json(outcome.loss_change.value()) : Json(nullptr);
  json["points_change"] = outcome.accuracy_change ? Json(outcome.accuracy_change->value() * 100) : Json(nullptr);
  json["late_by_ms"] = outcome.verdict == Verdict::kLate ? Json(outcome.late_by.ms()) : Json(nullptr);
  json["short_by_bytes"] = outcome.short_by ? Json(outcome.short_by->n) : Json(nullptr);
}

Json parts_json(const std::vector<LayerPart>& parts, const Platform& platform) {
  Json list = Json::array();
  for (const LayerPart& part : parts) {
    Json slices = Json::array();
    for (int j = 0; j < kMaxSlices; ++j)
      if ((part.slices >> j & 1) != 0) slices.push_back(j);
    list.push_back({{"device", platform.devices[part.device].name}, {"slices", std::move(slices)}});
  }
  return list;
}

Json shard_json(const ExplainView& view, const ShardChoice& shard) {
  const bool losses = view.explanation.losses_known;
  Json json = {{"layer", shard.id.layer},
               {"slice", shard.id.slice},
               {"chosen", shard.chosen},
               {"reason", shard.reason.empty() ? Json(nullptr) : Json(shard.reason)},
               {"preloaded", shard.resident},
               {"device", shard.device ? Json(view.platform.devices[*shard.device].name) : Json(nullptr)}};
  Json candidates = Json::array();
  for (const BitsCandidate& candidate : shard.candidates) {
    const Outcome& outcome = candidate.outcome;
    Json one = {{"bits", candidate.bits},
                {"bytes", candidate.bytes.n},
                {"loss", losses && outcome.verdict != Verdict::kUnknown ? Json(candidate.loss.value()) : Json(nullptr)}};
    add_outcome(outcome, losses, one);
    if (outcome.verdict == Verdict::kChosen) {
      json["load"] = span_json(outcome.load);
      if (outcome.load) json["load"]["bytes"] = candidate.bytes.n;
      json["compute"] = span_json(outcome.compute);
    }
    candidates.push_back(std::move(one));
  }
  json["candidates"] = std::move(candidates);
  return json;
}

Json layer_json(const ExplainView& view, const LayerChoice& layer) {
  Json candidates = Json::array();
  for (const PlacementCandidate& candidate : layer.candidates) {
    Json one = {{"placement", parts_json(candidate.parts, view.platform)}};
    add_outcome(candidate.outcome, view.explanation.losses_known, one);
    candidates.push_back(std::move(one));
  }
  return {{"layer", layer.layer},          {"chosen", parts_json(view.planned.plan.placement[layer.layer], view.platform)},
          {"load", span_json(layer.load)}, {"compute", span_json(layer.compute)},
          {"bound_by", layer.binding},     {"candidates", std::move(candidates)}};
}

// The list of that name, to which several targets add.
Json& list_in(Json& plan, const char* name) {
  if (!plan.contains(name)) plan[name] = Json::array();
  return plan[name];
}

}  // namespace

Result<ExplainTarget> parse_target(const std::string& text) {
  if (text.empty()) return ExplainTarget{};
  const size_t dot = text.find('.');
  ExplainTarget target{whole_number(std::string_view(text).substr(0, dot)), {}};
  if (dot != std::string::npos) target.slice = whole_number(std::string_view(text).substr(dot + 1));
  if (!target.layer || (dot != std::string::npos && !target.slice))
    return Error{ErrorCode::kInvalid, "--explain " + text +
                                          ": give a layer (--explain 3), a layer and a slice (--explain 3.7), "
                                          "or nothing for all; a text goes before it or after --"};
  return target;
}

Status check_target(const ExplainTarget& target, const Plan& plan) {
  if (target.layer && *target.layer >= plan.depth)
    return Error{ErrorCode::kInvalid, "--explain: the plan has no layer " + std::to_string(*target.layer) + "; give 0 to " +
                                          std::to_string(plan.depth - 1)};
  if (target.slice && *target.slice >= plan.slices)
    return Error{ErrorCode::kInvalid, "--explain: layers have no slice " + std::to_string(*target.slice) + "; give 0 to " +
                                          std::to_string(plan.slices - 1)};
  return {};
}

void add_explanation(const ExplainView& view, const ExplainTarget& target, Json& plan) {
  Json& shards = list_in(plan, "explain");
  for (const ShardChoice& shard : view.explanation.shards)
    if (!target.slice || *target.slice == shard.id.slice) shards.push_back(shard_json(view, shard));
  Json& layers = list_in(plan, "placement_explain");
  for (const LayerChoice& layer : view.explanation.layers) layers.push_back(layer_json(view, layer));
  Json& exits = list_in(plan, "exit_explain");
  for (const ExitCandidate& exit : view.explanation.exits) {
    Json one = {{"depth", exit.depth}};
    add_outcome(exit.outcome, view.explanation.losses_known, one);
    exits.push_back(std::move(one));
  }
  plan["losses"] = !view.explanation.losses_known ? Json(nullptr) : Json(view.profiled ? "profiled" : "invented");
}

}  // namespace tessera
