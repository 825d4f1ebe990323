// Counts what a compute has to do: multiply-adds and weights, from the model's shape alone.
#pragma once

#include "framework/task.h"

namespace tessera {

// Multiply-adds of a compute of B sequences of T tokens. Norms and additions count as ten operations an element. > 0 for
// every compute op.
double multiply_adds(const ModelShape& shape, const CostKey& key);
// Weights that it reads: of its slices, or of the exit head.
double weights_read(const ModelShape& shape, const CostKey& key);
// Weights that it decodes first: those below exact, unless they are decoded already.
double weights_decoded(const ModelShape& shape, const CostKey& key);
bool is_compute(Op op);

}  // namespace tessera
