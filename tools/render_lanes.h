// Draws a schedule as lanes over time: storage and each device, the prediction above what was measured.
#pragma once

#include <string>

#include "framework/trace.h"
#include "tools/terminal.h"

namespace tessera {

struct LaneView {
  const Trace* trace = nullptr;
  bool measured = false;   // draw the measured lanes too
  bool simulated = false;  // what was "measured" is virtual time
  Duration offset;         // from arrival to the start of the run (planning): measured times are since the run began
  Duration deadline = kForever;
  int columns = 100;
};

// Lines, each ended by '\n'. Block heights tell bits; digits tell layers.
std::string render_lanes(const LaneView& view, const Painter& paint);
// Explains the signs; one line where that fits.
std::string lanes_legend(int columns, const Painter& paint);

}  // namespace tessera
