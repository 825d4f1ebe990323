// Asks cost models for a few typical tasks, and tells how sure calibration is.
#include "tools/device_figures.h"

#include <cstdio>

#include "tools/machine_source.h"

namespace tessera {
namespace {

constexpr int kFigureTokens = 64;

DeviceFigure load_figure(const Machine& machine, DeviceId device, Bytes bytes) {
  CostKey key;
  key.device = device;
  key.op = Op::kLoadShards;
  key.reads = 1;
  key.bytes = bytes.n;
  const Estimate estimate = machine.costs->estimate(key);
  const double seconds = estimate.mean.seconds();
  return {machine.platform.devices[device].name,
          "load " + to_string(bytes),
          estimate,
          {seconds > 0 ? static_cast<double>(bytes.n) / seconds : 0}};
}

DeviceFigure transfer_figure(const Machine& machine, DeviceId device, Bytes bytes, bool to_host) {
  CostKey key;
  key.device = device;
  key.op = Op::kTransfer;
  key.to_host = to_host;
  key.bytes = bytes.n;
  const Estimate estimate = machine.costs->estimate(key);
  const double seconds = estimate.mean.seconds();
  return {machine.platform.devices[device].name,
          to_string(bytes) + (to_host ? " to the host" : " to the device"),
          estimate,
          {seconds > 0 ? static_cast<double>(bytes.n) / seconds : 0}};
}

DeviceFigure layer_figure(const Machine& machine, DeviceId device, const ModelShape& shape, Bits bits) {
  CostKey key;
  key.device = device;
  key.op = Op::kLayer;
  key.tokens = kFigureTokens;
  key.slices = static_cast<uint8_t>(shape.slices);
  key.bits[static_cast<size_t>(bits_level(bits))] = static_cast<uint8_t>(shape.slices);
  const std::string name = bits == kExact ? "exact" : std::to_string(bits) + (bits == 1 ? " bit" : " bits");
  return {machine.platform.devices[device].name,
          "layer, " + std::to_string(kFigureTokens) + " tokens, " + std::to_string(shape.slices) + " slices, " + name,
          machine.costs->estimate(key),
          {0}};
}

}  // namespace

std::vector<std::string> calibration_lines(const CalibratedDevice& device) {
  std::vector<std::string> lines;
  char text[200];
  std::string first = device.measured ? "measured now" : "kept";
  if (!device.why.empty()) first += " (" + device.why + ")";
  if (!device.measured && !device.created.empty()) first += " of " + device.created;
  std::snprintf(text, sizeof text,
                ": %lld figures, %lld samples, medians within %.1f %% (worst %.0f %%, at %.0f %% confidence or more)",
                static_cast<long long>(device.figures), static_cast<long long>(device.samples), device.half_width * 100,
                device.worst_half_width * 100, device.level * 100);
  lines.push_back(first + (device.figures > 0 ? text : ": no figures"));
  if (device.contention) {
    const Contention& c = *device.contention;
    std::snprintf(text, sizeof text,
                  "while storage is read: exact layers x%.2f, layers at the lowest bits x%.2f; loads while computing x%.2f",
                  c.compute, c.decode, c.load);
    lines.emplace_back(text);
  }
  if (!device.tuning.empty()) lines.push_back("tuned: " + device.tuning);
  for (const std::string& doubt : device.doubts) lines.push_back("ABSURD: " + doubt);
  return lines;
}

Json calibration_json(const CalibratedDevice& device) {
  Json contention = nullptr;
  if (device.contention)
    contention = {{"load", device.contention->load},
                  {"compute", device.contention->compute},
                  {"decode", device.contention->decode},
                  {"samples", device.contention->samples}};
  return {{"device", device.name},
          {"measured", device.measured},
          {"why", device.why.empty() ? Json(nullptr) : Json(device.why)},
          {"created", device.created.empty() ? Json(nullptr) : Json(device.created)},
          {"figures", device.figures},
          {"samples", device.samples},
          {"half_width", device.half_width},
          {"worst_half_width", device.worst_half_width},
          {"confidence", device.level},
          {"contention", std::move(contention)},
          {"tuning", device.tuning.empty() ? Json(nullptr) : Json(device.tuning)},
          {"absurd", device.doubts}};
}

std::string figure_line(const DeviceFigure& figure) {
  std::string line = figure.what;
  line.append(line.size() < 44 ? 44 - line.size() : 1, ' ');
  line += to_string(figure.estimate.mean) + " (p95 " + to_string(figure.estimate.p95) + ")";
  if (figure.rate.value > 0) line += ", " + to_string(figure.rate);
  line += "; ";
  line += to_string(figure.estimate.provenance);
  if (figure.estimate.samples > 0) line += ", " + std::to_string(figure.estimate.samples) + " samples";
  return line;
}

std::vector<DeviceFigure> device_figures(const Machine& machine, const ModelShape& shape) {
  std::vector<DeviceFigure> figures;
  for (size_t d = 0; d < machine.platform.devices.size(); ++d) {
    const DeviceDescription& device = machine.platform.devices[d];
    const auto id = static_cast<DeviceId>(d);
    if (!device.available) continue;
    if (device.kind == DeviceKind::kStorage)
      for (const Bytes bytes : {kib(4), kib(64), mib(1)}) figures.push_back(load_figure(machine, id, bytes));
    if (device.kind == DeviceKind::kLink || device.own_buffers)
      for (const bool to_host : {false, true})
        for (const Bytes bytes : {kib(64), mib(1)}) figures.push_back(transfer_figure(machine, id, bytes, to_host));
    if (computes(device.kind)) {
      for (const Bits bits : shape.bitwidths)
        if (bits == shape.bitwidths.front() || bits == 6 || bits == kExact)
          figures.push_back(layer_figure(machine, id, shape, bits));
    }
  }
  return figures;
}

}  // namespace tessera
