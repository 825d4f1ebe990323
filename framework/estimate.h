// Says what a task is expected to cost, how surely, and who says so.
#pragma once

#include <cstdint>
#include <string_view>

#include "framework/units.h"

namespace tessera {

// Where a figure comes from, most trusted first.
enum class Provenance : uint8_t { kMeasured, kRegression, kAnalytic, kDataSheet, kGuessed };
std::string_view to_string(Provenance p);

struct Estimate {
  Duration mean;
  Duration p95;             // >= mean; equal to it where no spread is known
  double variance_ns2 = 0;  // of a single execution
  Joules energy;            // 0 where the device has no energy model
  Bytes workspace;          // scratch beside operands, truthful before anything is created
  Provenance provenance = Provenance::kGuessed;
  int64_t samples = 0;

  // The duration at quantile q in [0.5, 1): mean at 0.5, p95 at 0.95, interpolated between and extrapolated above
  // on the scale of the normal distribution's quantiles. Rounded to whole nanoseconds.
  Duration at(double quantile) const;
};

}  // namespace tessera
