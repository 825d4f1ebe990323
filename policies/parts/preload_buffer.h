// Fills STI's preload buffer: bottom layers first, exact or at the highest coded bitwidth.
#pragma once

#include "policies/parts/choices.h"
#include "policies/parts/io_plan.h"

namespace tessera {

// What to hold for a submodel within budgets.preload. `all`: as many shards as fit; else the fewest with which layer 0 is
// not waited for and every AIB holds, at the highest bitwidth that gets there. Where none does, IO binds: as many as fit,
// at the highest coded bitwidth. Depends on neither latency nor memory budget.
// The highest bitwidth of an ascending ladder that is coded; exact where none is.
Bits highest_coded(const std::vector<Bits>& ladder);

Residency preload_buffer(const PlanningView& view, const Choices& choices, Costs& costs, Size size, bool all);

}  // namespace tessera
