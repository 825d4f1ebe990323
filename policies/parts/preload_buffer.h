// Fills preload buffers, bottom layers first: STI's, exact or at the highest coded bitwidth, or a given plan's.
#pragma once

#include "policies/parts/choices.h"
#include "policies/parts/io_plan.h"

namespace tessera {

// The highest bitwidth of an ascending ladder that is coded; exact where none is.
Bits highest_coded(const std::vector<Bits>& ladder);

// What to hold for a submodel within budgets.preload. `all`: as many shards as fit; else the fewest with which layer 0 is
// not waited for and every AIB holds, at the highest bitwidth that gets there. Where none does, IO binds: as many as fit,
// at the highest coded bitwidth. Depends on neither latency nor memory budget.
Residency preload_buffer(const PlanningView& view, const Choices& choices, Costs& costs, Size size, bool all);

// A plan's first shards, layer by layer, as many as budgets.preload holds.
Residency bottom_of(const PlanningView& view, const Plan& plan);

}  // namespace tessera
