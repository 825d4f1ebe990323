// Fits the dictionary of one matrix: Gaussian outlier bounds, then 1-D k-means over the sorted rest.
#pragma once

#include <span>
#include <vector>

#include "shards/flat_codec.h"

namespace tessera {

// Outlier iff log N(w; mean, std) < -4 (GOBO, section 4.1).
FlatEncoder::Fit fit_gaussian(std::span<const float> weights);
// 2^bits centroids, ascending. Starts from the means of equal-population bins and iterates assign + mean while the summed
// |error| falls. Centroids no weight belongs to keep their place.
std::vector<float> fit_dictionary(const FlatEncoder::Fit& fit, int bits);

}  // namespace tessera
