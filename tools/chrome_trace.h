// Writes schedules as Chrome trace JSON (chrome://tracing, Perfetto): predicted and measured lanes of every request.
#pragma once

#include <string>
#include <vector>

#include "framework/trace.h"

namespace tessera {

struct TracedRequest {
  std::string text;
  Trace trace;
  Duration arrival;   // since the first request's
  Duration planning;  // before the run began: shifts the measured lanes
  bool measured = false;
};

// Format: "Trace Event Format", complete events ("ph": "X"), times in microseconds. Process 1 is the prediction, process 2
// the measurement, a thread per device. Written whole or not at all.
Status write_chrome_trace(const std::string& path, const std::vector<TracedRequest>& requests);

}  // namespace tessera
