// What cost models answer for typical tasks, and how sure calibration is of it: for `devices` and `calibrate`.
#pragma once

#include <string>
#include <vector>

#include "scheduler/calibrate.h"
#include "tools/commands.h"

namespace tessera {

// "within 4 %, kept of 2026-05-04T03:02:01Z: 66 figures, 594 samples, medians +-1.2 % (worst 9.1 %, 96 % confidence)", and
// below it contention, tuning, and doubts where there are any.
std::vector<std::string> calibration_lines(const CalibratedDevice& device);
Json calibration_json(const CalibratedDevice& device);

}  // namespace tessera
