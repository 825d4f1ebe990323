// Makes plans that differ from another in one choice: a shard's bits, a layer's placement, the exit.
//
// Everything else stays: bits, placement, order of loads. What must follow does: a shard that is now missing is loaded where
// its old load stood, with the load of its layer that already brings those bits where there is one; a plan whose loads were
// in the usual order (loads_for) keeps to it.
#pragma once

#include <vector>

#include "framework/plan.h"

namespace tessera {

// The shard at other bits; kAbsent removes it. A shard that was absent joins part `part` of its layer.
Plan with_bits(const Platform& platform, const Residency& residency, const Plan& plan, ShardId id, Bits bits, int part = 0);
// The layer computed elsewhere; `parts` cover its slices.
Plan with_placement(const Platform& platform, const Residency& residency, const Plan& plan, int layer,
                    std::vector<LayerPart> parts);
// Another exit. New layers are like the last one, with all their slices at `bits`.
Plan with_depth(const Platform& platform, const Residency& residency, const Plan& plan, int depth, Bits bits);

}  // namespace tessera
