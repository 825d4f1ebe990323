// Lists the devices of this machine: what is here, what is not and why, with calibrated figures.
#include <algorithm>
#include <cstdio>

#include <spdlog/spdlog.h>

#include "tools/commands.h"
#include "tools/device_figures.h"
#include "tools/flags.h"
#include "tools/loaded_plugins.h"
#include "tools/machine_source.h"
#include "tools/process_facts.h"
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

// When the device was measured; empty: it was not.
std::string measured_on(const DeviceDescription& device, const Calibration& calibration) {
  for (const CalibratedDevice& d : calibration.devices)
    if (d.name == device.name && d.figures > 0) return d.created;
  return {};
}

Json device_json(const DeviceDescription& device, const Platform& platform, const Calibration& calibration,
                 const std::vector<DeviceFigure>& figures) {
  const std::string measured = measured_on(device, calibration);
  Json properties = Json::object();
  for (const auto& [name, value] : device.properties) properties[name] = value;
  Json calibrated = nullptr;
  for (const CalibratedDevice& known : calibration.devices)
    if (known.name == device.name) calibrated = calibration_json(known);
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
          {"shared_with_host", device.shared_with_host},
          {"link", device.link.empty() ? Json(nullptr) : Json(device.link)},
          {"threads", device.threads},
          {"calibrated", measured.empty() ? Json(nullptr) : Json(measured)},
          {"calibration", std::move(calibrated)},
          {"figures", figures_json(device.name, figures)},
          {"properties", std::move(properties)}};
}

// "host 23.4 GiB": whose budget its operands are charged to, and how much there is.
std::string memory_text(const DeviceDescription& device, const Platform& platform) {
  if (!device.available) return "-";
  const Bytes capacity = device.memory_capacity;
  return platform.memories[device.memory].name + (capacity == kUnlimited ? "" : " " + to_string(capacity));
}

// The cells of one device's row; the last one, "why", is as long as it is, or not there.
std::vector<std::string> row(const DeviceDescription& device, const Platform& platform, const Calibration& calibration) {
  const std::string calibrated = measured_on(device, calibration);
  std::string state = device.available ? "available" : "not here";
  if (device.emulated) state += ", emulated";
  return {device.name,
          std::string(to_string(device.kind)),
          device.backend,
          state,
          memory_text(device, platform),
          !device.available         ? "-"
          : device.shared_with_host ? "host's"
                                    : "own",
          device.link.empty() ? "-" : device.link,
          calibrated.empty() ? "-" : calibrated.substr(0, 10),
          device.why};
}

void print_details(const DeviceDescription& device, const Calibration& calibration,
                   const std::vector<DeviceFigure>& figures) {
  for (const auto& [name, value] : device.properties) std::printf("         %s: %s\n", name.c_str(), value.c_str());
  if (device.available && !calibration.devices.empty() && measured_on(device, calibration).empty())
    std::printf("         not measured yet: by `tessera calibrate`, or when it is first used\n");
  for (const CalibratedDevice& calibrated : calibration.devices)
    if (calibrated.name == device.name && calibrated.figures > 0)
      for (const std::string& line : calibration_lines(calibrated)) std::printf("         %s\n", line.c_str());
  for (const DeviceFigure& figure : figures)
    if (figure.device == device.name) std::printf("         %s\n", figure_line(figure).c_str());
}

void print_table(const Platform& platform, const Calibration& calibration, const std::vector<DeviceFigure>& figures) {
  const Painter paint(colours_wanted());
  std::vector<std::vector<std::string>> rows{
      {"device", "kind", "backend", "state", "memory", "of", "link", "calibrated", "notes"}};
  for (const DeviceDescription& device : platform.devices) rows.push_back(row(device, platform, calibration));
  std::vector<int> widths(rows[0].size());
  for (const auto& cells_of_row : rows)
    for (size_t c = 0; c < cells_of_row.size(); ++c) widths[c] = std::max(widths[c], cells(cells_of_row[c]));
  for (size_t r = 0; r < rows.size(); ++r) {
    while (rows[r].back().empty()) rows[r].pop_back();
    std::string line;
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const bool state = r > 0 && c == 3;
      const Paint as = r == 0   ? Paint::kDim
                       : c == 0 ? Paint::kBold
                       : !state ? Paint::kPlain
                                : (platform.devices[r - 1].available ? Paint::kGood : Paint::kWarn);
      const bool last = c + 1 == rows[r].size();
      line += paint(as, last ? rows[r][c] : pad(rows[r][c], widths[c])) + (last ? "\n" : "  ");
    }
    std::fputs(line.c_str(), stdout);
    if (r > 0) print_details(platform.devices[r - 1], calibration, figures);
  }
}

struct Found {
  OpenedModel model;
  OpenedMachine machine;
  std::vector<DeviceFigure> figures;
};

// Devices are listed even where there is no model to calibrate with, or one of them fails.
Result<Found> find(const ModelFlags& model, const MachineFlags& machine) {
  Found found;
  auto opened = open_model(model, 0);
  if (!opened.ok()) {
    if (!model.model.empty()) return opened.error();
    spdlog::warn("no calibrated figures: {}", opened.error().message);
    TESSERA_ASSIGN(found.machine.machine, local_machine(machine.backend_options(), {"all"}));
    return found;
  }
  found.model = opened.take();
  // What every request may use is measured on first use; the rest, which takes longer, only where somebody asks for it.
  if (const auto measured = open_machine(machine, found.model, model.cold, false); !measured.ok()) {
    if (measured.error().code == ErrorCode::kCancelled) return measured.error();
    spdlog::warn("not calibrated: {}", measured.error().message);
  }
  TESSERA_ASSIGN(found.machine.machine, local_machine(machine.backend_options(), {"all"}));
  CalibrationOptions options;
  options.cold = model.cold;
  options.version = program_version();
  options.read_only = true;
  TESSERA_ASSIGN(found.machine.calibration, calibrate(found.machine.machine, *found.model.store, options));
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
    document["plugins"] = plugins_json();
    document["calibration"] = calibration.path.empty() ? Json(nullptr) : Json(calibration.path);
    print_json(document);
    return 0;
  }
  print_table(platform, calibration, found->figures);
  print_refused_plugins();
  if (!calibration.created.empty())
    std::printf("calibrated %s: %s\n", calibration.created.c_str(),
                calibration.path.empty() ? "not kept, the cache folder cannot be written" : calibration.path.c_str());
  return 0;
}

}  // namespace tessera
