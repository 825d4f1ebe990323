// Describes a machine: its devices, memories and what connects them; real, or written in a file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/task.h"

namespace tessera {

// kLink: copies between host memory and the buffers of another device, beside that device's computing (its copy engine).
enum class DeviceKind : uint8_t { kCpu, kGpu, kFpga, kNpu, kStorage, kLink };
std::string_view to_string(DeviceKind k);
constexpr bool computes(DeviceKind k) { return k != DeviceKind::kStorage && k != DeviceKind::kLink; }

struct DeviceDescription {
  std::string name;  // "cpu0", "disk0"
  DeviceKind kind = DeviceKind::kCpu;
  std::string backend;  // registered name of the backend that drives it; empty on a described machine
  bool available = true;
  std::string why;  // reason where not available; else notes ("io_uring refused: pread")
  bool emulated = false;
  MemoryId memory = 0;           // whose budget its operands are charged to
  bool shared_with_host = true;  // its memory is the host's: charged to the host's budget
  // Its operands must lie in buffers of its own allocate(): activations come and go by Transfer tasks. False: any host
  // memory will do.
  bool own_buffers = false;
  // Of own_buffers: they have a host address, which may be written until the first submit that reads them: loads go straight
  // in. False: weights are loaded into host memory, and a Transfer task takes them over.
  bool host_visible = false;
  std::string link;  // of own_buffers: the kLink device that takes weights over; empty: the device does it itself
  Bytes memory_capacity = kUnlimited;
  int threads = 1;
  std::vector<std::pair<std::string, std::string>> properties;  // shown by `tessera devices`
};

struct MemoryDescription {
  std::string name;  // "host", "gpu0"
  Bytes capacity = kUnlimited;
};

// Plain value. memories[0] is the host's.
struct Platform {
  std::string name;
  std::vector<DeviceDescription> devices;
  std::vector<MemoryDescription> memories{{"host", kUnlimited}};

  std::optional<DeviceId> find(std::string_view name) const;
  // Where a device's operands lie: its own buffers, or host memory.
  SpaceId space(DeviceId device) const { return devices[device].own_buffers ? device : kHostSpace; }
  // The memory that a space is charged to.
  MemoryId memory(SpaceId space) const { return space == kHostSpace ? MemoryId{0} : devices[space].memory; }
  // The device that takes weights over into a device's own buffers: its link, or itself.
  DeviceId link_of(DeviceId device) const;
  // The first available device of a kind.
  std::optional<DeviceId> first(DeviceKind kind) const;
};

}  // namespace tessera
