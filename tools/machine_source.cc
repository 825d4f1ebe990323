// Makes machines.
#include "tools/machine_source.h"

#include <algorithm>

#include "configs/loader.h"
#include "tools/process_facts.h"

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

// Computes only on the named devices.
Status keep_devices(const std::vector<std::string>& wanted, Platform& platform) {
  if (wanted.empty() || std::find(wanted.begin(), wanted.end(), "all") != wanted.end()) return {};
  std::vector<std::string> known;
  for (const DeviceDescription& d : platform.devices)
    if (computes(d.kind)) known.push_back(d.name);
  for (const std::string& name : wanted)
    if (std::find(known.begin(), known.end(), name) == known.end())
      return Error{ErrorCode::kInvalid, "--devices: " + unknown_name("device", name, known)};
  for (DeviceDescription& d : platform.devices) {
    const bool named = std::find(wanted.begin(), wanted.end(), d.name) != wanted.end();
    if (!computes(d.kind) || named) continue;
    d.available = false;
    d.why = "not among --devices";
  }
  return {};
}

Result<OpenedMachine> described_machine(const MachineFlags& flags, const ModelShape& shape) {
  if (flags.bandwidth.value > 0 || flags.threads > 0)
    return Error{ErrorCode::kInvalid,
                 "--bandwidth and --threads are for this machine; " + flags.platform + " tells its own"};
  OpenedMachine opened;
  TESSERA_ASSIGN(opened.machine, load_platform(flags.platform, shape));
  TESSERA_TRY(keep_devices(flags.devices, opened.machine.platform));
  return opened;
}

// Without a store there is nothing to calibrate with: the backends' own estimates answer.
void set_guesses(Machine& machine, const ModelShape& shape) {
  for (size_t d = 0; d < machine.bindings.size(); ++d) {
    const DeviceBinding binding = machine.bindings[d];
    machine.costs->set_guess(static_cast<DeviceId>(d), [binding, &shape](const CostKey& key) {
      return binding.backend->estimate(binding.device, key, shape);
    });
  }
}

Result<OpenedMachine> this_machine(const MachineFlags& flags, const OpenedModel& model, bool cold) {
  OpenedMachine opened;
  TESSERA_ASSIGN(opened.machine, local_machine(flags.backend_options(), flags.devices));
  if (!model.store) {
    set_guesses(opened.machine, model.shape);
    return opened;
  }
  CalibrationOptions options;
  options.cold = cold;
  options.version = program_version();
  options.policy = kPlainPipeline;
  options.directory = flags.calibration;
  options.read_only = !flags.calibration.empty();
  TESSERA_ASSIGN(opened.calibration, calibrate(opened.machine, *model.store, options));
  return opened;
}

}  // namespace

Result<OpenedMachine> open_machine(const MachineFlags& flags, const OpenedModel& model, bool cold, bool plan_only) {
  const bool described = !flags.platform.empty();
  if (described && !flags.virtual_time && !plan_only)
    return Error{ErrorCode::kInvalid,
                 "--platform " + flags.platform + " describes a machine that is not here; add --virtual"};
  if (flags.jitter && (described || !flags.virtual_time))
    return Error{ErrorCode::kInvalid, described ? "--jitter is for this machine; " + flags.platform + " tells its own"
                                                : "--jitter draws what virtual time leaves out; add --virtual"};
  TESSERA_ASSIGN(OpenedMachine opened, described ? described_machine(flags, model.shape) : this_machine(flags, model, cold));
  TESSERA_TRY(limit_devices(flags, opened.machine.platform));
  if (flags.virtual_time) opened.machine.virtual_time = true;
  return opened;
}

}  // namespace tessera
