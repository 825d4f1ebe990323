// Says of every shard why it has its bits, in STI's terms.
#pragma once

#include <vector>

#include "policies/parts/io_plan.h"

namespace tessera {

// `applied`: how many of `upgrades`, in order, are in the plan; the replay had no room for the rest.
void explain_sti(Plan& plan, const Residency& residency, Bits base, const std::vector<Upgrade>& upgrades, size_t applied);

}  // namespace tessera
