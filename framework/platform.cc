// Finds devices of a platform by name and by kind.
#include "framework/platform.h"

namespace tessera {

std::string_view to_string(DeviceKind k) {
  switch (k) {
    case DeviceKind::kCpu:
      return "cpu";
    case DeviceKind::kGpu:
      return "gpu";
    case DeviceKind::kFpga:
      return "fpga";
    case DeviceKind::kNpu:
      return "npu";
    case DeviceKind::kStorage:
      return "storage";
    case DeviceKind::kLink:
      return "link";
  }
  return "unknown";
}

std::optional<DeviceId> Platform::find(std::string_view device) const {
  for (size_t d = 0; d < devices.size(); ++d)
    if (devices[d].name == device) return static_cast<DeviceId>(d);
  return std::nullopt;
}

DeviceId Platform::link_of(DeviceId device) const {
  const std::string& link = devices[device].link;
  if (link.empty()) return device;
  const std::optional<DeviceId> found = find(link);
  return found && devices[*found].available ? *found : device;
}

std::optional<DeviceId> Platform::first(DeviceKind kind) const {
  for (size_t d = 0; d < devices.size(); ++d)
    if (devices[d].kind == kind && devices[d].available) return static_cast<DeviceId>(d);
  return std::nullopt;
}

}  // namespace tessera
