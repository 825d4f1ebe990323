// Fills STI's preload buffer: bottom layers first, at the highest uniform bitwidth that then streams without a stall.
#pragma once

#include "policies/parts/choices.h"
#include "policies/parts/io_plan.h"

namespace tessera {

// What to hold for a submodel within budgets.preload. `all`: as many shards as fit; else the fewest with which layer 0 is
// not waited for and every AIB holds. Where no bitwidth gets there, the buffer is filled at the lowest.
// Depends on neither latency nor memory budget.
Residency preload_buffer(const PlanningView& view, const Choices& choices, Costs& costs, Size size, bool all);

}  // namespace tessera
