// Predicts the accuracy of a plan from profiled losses: one objective for every policy.
#pragma once

#include <vector>

#include "framework/model_shape.h"

namespace tessera {

// loss(plan) = base[depth] + scale[depth][width] * sum over layers and slices of sensitivity[l][j][bits],
// accuracy = g(loss), g monotone non-increasing. Integers in millionths, so that plans compare
// exactly on every machine. Filled by `shards/` from a profile; plain value, immutable once filled, read from any thread.
// Loss is the divergence (KL, nats) from the full exact model's own outputs.
struct AccuracyModel {
  int layers = 0;
  int slices = 0;
  std::vector<Micro> base;         // [L]: loss of depth l + 1, all slices exact
  std::vector<Micro> sensitivity;  // [L][M][kBitsLevels]: added loss; level 0 absent, level 9 exact (0 by definition)
  std::vector<int64_t> scale_ppm;  // [L][M]: by depth l + 1 and mean width rounded; 1,000,000 = as summed
  std::vector<Micro> importance_accuracy;  // [L][M]: STI's probe (others at the lowest bits, this one exact), dev accuracy
  std::vector<Micro> importance_loss;      // [L][M]: the same probe's loss, lower is better
  struct Point {
    Micro loss, accuracy;
  };
  std::vector<Point> map;  // g: ascending loss, non-increasing accuracy; linear between, constant outside
  // The checkpoint was trained, and measured, with the first slices of each layer only: what other slice sets lose is not
  // known. False: the absence of any slice is priced.
  bool prefixes_only = false;

  bool profiled() const { return !map.empty(); }
  // Added loss of one shard at `bits`, before the scale. O(1).
  Micro loss_delta(ShardId id, Bits bits) const {
    return sensitivity[(static_cast<size_t>(id.layer) * slices + id.slice) * kBitsLevels + bits_level(bits)];
  }
  // Whether the loss of such a plan is one that the model can tell.
  bool knows(int depth, const std::vector<Bits>& bits) const;
  // Loss of bits[l * M + j] (0 absent) for l < depth.
  Micro loss(int depth, const std::vector<Bits>& bits) const;
  Micro accuracy(Micro loss) const;
};

// A model without a profile: importance drawn from `seed`, accuracy unknown (profiled() is false). Deterministic on every
// machine. Used for shapes that have no weights.
AccuracyModel random_importance(const ModelShape& shape, uint64_t seed);

}  // namespace tessera
