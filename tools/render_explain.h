// Prints why a plan is what it is: a line a layer, or every choice with its alternatives.
#pragma once

#include <optional>
#include <string>

#include "scheduler/explain.h"
#include "tools/commands.h"
#include "tools/terminal.h"

namespace tessera {

// What of a plan is told: all choices, or those of a layer, or of one shard.
struct ExplainTarget {
  std::optional<int> layer, slice;
};
// "3" or "3.7"; "" is all. kInvalid tells the form.
Result<ExplainTarget> parse_target(const std::string& text);
// kInvalid where the plan does not have it.
Status check_target(const ExplainTarget& target, const Plan& plan);

// What is explained, and for whom.
struct ExplainView {
  const PlanExplanation& explanation;
  const PlannedRequest& planned;
  const ModelShape& shape;
  const Platform& platform;
  std::string policy;
  bool profiled = false;
  int columns = 100;
};

// One line a layer: what it is, when, what binds.
std::string render_layers(const ExplainView& view, const Painter& paint);
// Everything; shards of a layer whose choices are alike share a table. Of one shard, more of each candidate.
std::string render_explanation(const ExplainView& view, const ExplainTarget& target, const Painter& paint);

// Adds to a plan's JSON: "explain" (a shard each), "placement_explain" (a layer each), "exit_explain", "losses".
void add_explanation(const ExplainView& view, const ExplainTarget& target, Json& plan);

}  // namespace tessera
