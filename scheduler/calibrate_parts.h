// What calibration is made of: measurements, their statistics, what cannot be, and the file.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/calibrate.h"

namespace tessera::calibration {

// ---- statistics (calibrate_statistics.cc)

// Of repeated measurements: the median, a spread from the median absolute deviation, and between which of them the true
// median lies, whatever the distribution (order statistics; David and Nagaraja, "Order Statistics", 3rd ed., section 7.1).
struct Summary {
  Estimate estimate;
  double half_width = 0;  // of that interval, relative to the median
  double level = 0;       // its confidence: 0.95 or more from 6 samples on, 1 - 2^(1-n) with fewer
};
// `seconds` is not empty.
Summary summarise(std::vector<double> seconds);
double median(std::vector<double> values);

// ---- figures

// Kinds of tasks (LearnedRatios) of each part of a model of several parts begin at a multiple of it; above every kind.
inline constexpr int kKindsApart = 1 << 20;

// A load of `count` extents, or a transfer (count 1), of so many bytes.
struct MovePoint {
  Op op = Op::kTransfer;
  Bits bits = 0;
  int count = 1;
  bool to_host = false;
  int64_t bytes = 0;
  Summary taken;
};
struct StorageFigures {
  PowerFit fit;
  Duration per_read;  // of each separate extent after the first
  std::vector<MovePoint> points;
};
struct TransferFigures {
  std::optional<PowerFit> to_device, to_host;  // none: what was measured cannot be
  Duration per_move;                           // of each after a transfer's first
  std::vector<MovePoint> points;
};
struct ComputePoint {
  CostKey key;
  Summary taken;  // its estimate's workspace set
};

// One device's part of the file, kept until another build, other properties or drift make it anew.
struct DeviceFigures {
  std::string name, identity, program, created, tuning;
  std::optional<StorageFigures> storage;
  std::optional<TransferFigures> transfers;
  std::vector<ComputePoint> points;
  bool parts = false;  // split layers are among the points
  std::optional<Contention> contention;
  std::optional<Overlap> overlap;
  std::vector<std::string> doubts;
  std::vector<LearnedWindow> learned;
};

// What requests on one set of devices taught.
struct RequestFigures {
  std::string devices, program, created;
  std::vector<RequestWindow> windows;
};

struct Figures {
  std::string fingerprint;
  std::vector<DeviceFigures> devices;
  std::vector<RequestFigures> requests;
  DeviceFigures* find(const std::string& identity);
};

// ---- measuring

// Loads of the store's own extents, from one shard to a whole exact layer, and random rows (calibrate_storage.cc).
Result<StorageFigures> measure_storage(const DeviceBinding& disk, const Store& store, Duration budget);
// A few of the same loads again: by how much they are off the figures, relative.
Result<double> drift_of_storage(const DeviceBinding& disk, const Store& store, const StorageFigures& figures);

// What is measured of a device that computes: embed, layers by tokens x slices x bits (decoded and coded), exit; `parts`: of
// split layers, too (calibrate_grid.cc). Empty where the device supports nothing.
std::vector<CostKey> keys_of(DeviceId id, const DeviceDescription& device, const DeviceBinding& binding,
                             const ModelShape& shape, bool parts);
bool is_of_parts(Op op);
// Weights change with each repetition, as they do in a request, so that none is still in a cache (calibrate_compute.cc).
Result<std::vector<ComputePoint>> measure_compute(const DeviceDescription& device, const DeviceBinding& binding,
                                                  const Store& store, const std::vector<CostKey>& keys, Duration budget);
Result<double> drift_of_compute(DeviceId id, const DeviceDescription& device, const DeviceBinding& binding,
                                const Store& store, const std::vector<ComputePoint>& points);

// Transfers between host memory and buffers of `owner`, on the device itself or on its link, both ways (calibrate_moves.cc).
Result<TransferFigures> measure_transfers(const DeviceBinding& mover, const DeviceBinding& owner, Duration budget);
Result<double> drift_of_transfers(const DeviceBinding& mover, const DeviceBinding& owner, const TransferFigures& figures);

// Layers computed and extents read at once, against each alone (calibrate_contention.cc). Nothing where there is no time.
Result<std::optional<Contention>> measure_contention(DeviceId id, const DeviceDescription& device,
                                                     const DeviceBinding& binding, const DeviceBinding& disk,
                                                     const Store& store, Duration budget);
// What loads and computes of requests do to each other, by computing device (calibrate_overlap.cc); empty where there is no
// time. `alone`: by device, what its tasks take alone; null where that is not known. Nothing is learned of these requests.
using AloneCosts = std::vector<std::unique_ptr<CostModel>>;
std::map<DeviceId, Overlap> measure_overlap(Machine& machine, const Store& store, const std::string& policy,
                                            const AloneCosts& alone, Duration budget);
// Requests of one policy through a session, so that the machine's margins are known before the first one of a user's.
void measure_requests(Machine& machine, const Store& store, const std::string& policy, Duration budget);

// ---- what cannot be (calibrate_sanity.cc)

// Moves figures that are beyond any machine's (rates, operations a second, layers that take less time the more tokens there
// are) out of `figures`, and tells each in `doubts`: which figure, which bound, what to do.
void doubt_absurd(const ModelShape& shape, DeviceFigures& figures);

// ---- cost models (calibrate_models.cc)

// Of what was measured of a device; nullptr where nothing was. `guess` answers for what was not.
std::unique_ptr<CostModel> make_model(const ModelShape& shape, const DeviceFigures& figures, CostBook::Guess guess);

// ---- the file (calibrate_file.cc, calibrate_json.cc), and whom it is about (calibrate_identity.cc)

// What all figures depend on, one line: processor, kernel, disk, cold or warm, model.
std::string fingerprint_of(const Store& store, const CalibrationOptions& options);
// A device: name, backend, threads, properties (the driver's version among them).
std::string identity_of(const DeviceDescription& device);
std::string program_of(const CalibrationOptions& options);
std::string now_in_words();
std::string file_of(const std::string& directory, const std::string& fingerprint);
std::string default_directory();
// kData where it is damaged, of another format or another fingerprint: says what. `found` is false where there is none.
Result<Figures> read_figures(const std::string& path, const std::string& fingerprint, bool* found);
// Written beside and renamed; not synced, for it is written after each run: what a crash tears is made again.
Status write_figures(const std::string& path, const Figures& figures);
// The content of the file, and back (nothing where a figure is missing or impossible).
std::string to_text(const Figures& figures);
bool from_text(const std::string& text, Figures& figures, std::string* why);

}  // namespace tessera::calibration
