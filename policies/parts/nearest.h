// Decides when nothing larger fits: the smallest submodels, the least-late plan, or the nearest feasible budgets.
#pragma once

#include <functional>
#include <vector>

#include "policies/parts/assembly.h"
#include "policies/parts/choices.h"
#include "policies/parts/trials.h"

namespace tessera {

// Builds a policy's smallest plan of a size at a bitwidth; must not depend on the budgets.
using BuildFloor = std::function<Plan(Size, Bits)>;
// The same where there are several such plans, of which the fastest that fits is taken.
using BuildFloors = std::function<std::vector<Plan>(Size, Bits)>;

// Tries the shallowest submodels at every width and bitwidth, so that what it says of them is true:
//   a plan     the first that fits, widest and most bits first; where none does and view.best_effort, the least late
//              (kept within the memory budget)
//   Infeasible deciding again with its budgets finds that very plan here, whatever the policy tried before
Result<Decision> decide_among_smallest(Trials& trials, const Choices& choices, const BuildFloor& build);
Result<Decision> decide_among_smallest(Trials& trials, const Choices& choices, const BuildFloors& build);

// What to preload where no plan is known yet: the first candidate with which `decide` returns a plan; where none does, the
// one whose least latency is least, so that the nearest budgets are named as they will be with it. The empty residency
// competes too. Candidates must not depend on the budgets, or the named ones would not be true.
Result<Residency> best_residency(std::vector<Residency> candidates,
                                 const std::function<Result<Decision>(const Residency&)>& decide);

}  // namespace tessera
