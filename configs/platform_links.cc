// Joins described devices to their memories and links.
#include "configs/platform_links.h"

#include <algorithm>
#include <utility>

namespace tessera::configs {

Result<std::unique_ptr<CostModel>> PlatformLinks::read_link(TomlTable& device, const std::string& name,
                                                            Result<Provenance> (*read_provenance)(TomlTable&)) {
  TESSERA_ASSIGN(TomlTable file, device.table("link"));
  Roofline figures;
  TESSERA_ASSIGN(figures.latency, file.duration("latency", {0}));
  TESSERA_ASSIGN(figures.per_read, file.duration("per_copy", {0}));
  TESSERA_ASSIGN(figures.bandwidth, file.bandwidth("bandwidth", {0}));
  TESSERA_ASSIGN(figures.bandwidth_to_host, file.bandwidth("bandwidth_to_host", figures.bandwidth));
  if (!(figures.bandwidth.value > 0) || !(figures.bandwidth_to_host.value > 0))
    return file.error("bandwidth", "a link needs its bandwidth to the device, as in \"12 GB/s\"");
  TESSERA_ASSIGN(figures.provenance, read_provenance(file));
  TESSERA_TRY(file.finish());
  figures_[name] = figures;
  return make_roofline(shape_, figures);
}

Status PlatformLinks::read_memory(TomlTable& device, DeviceDescription& d) {
  const Platform& platform = machine_.platform;
  d.memory_capacity = platform.memories[0].capacity;
  if (device.has("memory")) {
    TESSERA_ASSIGN(const std::string memory, device.text("memory"));
    const auto found = std::find_if(platform.memories.begin(), platform.memories.end(),
                                    [&](const MemoryDescription& m) { return m.name == memory; });
    if (found == platform.memories.end())
      return device.error("memory", "no memory named '" + memory + "'; describe it under [[memory]]");
    d.memory = static_cast<MemoryId>(found - platform.memories.begin());
    d.shared_with_host = d.memory == 0;
    d.memory_capacity = found->capacity;
  }
  if (!computes(d.kind)) return {};
  TESSERA_ASSIGN(const bool shared, device.boolean("shared", false));
  if (shared && d.memory != 0)
    return device.error("shared", "shared = true: its buffers lie in the host's memory, so memory must be \"host\"");
  d.own_buffers = shared || d.memory != 0;
  TESSERA_ASSIGN(d.host_visible, device.boolean("host_visible", false));
  const bool linked = device.has("link");
  if (!d.own_buffers && (linked || d.host_visible))
    return device.error(linked ? "link" : "host_visible",
                        "device " + d.name +
                            " computes in host memory, which no link fills; give it a memory of its own, or " +
                            "shared = true for buffers of its own in the host's");
  if (!d.own_buffers) return {};
  if (!linked)
    return device.error("name", "device " + d.name + " computes in buffers of its own, but no link fills them; add link = " +
                                    "\"...\", the name of a device of kind \"link\"");
  TESSERA_ASSIGN(d.link, device.text("link"));
  named_.push_back(
      {d.name, device.error("link", "no device of kind \"link\" is named '" + d.link + "'; describe it under [[device]]")});
  return {};
}

void PlatformLinks::add_costs(DeviceId device, std::unique_ptr<CostModel> computes) {
  if (machine_.platform.devices[device].own_buffers)
    computes_[device] = std::move(computes);
  else
    machine_.costs->set(device, std::move(computes));
}

Status PlatformLinks::join() {
  Platform& platform = machine_.platform;
  for (const Named& named : named_) {
    const DeviceDescription& device = platform.devices[*platform.find(named.device)];
    if (figures_.count(device.link) == 0) return named.missing;
    DeviceDescription& link = platform.devices[*platform.find(device.link)];
    link.memory = device.memory;
    link.shared_with_host = device.shared_with_host;
  }
  for (auto& [device, costs] : computes_)
    machine_.costs->set(device,
                        with_transfers(std::move(costs), make_roofline(shape_, figures_[platform.devices[device].link])));
  return {};
}

}  // namespace tessera::configs
