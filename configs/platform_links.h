// Reads which described devices compute in buffers of their own, and the links that fill those.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "configs/toml_table.h"
#include "framework/cost_model.h"
#include "framework/platform.h"
#include "scheduler/session.h"

namespace tessera::configs {

// Lives while one file is read. Links may stand before or after their devices.
class PlatformLinks {
 public:
  PlatformLinks(const ModelShape& shape, Machine& machine) : shape_(shape), machine_(machine) {}

  // Of a device of kind "link": its figures, [device.link].
  Result<std::unique_ptr<CostModel>> read_link(TomlTable& device, const std::string& name,
                                               Result<Provenance> (*read_provenance)(TomlTable&));
  // Of a device that computes: memory, shared, host_visible, link. `d` has its name.
  Status read_memory(TomlTable& device, DeviceDescription& d);
  // Takes the costs of a device that computes: with its link's, once all devices are read, where it has buffers of its own.
  void add_costs(DeviceId device, std::unique_ptr<CostModel> computes);
  // After the last device: every link that was named is there, and prices the transfers of its devices.
  Status join();

 private:
  struct Named {
    std::string device;
    Error missing;  // said where no such link is described
  };
  const ModelShape& shape_;
  Machine& machine_;
  std::map<std::string, Roofline> figures_;  // by link
  std::vector<Named> named_;
  std::map<DeviceId, std::unique_ptr<CostModel>> computes_;  // of devices with buffers of their own
};

}  // namespace tessera::configs
