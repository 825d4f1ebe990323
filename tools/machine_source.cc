// Makes machines.
#include "tools/machine_source.h"

#include <algorithm>

namespace tessera {
namespace {

// The budgets of --memory gpu0=64MiB become capacities of the devices' own memories.
Status limit_devices(const MachineFlags& flags, Platform& platform) {
  for (const auto& [name, bytes] : flags.device_memory) {
    const auto device = platform.find(name);
    if (!device) {
      std::vector<std::string> known{"host"};
      for (const DeviceDescription& d : platform.devices) known.push_back(d.name);
      return Error{ErrorCode::kInvalid, "--memory: " + unknown_name("device", name, known)};
    }
    const DeviceDescription& description = platform.devices[*device];
    if (description.shared_with_host)
      return Error{ErrorCode::kInvalid,
                   "--memory " + name + "=...: " + name + " draws on the host's memory; give --memory BYTES"};
    Bytes& capacity = platform.memories[description.memory].capacity;
    capacity = std::min(capacity, bytes);
  }
  return {};
}

std::vector<std::string> wanted_devices(const MachineFlags& flags) {
  if (flags.devices.size() == 1 && flags.devices[0] == "all") return {};
  return flags.devices;
}

}  // namespace

Result<Machine> open_machine(const MachineFlags& flags, const ModelShape& shape, bool plan_only) {
  (void)shape;
  if (!flags.platform.empty() && !flags.virtual_time && !plan_only)
    return Error{ErrorCode::kInvalid,
                 "--platform " + flags.platform + " describes a machine that is not here; add --virtual"};
  TESSERA_ASSIGN(Machine machine, local_machine(flags.backend_options(), wanted_devices(flags)));
  TESSERA_TRY(limit_devices(flags, machine.platform));
  return machine;
}

}  // namespace tessera
