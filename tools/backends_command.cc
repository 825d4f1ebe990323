// Lists the registered backends and the devices that each drives.
#include <cstdio>

#include "framework/registry.h"
#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/loaded_plugins.h"
#include "tools/terminal.h"

namespace tessera {
namespace {

std::string device_line(const DeviceDescription& device) {
  std::string line = device.name + " (" + std::string(to_string(device.kind)) + ")";
  if (!device.available) line += " unavailable";
  if (!device.why.empty()) line += ": " + device.why;
  return line;
}

Json backend_json(const Registry<BackendFactory>::Entry& entry, const Backend& backend) {
  Json devices = Json::array();
  for (const DeviceDescription& device : backend.describe())
    devices.push_back({{"name", device.name},
                       {"kind", to_string(device.kind)},
                       {"available", device.available},
                       {"why", device.why.empty() ? Json(nullptr) : Json(device.why)},
                       {"emulated", device.emulated}});
  return {{"name", entry.name}, {"source", entry.source}, {"on_demand", entry.on_demand}, {"devices", std::move(devices)}};
}

}  // namespace

int backends_command(int argc, const char* const* argv) {
  CLI::App app("Lists what may execute, with the folder that holds each and its devices.", "backends");
  app.footer("Example: tessera backends --format json");
  OutputFlags output;
  add_output_flags(app, output);
  if (const auto code = parse_flags(app, argc, argv)) return *code;
  Json document = new_document();
  Json& list = document["backends"] = Json::array();
  const Painter paint(colours_wanted());
  for (const auto& entry : backends().entries()) {
    const auto backend = entry.make(BackendOptions{});
    if (output.json) {
      list.push_back(backend_json(entry, *backend));
      continue;
    }
    std::string line;
    for (const DeviceDescription& device : backend->describe()) line += (line.empty() ? "" : "; ") + device_line(device);
    std::printf("%s %s: %s\n", paint(Paint::kBold, pad(entry.name, 10)).c_str(), entry.source.c_str(),
                line.empty() ? "no devices" : line.c_str());
  }
  if (!output.json) {
    print_refused_plugins();
    return 0;
  }
  document["plugins"] = plugins_json();
  print_json(document);
  return 0;
}

}  // namespace tessera
