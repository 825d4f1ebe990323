// What calibration is made of: the two measurements, their summary, and the file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/calibrate.h"

namespace tessera::calibration {

struct StorageFigures {
  PowerFit fit;
  Duration per_read;  // of each separate extent after the first
};

// One device's part of the file; storage has `storage`, the others have `points`.
struct DeviceFigures {
  std::string name;
  std::optional<StorageFigures> storage;
  std::vector<CostPoint> points;
  std::vector<LearnedWindow> learned;
};

struct Figures {
  std::string fingerprint;
  std::string created;
  std::vector<DeviceFigures> devices;
  std::vector<RequestWindow> requests;
};

// ---- measuring (calibrate_storage.cc, calibrate_compute.cc)

// Loads of the store's own extents, from one shard to a whole exact layer, and random rows.
Result<StorageFigures> measure_storage(const DeviceBinding& disk, const Store& store, Duration budget);
// Embed, layers by tokens x slices x bits (decoded and coded), exit. Weights change with each repetition, as they do in a
// request, so that none is still in a cache. Empty where the device supports nothing.
Result<std::vector<CostPoint>> measure_compute(DeviceId id, const DeviceDescription& device, const DeviceBinding& binding,
                                               const Store& store, Duration budget);
// Requests of one policy through a session, so that the machine's margins are known before the first one of a user's.
void measure_requests(Machine& machine, const Store& store, const std::string& policy, Duration budget);
// Median, and a spread from the median absolute deviation. `seconds` is not empty.
Estimate summarise(std::vector<double> seconds);

// ---- the file (calibrate_file.cc)

// What the figures depend on, one line: processor, devices and their properties, kernel, disk, cold or warm, model.
std::string fingerprint_of(const Machine& machine, const Store& store, const CalibrationOptions& options);
// The same file whatever the program's version: another build's figures are replaced.
std::string file_of(const std::string& directory, const std::string& fingerprint);
std::string default_directory();
// kData where it is damaged, of another format or another fingerprint: says what. `found` is false where there is none.
Result<Figures> read_figures(const std::string& path, const std::string& fingerprint, bool* found);
// Written beside and renamed; not synced, for it is written after each run: what a crash tears is made again.
Status write_figures(const std::string& path, const Figures& figures);

}  // namespace tessera::calibration
