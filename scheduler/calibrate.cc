// Gives a machine its costs: device by device from its calibration file, or by measuring what is missing there.
#include "scheduler/calibrate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

#include <spdlog/spdlog.h>

#include "framework/clock.h"
#include "scheduler/calibrate_parts.h"

namespace tessera {
namespace {

using calibration::ComputePoint;
using calibration::DeviceFigures;
using calibration::Figures;
using calibration::RequestFigures;

constexpr size_t kMostSections = 48, kMostRequestSets = 24;  // the youngest stay

// One run of calibrate().
class Calibrator {
 public:
  Calibrator(Machine& machine, const Store& store, const CalibrationOptions& options)
      : machine_(machine), store_(store), options_(options), program_(calibration::program_of(options)) {}

  Result<Calibration> run() {
    prepare();
    read_file();
    result_.devices.resize(count());
    std::vector<DeviceId> missing;
    for (DeviceId id = 0; id < count(); ++id) {
      TESSERA_ASSIGN(const bool keep, judge(id));
      if (!keep) missing.push_back(id);
    }
    if (options_.read_only) missing.clear();
    if (!missing.empty()) announce(missing);
    const Duration start = WallClock::instance().now();
    for (const DeviceId id : missing) TESSERA_TRY(measure(id));
    install();
    learn_requests();
    result_.measured = !missing.empty();
    if (result_.measured) result_.took = WallClock::instance().now() - start;
    machine_.costs->mark_saved();
    if (changed_) write_file();
    report();
    return result_;
  }

 private:
  DeviceId count() const { return static_cast<DeviceId>(machine_.bindings.size()); }
  const DeviceDescription& device(DeviceId id) const { return machine_.platform.devices[id]; }
  DeviceFigures* figures_of(DeviceId id) { return figures_.find(calibration::identity_of(device(id))); }

  void prepare() {
    if (!machine_.costs) machine_.costs = std::make_shared<CostBook>();
    const auto shape = std::make_shared<const ModelShape>(store_.shape());
    for (DeviceId id = 0; id < count(); ++id) {
      const DeviceBinding binding = machine_.bindings[id];
      guesses_.push_back(
          [binding, shape](const CostKey& key) { return binding.backend->estimate(binding.device, key, *shape); });
      machine_.costs->set_guess(id, guesses_.back());
    }
    result_.fingerprint = calibration::fingerprint_of(store_, options_);
    result_.program = program_;
    for (DeviceId id = 0; id < count(); ++id)
      result_.requests_of += (id > 0 ? "; " : "") + calibration::identity_of(device(id));
    const std::string directory = options_.directory.empty() ? calibration::default_directory() : options_.directory;
    if (!directory.empty()) result_.path = calibration::file_of(directory, result_.fingerprint);
  }

  void read_file() {
    figures_.fingerprint = result_.fingerprint;
    if (result_.path.empty()) return;
    bool found = false;
    auto read = calibration::read_figures(result_.path, result_.fingerprint, &found);
    if (!read.ok()) spdlog::warn("{}", read.error().message);
    if (read.ok() && found) figures_ = read.take();
  }

  // Whether the device's figures can stay as they are. Those that cannot are dropped, or keep what is not missing.
  Result<bool> judge(DeviceId id) {
    CalibratedDevice& told = result_.devices[id];
    told.name = device(id).name;
    DeviceFigures* known = figures_of(id);
    const auto drop = [&](std::string why) {
      told.why = std::move(why);
      if (known != nullptr) std::erase_if(figures_.devices, [&](const DeviceFigures& d) { return &d == known; });
      return false;
    };
    if (known == nullptr) return drop("first use");
    if (known->program != program_) return drop("another build");
    if (options_.again) return drop("asked for");
    if (!known->tuning.empty())
      if (const Status set = binding(id).backend->set_tuning(binding(id).device, known->tuning); !set.ok())
        return drop("its tuning is not taken up: " + set.error().message);
    const bool empty = !known->storage && !known->transfers && known->points.empty();
    if (options_.check && empty) return drop("no figures");
    if (options_.check) {
      TESSERA_ASSIGN(const double off, drift(id, *known));
      const std::string percent = std::to_string(std::llround(off * 100)) + " %";
      if (off > kDriftBound) return drop("drifted by " + percent);
      told.why = "within " + percent;
    }
    if (!lacks_parts(id, *known)) return true;
    told.why = "split layers were missing";
    return false;
  }

  const DeviceBinding& binding(DeviceId id) const { return machine_.bindings[id]; }

  // Split layers have parts only where several devices compute.
  bool wants_parts() const {
    int computing = 0;
    for (DeviceId id = 0; id < count(); ++id) computing += computes(device(id).kind) ? 1 : 0;
    return computing > 1;
  }

  bool lacks_parts(DeviceId id, const DeviceFigures& known) const {
    return computes(device(id).kind) && wants_parts() && !known.parts && !known.points.empty();
  }

  // The device whose buffers a link fills: itself where it is none.
  std::optional<DeviceId> owner_of(DeviceId link) const {
    if (device(link).kind != DeviceKind::kLink) return link;
    for (DeviceId id = 0; id < count(); ++id)
      if (device(id).link == device(link).name) return id;
    return std::nullopt;
  }

  Result<double> drift(DeviceId id, const DeviceFigures& known) {
    double off = 0;
    if (known.storage) { TESSERA_ASSIGN(off, calibration::drift_of_storage(binding(id), store_, *known.storage)); }
    if (!known.points.empty()) {
      TESSERA_ASSIGN(const double computed,
                     calibration::drift_of_compute(id, device(id), binding(id), store_, known.points));
      off = std::max(off, computed);
    }
    const auto owner = owner_of(id);
    if (known.transfers && owner) {
      TESSERA_ASSIGN(const double moved, calibration::drift_of_transfers(binding(id), binding(*owner), *known.transfers));
      off = std::max(off, moved);
    }
    return off;
  }

  void announce(const std::vector<DeviceId>& missing) const {
    if (options_.quiet) return;
    std::string names;
    for (const DeviceId id : missing) names += (names.empty() ? "" : ", ") + device(id).name;
    const bool plain = std::all_of(missing.begin(), missing.end(), [&](DeviceId id) {
      return device(id).kind == DeviceKind::kCpu || device(id).kind == DeviceKind::kStorage;
    });
    std::fprintf(stderr, "calibrating this machine (%s), once (%s)\n", names.c_str(),
                 plain ? "about a second" : "seconds; the first time, drivers compile kernels, too");
  }

  // A quarter of the time for storage, the rest shared by CPUs. Accelerators, which nobody has by default, take as much
  // each: their drivers' times spread more.
  Duration share_of(DeviceId id) const {
    if (device(id).kind != DeviceKind::kStorage && device(id).kind != DeviceKind::kCpu) return options_.budget;
    int64_t alike = 0;
    for (DeviceId d = 0; d < count(); ++d) alike += device(d).kind == device(id).kind ? 1 : 0;
    return {options_.budget.ns * (device(id).kind == DeviceKind::kStorage ? 1 : 3) / 4 / alike};
  }

  Status measure(DeviceId id) {
    DeviceFigures* known = figures_of(id);
    DeviceFigures fresh = known != nullptr ? *known : DeviceFigures{};
    fresh.name = device(id).name;
    fresh.identity = calibration::identity_of(device(id));
    fresh.program = program_;
    fresh.created = calibration::now_in_words();
    Status done = measure_into(id, fresh);
    if (!done.ok() && device(id).kind == DeviceKind::kStorage) return done;  // damaged data: requests would fail, too
    if (!done.ok()) {
      spdlog::warn("device {} cannot be calibrated: {}; its own estimate is used", fresh.name, done.error().message);
      fresh.doubts.push_back("cannot be calibrated: " + done.error().message);
    }
    const size_t before = fresh.doubts.size();
    calibration::doubt_absurd(store_.shape(), fresh);
    for (size_t i = before; i < fresh.doubts.size(); ++i)
      spdlog::error("ABSURD FIGURE of device {}: {}", fresh.name, fresh.doubts[i]);
    if (known != nullptr)
      *known = std::move(fresh);
    else
      figures_.devices.push_back(std::move(fresh));
    changed_ = true;
    result_.devices[id].measured = true;
    return {};
  }

  Status measure_into(DeviceId id, DeviceFigures& fresh) {
    const Duration budget = share_of(id);
    if (device(id).kind == DeviceKind::kStorage) {
      TESSERA_ASSIGN(fresh.storage, calibration::measure_storage(binding(id), store_, budget));
      return {};
    }
    const auto owner = owner_of(id);
    const bool moves = device(id).own_buffers || device(id).kind == DeviceKind::kLink;
    if (moves && owner && !fresh.transfers) {
      TESSERA_ASSIGN(fresh.transfers, calibration::measure_transfers(binding(id), binding(*owner), {budget.ns / 8}));
    }
    if (!computes(device(id).kind)) return {};
    if (fresh.tuning.empty()) {
      TESSERA_ASSIGN(fresh.tuning, binding(id).backend->tune(binding(id).device, store_.shape()));
    }
    std::vector<CostKey> keys = calibration::keys_of(id, device(id), binding(id), store_.shape(), wants_parts());
    std::erase_if(keys, [&](const CostKey& key) { return !fresh.points.empty() && !calibration::is_of_parts(key.op); });
    TESSERA_ASSIGN(const auto points, calibration::measure_compute(device(id), binding(id), store_, keys, budget));
    fresh.points.insert(fresh.points.end(), points.begin(), points.end());
    fresh.parts = wants_parts();
    const auto disk = machine_.platform.first(DeviceKind::kStorage);
    if (!disk || *disk >= count() || fresh.points.empty()) return {};
    TESSERA_ASSIGN(fresh.contention, calibration::measure_contention(id, device(id), binding(id), binding(*disk), store_,
                                                                     {options_.budget.ns / 24}));
    return {};
  }

  // Makes cost models of the figures. A device without any keeps its backend's guess.
  void install() {
    for (DeviceId id = 0; id < count(); ++id) {
      const DeviceFigures* figures = figures_of(id);
      auto model = figures != nullptr ? calibration::make_model(store_.shape(), *figures, guesses_[id]) : nullptr;
      if (!model) continue;
      model->restore(figures->learned);
      machine_.costs->set(id, std::move(model));
      result_.created = std::max(result_.created, figures->created);
    }
  }

  // Margins of requests on these devices: known, or measured.
  void learn_requests() {
    for (const RequestFigures& known : figures_.requests)
      if (known.devices == result_.requests_of && known.program == program_ && !changed_) {
        machine_.costs->restore_requests(known.windows);
        return;
      }
    if (options_.read_only) return;
    calibration::measure_requests(machine_, store_, options_.policy, {options_.budget.ns / 8});
    calibration::AloneCosts alone;
    for (DeviceId id = 0; id < count(); ++id) {
      const DeviceFigures* figures = figures_of(id);
      alone.push_back(figures != nullptr ? calibration::make_model(store_.shape(), *figures, guesses_[id]) : nullptr);
    }
    for (const auto& [id, overlap] :
         calibration::measure_overlap(machine_, store_, options_.policy, alone, {options_.budget.ns / 4}))
      if (DeviceFigures* figures = figures_of(id)) figures->overlap = overlap;
    changed_ = true;
  }

  void write_file();
  void report();

  Machine& machine_;
  const Store& store_;
  const CalibrationOptions& options_;
  const std::string program_;
  Calibration result_;
  Figures figures_;
  std::vector<CostBook::Guess> guesses_;
  bool changed_ = false;  // figures_ differs from the file
};

// Puts what models and margins have learned into the figures of the machine's devices.
void note_learned(const Machine& machine, const Calibration& calibration, Figures& figures) {
  for (size_t d = 0; d < machine.bindings.size(); ++d) {
    DeviceFigures* known = figures.find(calibration::identity_of(machine.platform.devices[d]));
    const CostModel* model = std::as_const(*machine.costs).model(static_cast<DeviceId>(d));
    if (known != nullptr && model != nullptr && known->program == calibration.program) known->learned = model->learned();
  }
  std::erase_if(figures.requests, [&](const RequestFigures& r) { return r.devices == calibration.requests_of; });
  figures.requests.push_back(
      {calibration.requests_of, calibration.program, calibration::now_in_words(), machine.costs->requests().save()});
}

template <typename Section>
void keep_youngest(std::vector<Section>& sections, size_t most) {
  if (sections.size() <= most) return;
  std::stable_sort(sections.begin(), sections.end(),
                   [](const Section& a, const Section& b) { return a.created > b.created; });
  sections.resize(most);
}

void Calibrator::write_file() {
  note_learned(machine_, result_, figures_);
  keep_youngest(figures_.devices, kMostSections);
  keep_youngest(figures_.requests, kMostRequestSets);
  const Status written = result_.path.empty() ? Status() : calibration::write_figures(result_.path, figures_);
  if (written.ok()) return;
  spdlog::warn("{}", written.error().message);
  result_.path.clear();
}

// The confidence of a device's figures, in short.
void Calibrator::report() {
  for (DeviceId id = 0; id < count(); ++id) {
    const DeviceFigures* figures = figures_of(id);
    CalibratedDevice& told = result_.devices[id];
    if (figures == nullptr) continue;
    std::vector<double> widths;
    told.level = 1;
    const auto add = [&](const calibration::Summary& s) {
      widths.push_back(s.half_width);
      told.samples += s.estimate.samples;
      told.level = std::min(told.level, s.level);
    };
    for (const ComputePoint& p : figures->points) add(p.taken);
    if (figures->storage)
      for (const auto& p : figures->storage->points) add(p.taken);
    if (figures->transfers)
      for (const auto& p : figures->transfers->points) add(p.taken);
    told.created = figures->created;
    told.figures = static_cast<int64_t>(widths.size());
    told.worst_half_width = widths.empty() ? 0 : *std::max_element(widths.begin(), widths.end());
    told.half_width = calibration::median(std::move(widths));
    told.tuning = figures->tuning;
    told.contention = figures->contention;
    told.overlap = figures->overlap;
    told.doubts = figures->doubts;
  }
}

}  // namespace

Result<Calibration> calibrate(Machine& machine, const Store& store, const CalibrationOptions& options) {
  return Calibrator(machine, store, options).run();
}

Status save_learned(Machine& machine, const Calibration& calibration) {
  if (calibration.path.empty() || !machine.costs || !machine.costs->learned()) return {};
  bool found = false;
  TESSERA_ASSIGN(Figures figures, calibration::read_figures(calibration.path, calibration.fingerprint, &found));
  if (!found) return {};
  note_learned(machine, calibration, figures);
  TESSERA_TRY(calibration::write_figures(calibration.path, figures));
  machine.costs->mark_saved();
  return {};
}

}  // namespace tessera
