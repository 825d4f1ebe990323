// Measures what loads, computes and transfers cost on this machine, once, and keeps it in a file per machine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/session.h"

namespace tessera {

struct CalibrationOptions {
  bool cold = false;       // the store was opened for O_DIRECT reads: another cost than through the page cache
  bool again = false;      // measure every device although there are figures
  bool check = false;      // measure a few points of devices that have figures, and anew those that have drifted
  bool read_only = false;  // take what is in the file: nothing is measured or written
  bool quiet = false;      // do not announce it on stderr
  std::string directory;   // default: $XDG_CACHE_HOME/tessera, else ~/.cache/tessera
  std::string version;     // of the program, its build included: another one has other kernels, and measures anew
  // Registered policy whose requests are measured, too: what loads and computes do to each other. Empty: none.
  std::string policy;
  // What measuring may take, storage and every device together; the least number of repetitions is done in any case.
  Duration budget = milliseconds(2400);
};

// How far a device's time at a few points may be from its figures before all of it is measured anew.
inline constexpr double kDriftBound = 0.25;

// What computing and reading at once do to each other, as factors of the time that each takes alone. Not applied to any
// estimate: the margins of whole requests hold it already (request_margins.h). They tell why those are what they are.
struct Contention {
  double load = 1;     // of a load while a layer is computed
  double compute = 1;  // of an exact layer while storage is read
  double decode = 1;   // of a layer at the lowest bitwidth while storage is read
  int64_t samples = 0;
};

// The same as requests show it; what simulations of this machine use (simulation.h). Alone: of loads before the first layer,
// and of layers after the last load, over what calibration measured: buffers are fresh, caches cold. The others: of loads
// from the first layer on and of layers beside loads, over those alone; the scheduler's slices are in it.
struct Overlap {
  double load_alone = 1, layer_alone = 1;
  double load_exact = 1, load_coded = 1;    // of exact and of coded shards
  double layer_exact = 1, layer_coded = 1;  // likewise
  int64_t samples = 0;
};

// What became of one device, for `tessera calibrate`.
struct CalibratedDevice {
  std::string name;
  bool measured = false;  // now, rather than read
  std::string why;        // "first use", "another build", "drifted by 43 %"; where kept: "within 4 %", or empty
  std::string created;    // of its figures; empty: it has none
  int64_t figures = 0, samples = 0;
  double half_width = 0;  // of the interval of the median: the median over all figures, relative
  double worst_half_width = 0;
  double level = 0;    // that interval's least confidence; 0: none
  std::string tuning;  // what the backend chose for itself; empty: nothing to choose
  std::optional<Contention> contention;
  std::optional<Overlap> overlap;
  std::vector<std::string> doubts;  // figures that cannot be, and are not used
};

// Where a machine's costs come from, to be saved back after requests.
struct Calibration {
  std::string path;         // of the file; empty where it cannot be written
  std::string fingerprint;  // of the machine, in words
  std::string created;      // of the youngest figures: "2026-05-04T03:02:01Z"
  bool measured = false;    // anything now, rather than read
  Duration took;            // of measuring
  std::vector<CalibratedDevice> devices;
  std::string program;      // whose figures these are
  std::string requests_of;  // the devices whose requests are learned, in words
};

// Gives every usable device of `machine` its cost model: from the machine's file, else by measuring with the store's own
// extents and weights, and writing the file; only devices without figures of this build, or with too few, are measured, and
// those that others left in the file stay. Also sets the backends' own estimates as guesses, which tell workspace, and tunes
// backends that can be. A file that is damaged, foreign or of another format is ignored with a warning, and made again. A
// device that cannot run an op keeps its backend's estimate for all. Nothing else may run on the machine's devices
// meanwhile.
Result<Calibration> calibrate(Machine& machine, const Store& store, const CalibrationOptions& options);

// Writes what the models have learned since into the file (atomically); nothing where they have not. Cheap: once a run.
Status save_learned(Machine& machine, const Calibration& calibration);

}  // namespace tessera
