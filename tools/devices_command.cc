// Lists the devices of this machine: what is here, what is not and why, with calibrated figures.
#include <cstdio>

#include <spdlog/spdlog.h>

#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/machine_source.h"
#include "tools/terminal.h"

namespace tessera {
namespace {

// The figures of one device.
Json figures_json(const std::string& device, const std::vector<DeviceFigure>& figures) {
  Json list = Json::array();
  for (const DeviceFigure& figure : figures) {
    if (figure.device != device) continue;
    list.push_back({{"task", figure.what},
                    {"mean_ms", figure.estimate.mean.ms()},
                    {"p95_ms", figure.estimate.p95.ms()},
                    {"bytes_per_second", figure.rate.value > 0 ? Json(figure.rate.value) : Json(nullptr)},
                    {"provenance", to_string(figure.estimate.provenance)},
                    {"samples", figure.estimate.samples}});
  }
  return list;
}

Json device_json(const DeviceDescription& device, const Platform& platform, const Calibration& calibration,
                 const std::vector<DeviceFigure>& figures) {
  Json properties = Json::object();
  for (const auto& [name, value] : device.properties) properties[name] = value;
  const Bytes capacity = device.memory_capacity;
  return {{"name", device.name},
          {"kind", to_string(device.kind)},
          {"backend", device.backend},
          {"available", device.available},
          {"why", device.available ? Json(nullptr) : Json(device.why)},
          {"notes", device.available && !device.why.empty() ? Json(device.why) : Json(nullptr)},
          {"emulated", device.emulated},
          {"memory", device.available ? Json(platform.memories[device.memory].name) : Json(nullptr)},
          {"memory_bytes", capacity == kUnlimited ? Json(nullptr) : Json(capacity.n)},
          {"threads", device.threads},
          {"calibrated", device.available && !calibration.created.empty() ? Json(calibration.created) : Json(nullptr)},
          {"figures", figures_json(device.name, figures)},
          {"properties", std::move(properties)}};
}

void print_device(const DeviceDescription& device, const std::vector<DeviceFigure>& figures, const Painter& paint) {
  const Paint state = device.available ? Paint::kGood : Paint::kWarn;
  std::printf("%s %s %s %s", paint(Paint::kBold, pad(device.name, 8)).c_str(),
              pad(std::string(to_string(device.kind)), 8).c_str(), pad(device.backend, 8).c_str(),
              paint(state, pad(device.available ? "available" : "not here", 10)).c_str());
  if (device.emulated) std::printf(" emulated");
  if (computes(device.kind) && device.available) {
    std::printf(" %d threads", device.threads);
    if (device.memory_capacity != kUnlimited) std::printf(", %s", to_string(device.memory_capacity).c_str());
  }
  if (!device.why.empty()) std::printf(" %s", device.why.c_str());
  std::printf("\n");
  for (const auto& [name, value] : device.properties) std::printf("         %s: %s\n", name.c_str(), value.c_str());
  for (const DeviceFigure& figure : figures)
    if (figure.device == device.name) std::printf("         %s\n", figure_line(figure).c_str());
}

struct Found {
  OpenedModel model;
  OpenedMachine machine;
  std::vector<DeviceFigure> figures;
};

// Devices are listed even where there is no model to calibrate with.
Result<Found> find(const ModelFlags& model, const MachineFlags& machine) {
  Found found;
  auto opened = open_model(model, 0);
  if (!opened.ok()) {
    if (!model.model.empty()) return opened.error();
    spdlog::warn("no calibrated figures: {}", opened.error().message);
    TESSERA_ASSIGN(found.machine.machine, local_machine(machine.backend_options(), {}));
    return found;
  }
  found.model = opened.take();
  TESSERA_ASSIGN(found.machine, open_machine(machine, found.model, model.cold, false));
  found.figures = device_figures(found.machine.machine, found.model.shape);
  return found;
}

}  // namespace

int devices_command(int argc, const char* const* argv) {
  CLI::App app("Lists what is here, what is not and why, with calibrated figures and where they come from.", "devices");
  app.footer("Example: tessera devices --format json");
  OutputFlags output;
  ModelFlags model;
  MachineFlags flags;
  add_model_flags(app, model);
  add_bandwidth_flag(app, flags);
  add_output_flags(app, output);
  if (const auto code = parse_flags(app, argc, argv)) return *code;
  const auto found = find(model, flags);
  if (!found.ok()) return fail("devices", found.error(), output.json);
  const Platform& platform = found->machine.machine.platform;
  const Calibration& calibration = found->machine.calibration;
  if (output.json) {
    Json document = new_document();
    Json& list = document["devices"] = Json::array();
    for (const DeviceDescription& device : platform.devices)
      list.push_back(device_json(device, platform, calibration, found->figures));
    document["calibration"] = calibration.path.empty() ? Json(nullptr) : Json(calibration.path);
    print_json(document);
    return 0;
  }
  const Painter paint(colours_wanted());
  for (const DeviceDescription& device : platform.devices) print_device(device, found->figures, paint);
  if (!calibration.created.empty())
    std::printf("calibrated %s: %s\n", calibration.created.c_str(),
                calibration.path.empty() ? "not kept, the cache folder cannot be written" : calibration.path.c_str());
  return 0;
}

}  // namespace tessera
