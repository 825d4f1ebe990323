// Makes the machine that a command runs on: this one, calibrated on first use, or a described one in virtual time.
#pragma once

#include "scheduler/calibrate.h"
#include "scheduler/session.h"
#include "tools/flags.h"
#include "tools/model_source.h"

namespace tessera {

struct OpenedMachine {
  Machine machine;
  Calibration calibration;  // of this machine; empty path for a described one
};

// Whose requests calibration measures: the plainest pipeline of loads and computes.
inline constexpr const char* kPlainPipeline = "std-pipeline";

// `model` outlives the machine. `plan_only`: nothing will run, so a described machine needs no --virtual. kInvalid names
// unknown devices and bad combinations of flags.
Result<OpenedMachine> open_machine(const MachineFlags& flags, const OpenedModel& model, bool cold, bool plan_only);

// What a device's cost model answers for a typical task, for `devices` and `calibrate`.
struct DeviceFigure {
  std::string device, what;
  Estimate estimate;
  BytesPerSecond rate;  // of loads; 0 for computes
};
// "load 1.0 MiB  0.52 ms (p95 0.60 ms), 2.0 GB/s; measured, 12 samples"
std::string figure_line(const DeviceFigure& figure);
std::vector<DeviceFigure> device_figures(const Machine& machine, const ModelShape& shape);

}  // namespace tessera
