// Decides with one bitwidth for every shard: the largest submodel at each, and the best of those.
#pragma once

#include <functional>

#include "policies/parts/choices.h"
#include "policies/parts/nearest.h"
#include "policies/parts/trials.h"

namespace tessera {

// The knob `bits` as the baselines take it: "best", or one bitwidth (of those that view.bits leaves).
KnobDescription bits_knob();
// Leaves in choices.ladder what the knob allows.
Status narrow_by_bits_knob(const Knobs& knobs, Choices& choices);

// The deepest, then widest submodel that fits at each bitwidth; among them the one of least profiled loss (unprofiled: of
// the most bits, STI's StdPL-full and Load&Exec). Where none fits: decide_among_smallest.
Result<Decision> decide_uniform(Trials& trials, const Choices& choices, const BuildFloor& build);

// The same reason for every shard that has none.
void explain_all(Plan& plan, const std::string& loaded, const std::string& resident, const Residency& residency);

}  // namespace tessera
