// Ranks shards as STI does: by the dev accuracy that each brings when it alone is exact.
#pragma once

#include <vector>

#include "framework/policy.h"
#include "policies/parts/assembly.h"

namespace tessera {

// The shards of a submodel, most important first: profiled accuracy, then loss, then id. A model without importance is
// ranked at random, from the request's seed.
std::vector<ShardId> by_importance(const PlanningView& view, Size size);
// The same shards as the request's seed orders them.
std::vector<ShardId> in_random_order(const PlanningView& view, Size size);

}  // namespace tessera
