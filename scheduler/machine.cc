// Makes the machine that this process runs on: every registered backend, and the devices that it found.
#include <algorithm>

#include <unistd.h>

#include "framework/registry.h"
#include "scheduler/session.h"

namespace tessera {
namespace {

// A device and where it comes from, before it has its place on the platform.
struct Found {
  DeviceDescription description;
  DeviceBinding binding;
};

Bytes physical_memory() {
  const int64_t pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? Bytes{pages * page} : kUnlimited;
}

std::vector<Found> find_devices(const BackendOptions& options, Machine& machine) {
  std::vector<Found> found;
  for (const auto& entry : backends().entries()) {
    machine.backends.push_back(entry.make(options));
    Backend* backend = machine.backends.back().get();
    std::vector<DeviceDescription> devices = backend->describe();
    for (int i = 0; i < static_cast<int>(devices.size()); ++i) found.push_back({std::move(devices[i]), {backend, i}});
  }
  // Storage first, then what can be used, then what is not here: devices without a binding come last.
  const auto rank = [](const Found& f) {
    return !f.description.available ? 2 : f.description.kind == DeviceKind::kStorage ? 0 : 1;
  };
  std::stable_sort(found.begin(), found.end(), [&](const Found& a, const Found& b) { return rank(a) < rank(b); });
  return found;
}

// Keeps storage and the devices named, in the order named.
Result<std::vector<Found>> choose(std::vector<Found> found, const std::vector<std::string>& only) {
  if (only.empty()) return found;
  std::vector<Found> chosen;
  std::vector<std::string> known;
  for (const Found& f : found) {
    if (computes(f.description.kind)) known.push_back(f.description.name);
    if (f.description.kind == DeviceKind::kStorage && f.description.available) chosen.push_back(f);
  }
  for (const std::string& name : only) {
    const auto at = std::find_if(found.begin(), found.end(), [&](const Found& f) { return f.description.name == name; });
    if (at == found.end()) return Error{ErrorCode::kInvalid, unknown_name("device", name, known)};
    const DeviceDescription& d = at->description;
    if (!d.available) return Error{ErrorCode::kUnavailable, "device " + name + " is not available: " + d.why};
    const bool listed =
        std::any_of(chosen.begin(), chosen.end(), [&](const Found& f) { return f.description.name == name; });
    if (!listed) chosen.push_back(*at);
  }
  return chosen;
}

void place(Found& f, Machine& machine) {
  Platform& platform = machine.platform;
  DeviceDescription& d = f.description;
  d.memory = 0;
  if (d.available && !d.shared_with_host) {
    d.memory = static_cast<MemoryId>(platform.memories.size());
    platform.memories.push_back({d.name, d.memory_capacity});
  }
  if (d.shared_with_host) d.memory_capacity = std::min(d.memory_capacity, platform.memories[0].capacity);
  platform.devices.push_back(d);
  if (d.available) machine.bindings.push_back(f.binding);
}

}  // namespace

Result<Machine> local_machine(const BackendOptions& options, const std::vector<std::string>& only) {
  Machine machine;
  machine.platform.name = "host";
  machine.platform.memories[0].capacity = physical_memory();
  machine.costs = std::make_shared<CostBook>();
  TESSERA_ASSIGN(auto chosen, choose(find_devices(options, machine), only));
  if (chosen.size() > 255)
    return Error{ErrorCode::kInvalid, std::to_string(chosen.size()) + " devices; at most 255 are used"};
  for (Found& f : chosen) place(f, machine);
  if (!machine.platform.first(DeviceKind::kStorage)) {
    return Error{ErrorCode::kUnavailable, "no storage device: this build has no backend that loads"};
  }
  return machine;
}

}  // namespace tessera
