// Measures the devices of this machine and prints what was found.
#include <cstdio>

#include "tools/commands.h"
#include "tools/device_figures.h"
#include "tools/flags.h"
#include "tools/machine_source.h"
#include "tools/process_facts.h"
#include "tools/terminal.h"

namespace tessera {
namespace {

struct CalibrateFlags {
  OutputFlags output;
  ModelFlags model;
  MachineFlags machine;
  bool again = false;
};

void print_device(const CalibratedDevice& device, const std::vector<DeviceFigure>& figures, const Painter& paint) {
  const char* indent = "         ";
  bool first = true;
  for (const std::string& line : calibration_lines(device)) {
    const std::string shown = line.starts_with("ABSURD") ? paint(Paint::kBad, line) : line;
    std::printf("%s%s\n", first ? paint(Paint::kBold, pad(device.name, 8) + " ").c_str() : indent, shown.c_str());
    first = false;
  }
  for (const DeviceFigure& figure : figures)
    if (figure.device == device.name) std::printf("%s%s\n", indent, figure_line(figure).c_str());
}

Result<int> execute(const CalibrateFlags& flags) {
  TESSERA_ASSIGN(const OpenedModel model, open_model(flags.model, flags.output.seed));
  std::vector<std::string> devices = flags.machine.devices;
  if (devices.empty()) devices = {"all"};
  TESSERA_ASSIGN(Machine machine, local_machine(flags.machine.backend_options(), devices));
  CalibrationOptions options;
  options.cold = flags.model.cold;
  options.again = flags.again;
  options.check = true;
  options.version = program_version();
  options.policy = kPlainPipeline;
  TESSERA_ASSIGN(const Calibration calibration, calibrate(machine, *model.store, options));
  const std::vector<DeviceFigure> figures = device_figures(machine, model.shape);
  if (flags.output.json) {
    Json document = new_document();
    document["calibration"] = {{"path", calibration.path.empty() ? Json(nullptr) : Json(calibration.path)},
                               {"fingerprint", calibration.fingerprint},
                               {"created", calibration.created},
                               {"took_ms", calibration.took.ms()},
                               {"drift_bound", kDriftBound}};
    Json& devices_list = document["devices"] = Json::array();
    for (const CalibratedDevice& device : calibration.devices) devices_list.push_back(calibration_json(device));
    Json& list = document["figures"] = Json::array();
    for (const DeviceFigure& figure : figures)
      list.push_back({{"device", figure.device},
                      {"task", figure.what},
                      {"mean_ms", figure.estimate.mean.ms()},
                      {"p95_ms", figure.estimate.p95.ms()},
                      {"bytes_per_second", figure.rate.value > 0 ? Json(figure.rate.value) : Json(nullptr)},
                      {"provenance", to_string(figure.estimate.provenance)},
                      {"samples", figure.estimate.samples}});
    print_json(document);
    return 0;
  }
  const Painter paint(colours_wanted());
  std::printf("%s\n", calibration.fingerprint.c_str());
  for (const CalibratedDevice& device : calibration.devices) print_device(device, figures, paint);
  if (calibration.measured) std::printf("measured in %s\n", to_string(calibration.took).c_str());
  std::printf("%s\n", calibration.path.empty() ? "not kept: the cache folder cannot be written" : calibration.path.c_str());
  return 0;
}

}  // namespace

int calibrate_command(int argc, const char* const* argv) {
  CLI::App app(
      "Measures the devices of this machine that have no figures yet, or whose figures have drifted by more than "
      "25 %; writes the calibration file.",
      "calibrate");
  app.footer("Example: tessera calibrate --cold");
  CalibrateFlags flags;
  add_model_flags(app, flags.model);
  app.add_option("--threads", flags.machine.threads, "Threads of the CPU (default: all cores)")
      ->type_name("K")
      ->check(CLI::Range(1, 4096));
  app.add_option("--devices", flags.machine.devices, "Devices to measure (default: all)")
      ->delimiter(',')
      ->type_name("A,B|all")
      ->expected(1, 255)
      ->allow_extra_args(false);
  app.add_flag("--again", flags.again, "Measure all of them anew, drifted or not");
  add_bandwidth_flag(app, flags.machine);
  add_output_flags(app, flags.output);
  if (const auto code = parse_flags(app, argc, argv)) return *code;
  const auto code = execute(flags);
  return code.ok() ? *code : fail("calibrate", code.error(), flags.output.json);
}

}  // namespace tessera
