// Measures what loads and computes cost on this machine, once, and keeps it in a file per machine.
#pragma once

#include <string>

#include "scheduler/session.h"

namespace tessera {

struct CalibrationOptions {
  bool cold = false;      // the store was opened for O_DIRECT reads: another cost than through the page cache
  bool again = false;     // measure although there is a file
  bool quiet = false;     // do not announce it on stderr
  std::string directory;  // default: $XDG_CACHE_HOME/tessera, else ~/.cache/tessera
  std::string version;    // of the program, its build included: another one has other kernels, and measures anew
  // Registered policy whose requests are measured, too: what loads and computes do to each other. Empty: none.
  std::string policy;
  // What measuring may take, storage and every device together; the least number of repetitions is done in any case.
  Duration budget = milliseconds(2400);
};

// Where a machine's costs come from, to be saved back after requests.
struct Calibration {
  std::string path;         // of the file; empty where it cannot be written
  std::string fingerprint;  // of the machine, in words
  std::string created;      // "2026-05-04T03:02:01Z"
  bool measured = false;    // now, rather than read
  Duration took;            // of measuring
};

// Gives every usable device of `machine` its cost model: from the machine's file, else by measuring with the store's own
// extents and weights, and writing the file. Also sets the backends' own estimates as guesses, which tell workspace. A file
// that is damaged, foreign or of another version is ignored with a warning, and made again. A device that cannot run an op
// keeps its backend's estimate for all. Nothing else may run on the machine's devices meanwhile.
Result<Calibration> calibrate(Machine& machine, const Store& store, const CalibrationOptions& options);

// Writes what the models have learned since into the file (atomically); nothing where they have not. Cheap: once a run.
Status save_learned(Machine& machine, const Calibration& calibration);

}  // namespace tessera
