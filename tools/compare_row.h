// Builds the rows of `tessera compare` (fields: docs/compare.md) and reads back what later steps need of them.
#pragma once

#include <string>

#include "scheduler/tournament.h"
#include "tools/commands.h"

namespace tessera {

// What a row says of its cell, before anything is played: all fields, null where only a result could fill them.
Json empty_row(const Experiment& experiment, const Cell& cell, const std::string& id, const Json& model);
// Fills in what was played.
void fill_row(const Played& played, Json& row);
// The policy could not be heard out: it crashed, or was ended.
void fail_row(const std::string& error, Json& row);

// Whether a line of a file is a row with all that later steps read of it.
bool whole_row(const Json& row);

// The document of OUT/plans/<hash>.json, and the hash: of all but its number and how long planning took.
struct PlanFile {  // NOLINT(bugprone-exception-escape): what could be thrown is in nlohmann's own checks
  std::string hash;
  Json document;
};
PlanFile plan_file(const PlannedRequest& planned, const ModelShape& shape, const Platform& platform);

// One digit a shard, layer by layer: its level of bits (0 absent, 1 to 8, 9 exact). "999000;..." has depth x M of them.
std::string pattern_of(const EffectivePlan& plan);
// kData where it is none of a model of so many slices.
Result<EffectivePlan> plan_of_pattern(const std::string& pattern, int slices);

}  // namespace tessera
