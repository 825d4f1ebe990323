// Decides with one bitwidth for every shard: the largest submodel at each, and the best of those.
#pragma once

#include <functional>

#include "policies/parts/choices.h"
#include "policies/parts/nearest.h"
#include "policies/parts/placement.h"
#include "policies/parts/trials.h"

namespace tessera {

// The knob `bits` as the baselines take it: "best", or one bitwidth (of those that view.bits leaves).
KnobDescription bits_knob();
// Leaves in the choices what the knob allows of what one device, or any of several, computes with.
enum class Computes { kOneDevice, kSeveral };
Status narrow_by_bits_knob(const Knobs& knobs, Choices& choices, Computes who = Computes::kOneDevice);

// The deepest, then widest submodel that fits at each bitwidth; among them the one of least profiled loss (unprofiled: of
// the most bits, STI's StdPL-full and Load&Exec). Where none fits: decide_among_smallest.
Result<Decision> decide_uniform(Trials& trials, const Choices& choices, const BuildFloor& build);

// The same with each submodel placed over several devices: of its placements, the fastest that fits.
Result<Decision> decide_placed(Trials& trials, const Choices& choices, Placement& placement);

// The same reason for every shard that has none.
void explain_all(Plan& plan, const std::string& loaded, const std::string& resident, const Residency& residency);

}  // namespace tessera
