// Reuses device buffers: allocation on a device takes as long as a small computation.
#include "scheduler/device_pool.h"

namespace tessera {
namespace {

// Capacities are multiples of this, so that shards of nearly equal size share buffers.
constexpr int64_t kGrain = 64 << 10;
constexpr int64_t kReadableBehind = 64;

int64_t capacity_for(int64_t bytes) { return align_up({bytes + kReadableBehind}, kGrain).n; }

}  // namespace

DevicePool::~DevicePool() {
  while (!free_.empty()) {
    const DeviceId device = free_.begin()->first;
    trim(device);
    free_.erase(device);
  }
}

Result<Buffer> DevicePool::take(DeviceId device, int64_t bytes) {
  const int64_t wanted = capacity_for(bytes);
  {
    const std::lock_guard lock(mutex_);
    auto& free = free_[device];
    if (const auto it = free.lower_bound(wanted); it != free.end() && it->first <= 2 * wanted) {
      const Buffer found = it->second;
      free.erase(it);
      return found;
    }
  }
  const DeviceBinding& binding = devices_[device];
  Result<Buffer> made = binding.backend->allocate(binding.device, {wanted});
  if (made.ok()) return made;
  trim(device);
  return binding.backend->allocate(binding.device, {wanted});
}

void DevicePool::give(DeviceId device, const Buffer& buffer) {
  const std::lock_guard lock(mutex_);
  free_[device].emplace(buffer.bytes.n, buffer);
}

void DevicePool::trim(DeviceId device) {
  std::multimap<int64_t, Buffer> freed;
  {
    const std::lock_guard lock(mutex_);
    freed.swap(free_[device]);
  }
  const DeviceBinding& binding = devices_[device];
  for (auto& [capacity, buffer] : freed) binding.backend->release(buffer);
}

}  // namespace tessera
