// Lists every plan of a small model by rising loss: where memory makes loads wait, nothing but the replay can compare plans.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "policies/parts/choices.h"

namespace tessera {

// A slice set and bits of every layer.
struct SmallPlan {
  int depth = 0;
  int64_t loss = 0;  // micro-nats
  std::vector<Bits> bits;
};

// All choices of slice sets (prefixes where the accuracy model knows no others), bits and exit, by rising loss, then in
// order of depth and bits; nothing where they are more than `most`. Nothing else of a plan changes its loss.
std::optional<std::vector<SmallPlan>> all_plans(const ModelShape& shape, const AccuracyModel& accuracy,
                                                const Choices& choices, size_t most);

}  // namespace tessera
