// Views a task's weights the way kernels read them, and refuses those that do not fit the model.
#pragma once

#include <array>
#include <span>

#include "backends/cpu/kernels.h"
#include "framework/result.h"

namespace tessera::cpu {

using SliceMatrices = std::array<MatrixView, kMatrixCount>;

// The six matrices of one shard. kData or kInvalid names the slice and the numbers.
Result<SliceMatrices> view_slice(const ModelShape& shape, const WeightRef& weight);
// Whether slices ascend inside the model, without opening them.
Status check_slices(const ModelShape& shape, std::span<const WeightRef> weights);

}  // namespace tessera::cpu
