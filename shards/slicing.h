// Cuts a layer into shards: slice j is head j with the j-th share of the FFN.
#pragma once

#include <vector>

#include "shards/flat_codec.h"

namespace tessera {

// One layer's dense matrices, fp32, row-major [out, in] as in the checkpoint, in the order of MatrixKind:
// Q, K, V, O [D, D], Up [F, D], Down [D, F].
using DenseLayer = std::array<std::vector<float>, kMatrixCount>;

// Rows [j D/H, (j + 1) D/H) of Q, K, V and columns of O; rows [j F/M, (j + 1) F/M) of Up and columns of Down.
DenseShard slice_layer(const ModelShape& shape, const DenseLayer& layer, int slice);

}  // namespace tessera
