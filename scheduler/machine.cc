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

// What is looked at: "all"; devices by name; or, with no names, what needs no vendor's library.
class Wanted {
 public:
  explicit Wanted(const std::vector<std::string>& names)
      : names_(names), all_(std::find(names.begin(), names.end(), "all") != names.end()) {}
  bool by_name() const { return !all_ && !names_.empty(); }
  const std::vector<std::string>& names() const { return names_; }
  // Devices are named after their backend: "opencl0".
  bool asks(const Registry<BackendFactory>::Entry& backend) const {
    return all_ || !backend.on_demand || std::any_of(names_.begin(), names_.end(), [&](const std::string& name) {
             return name.starts_with(backend.name);
           });
  }

 private:
  const std::vector<std::string>& names_;
  const bool all_;
};

const Found* find(const std::vector<Found>& found, const std::string& name) {
  const auto at = std::find_if(found.begin(), found.end(), [&](const Found& f) { return f.description.name == name; });
  return at == found.end() ? nullptr : &*at;
}

// Appends a backend and its devices. Names are given once: who comes second is not available.
void look_at(const Registry<BackendFactory>::Entry& entry, const BackendOptions& options, Machine& machine,
             std::vector<Found>& found) {
  machine.backends.push_back(entry.make(options));
  Backend* backend = machine.backends.back().get();
  std::vector<DeviceDescription> devices = backend->describe();
  for (int i = 0; i < static_cast<int>(devices.size()); ++i) {
    DeviceDescription& d = devices[i];
    d.backend = entry.name;
    if (const Found* other = find(found, d.name)) {
      d.available = false;
      d.why =
          "backend " + other->description.backend + " has a device of this name, too; rename it in backend " + entry.name;
    }
    found.push_back({std::move(d), {backend, i}});
  }
}

std::vector<Found> find_devices(const BackendOptions& options, const Wanted& wanted, Machine& machine) {
  std::vector<Found> found;
  for (const auto& entry : backends().entries())
    if (wanted.asks(entry)) look_at(entry, options, machine, found);
  // Storage first, then what can be used, then what is not here: devices without a binding come last.
  const auto rank = [](const Found& f) {
    return !f.description.available ? 2 : f.description.kind == DeviceKind::kStorage ? 0 : 1;
  };
  std::stable_sort(found.begin(), found.end(), [&](const Found& a, const Found& b) { return rank(a) < rank(b); });
  return found;
}

// The error for a name that no device has: now every backend is asked, so that all that is known is listed.
Error unknown_device(const std::string& name, const BackendOptions& options) {
  Machine unused;
  const std::vector<std::string> all{"all"};
  std::vector<std::string> known;
  for (const Found& f : find_devices(options, Wanted(all), unused))
    if (computes(f.description.kind)) known.push_back(f.description.name);
  return {ErrorCode::kInvalid, unknown_name("device", name, known)};
}

// Keeps storage and the devices named, in the order named, each with its link.
Result<std::vector<Found>> choose(std::vector<Found> found, const Wanted& wanted, const BackendOptions& options) {
  if (!wanted.by_name()) return found;
  std::vector<Found> chosen;
  for (const Found& f : found)
    if (f.description.kind == DeviceKind::kStorage && f.description.available) chosen.push_back(f);
  for (const std::string& name : wanted.names()) {
    const Found* at = find(found, name);
    if (at == nullptr) return unknown_device(name, options);
    const DeviceDescription& d = at->description;
    if (!d.available) return Error{ErrorCode::kUnavailable, "device " + name + " is not available: " + d.why};
    if (find(chosen, name) != nullptr) continue;
    chosen.push_back(*at);
    const Found* link = d.link.empty() ? nullptr : find(found, d.link);
    if (link != nullptr && link->description.available) chosen.push_back(*link);
  }
  return chosen;
}

void place(Found& f, Machine& machine) {
  Platform& platform = machine.platform;
  DeviceDescription& d = f.description;
  d.memory = 0;
  if (d.available && !d.shared_with_host && d.kind != DeviceKind::kLink) {
    d.memory = static_cast<MemoryId>(platform.memories.size());
    platform.memories.push_back({d.name, d.memory_capacity});
  }
  if (d.shared_with_host) d.memory_capacity = std::min(d.memory_capacity, platform.memories[0].capacity);
  platform.devices.push_back(d);
  if (d.available) machine.bindings.push_back(f.binding);
}

// A link has no memory of its own: it fills its device's.
void join_links(Platform& platform) {
  for (const DeviceDescription& device : platform.devices) {
    const auto link = device.link.empty() ? std::nullopt : platform.find(device.link);
    if (!link) continue;
    platform.devices[*link].memory = device.memory;
    platform.devices[*link].shared_with_host = device.shared_with_host;
  }
}

}  // namespace

Result<Machine> local_machine(const BackendOptions& options, const std::vector<std::string>& only) {
  const Wanted wanted(only);
  Machine machine;
  machine.platform.name = "host";
  machine.platform.memories[0].capacity = physical_memory();
  machine.costs = std::make_shared<CostBook>();
  TESSERA_ASSIGN(auto chosen, choose(find_devices(options, wanted, machine), wanted, options));
  if (chosen.size() > 255)
    return Error{ErrorCode::kInvalid, std::to_string(chosen.size()) + " devices; at most 255 are used"};
  for (Found& f : chosen) place(f, machine);
  join_links(machine.platform);
  if (!machine.platform.first(DeviceKind::kStorage)) {
    return Error{ErrorCode::kUnavailable, "no storage device: this build has no backend that loads"};
  }
  return machine;
}

}  // namespace tessera
