// Tries the other places where a layer could be computed.
#pragma once

#include <vector>

#include "scheduler/explain_trial.h"

namespace tessera {

// Each device alone, the best split of each two, a split over all of three or more; without the plan's own. Slices are split
// in order, by how fast each device computes the layer.
std::vector<PlacementCandidate> other_placements(const Trial& trial, int layer);

}  // namespace tessera
