// Gives a machine its costs: from its calibration file, or by measuring once.
#include "scheduler/calibrate.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <utility>

#include <spdlog/spdlog.h>

#include "framework/clock.h"
#include "scheduler/calibrate_parts.h"

namespace tessera {
namespace {

using calibration::DeviceFigures;
using calibration::Figures;

std::string now_in_words() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

Result<DeviceFigures> measure_device(const Machine& machine, DeviceId id, const Store& store, Duration budget) {
  const DeviceDescription& device = machine.platform.devices[id];
  DeviceFigures figures;
  figures.name = device.name;
  if (device.kind == DeviceKind::kStorage) {
    TESSERA_ASSIGN(figures.storage, calibration::measure_storage(machine.bindings[id], store, budget));
  } else {
    TESSERA_ASSIGN(figures.points, calibration::measure_compute(id, device, machine.bindings[id], store, budget));
  }
  return figures;
}

// A quarter of the time for storage, the rest shared by the devices that compute.
Result<Figures> measure(const Machine& machine, const Store& store, const CalibrationOptions& options) {
  Figures figures;
  const auto devices = static_cast<DeviceId>(machine.bindings.size());
  int64_t disks = 0;
  for (DeviceId id = 0; id < devices; ++id) disks += machine.platform.devices[id].kind == DeviceKind::kStorage;
  for (DeviceId id = 0; id < devices; ++id) {
    const bool disk = machine.platform.devices[id].kind == DeviceKind::kStorage;
    const int64_t share =
        disk ? options.budget.ns / 4 / disks : options.budget.ns * 3 / 4 / std::max<int64_t>(1, devices - disks);
    auto measured = measure_device(machine, id, store, {share});
    if (measured.ok()) {
      figures.devices.push_back(measured.take());
    } else if (disk) {
      return measured.error();  // damaged data, most likely: requests would fail too
    } else {
      spdlog::warn("device {} cannot be calibrated: {}; its own estimate is used", machine.platform.devices[id].name,
                   measured.error().message);
    }
  }
  figures.created = now_in_words();
  return figures;
}

// Makes cost models of the figures. A device without any keeps its backend's guess.
void install(Machine& machine, const ModelShape& shape, const Figures& figures) {
  for (const DeviceFigures& d : figures.devices) {
    const auto id = machine.platform.find(d.name);
    if (!id || *id >= machine.bindings.size()) continue;
    std::unique_ptr<CostModel> model;
    if (d.storage) {
      model = make_regression(d.storage->fit, d.storage->per_read);
    } else if (!d.points.empty()) {
      model = make_table(shape, d.points);
    } else {
      continue;
    }
    model->restore(d.learned);
    machine.costs->set(*id, std::move(model));
  }
  machine.costs->restore_requests(figures.requests);
}

void note_learned(const Machine& machine, Figures& figures) {
  for (DeviceFigures& d : figures.devices) {
    const auto id = machine.platform.find(d.name);
    const CostModel* model = id ? std::as_const(*machine.costs).model(*id) : nullptr;
    if (model != nullptr) d.learned = model->learned();
  }
  figures.requests = machine.costs->requests().save();
}

void install_guesses(Machine& machine, const ModelShape& shape) {
  const auto kept = std::make_shared<const ModelShape>(shape);
  const auto devices = static_cast<DeviceId>(machine.bindings.size());
  for (DeviceId id = 0; id < devices; ++id) {
    const DeviceBinding binding = machine.bindings[id];
    machine.costs->set_guess(
        id, [binding, kept](const CostKey& key) { return binding.backend->estimate(binding.device, key, *kept); });
  }
}

}  // namespace

Result<Calibration> calibrate(Machine& machine, const Store& store, const CalibrationOptions& options) {
  Calibration result;
  if (!machine.costs) machine.costs = std::make_shared<CostBook>();
  install_guesses(machine, store.shape());
  result.fingerprint = calibration::fingerprint_of(machine, store, options);
  const std::string directory = options.directory.empty() ? calibration::default_directory() : options.directory;
  if (!directory.empty()) result.path = calibration::file_of(directory, result.fingerprint);
  if (!options.again && !result.path.empty()) {
    bool found = false;
    const auto read = calibration::read_figures(result.path, result.fingerprint, &found);
    if (read.ok() && found) {
      install(machine, store.shape(), *read);
      machine.costs->mark_saved();
      result.created = read->created;
      return result;
    }
    if (!read.ok()) spdlog::warn("{}", read.error().message);
  }
  if (!options.quiet) std::fputs("calibrating this machine, once (about a second)\n", stderr);
  const Duration start = WallClock::instance().now();
  TESSERA_ASSIGN(Figures figures, measure(machine, store, options));
  install(machine, store.shape(), figures);
  calibration::measure_requests(machine, store, options.policy, {options.budget.ns / 8});
  note_learned(machine, figures);
  result.took = WallClock::instance().now() - start;
  result.measured = true;
  result.created = figures.created;
  figures.fingerprint = result.fingerprint;
  machine.costs->mark_saved();
  const Status written = result.path.empty() ? Status() : calibration::write_figures(result.path, figures);
  if (!written.ok()) {
    spdlog::warn("{}", written.error().message);
    result.path.clear();
  }
  return result;
}

Status save_learned(Machine& machine, const Calibration& calibration) {
  if (calibration.path.empty() || !machine.costs || !machine.costs->learned()) return {};
  bool found = false;
  TESSERA_ASSIGN(Figures figures, calibration::read_figures(calibration.path, calibration.fingerprint, &found));
  if (!found) return {};
  note_learned(machine, figures);
  TESSERA_TRY(calibration::write_figures(calibration.path, figures));
  machine.costs->mark_saved();
  return {};
}

}  // namespace tessera
