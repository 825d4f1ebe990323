// Owns buffers of the devices that compute only in their own, and hands them to requests without asking the device each
// time.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "framework/executor.h"
#include "framework/operands.h"

namespace tessera {

// What is free is on no request's account: a device's real use may exceed it by what earlier requests needed at once, and by
// the part of a reused buffer that is too large; it is given back where the device would refuse an allocation otherwise.
// Safe from any thread. Destroyed before its backends, after whatever took buffers from it.
class DevicePool {
 public:
  // `devices` by device id; outlives the pool.
  explicit DevicePool(const std::vector<DeviceBinding>& devices) : devices_(devices) {}
  ~DevicePool();
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;

  // At least `bytes`, and 64 readable bytes behind them (shards/shard_format.h); content undefined. A free buffer that is
  // not much larger, else a new one; where the device has no room for that, all that are free go back to it first.
  Result<Buffer> take(DeviceId device, int64_t bytes);
  void give(DeviceId device, const Buffer& buffer);
  // What is free goes back to the device: it failed, or its memory is wanted for something else.
  void trim(DeviceId device);

 private:
  const std::vector<DeviceBinding>& devices_;
  std::mutex mutex_;
  std::map<DeviceId, std::multimap<int64_t, Buffer>> free_;  // by capacity
};

}  // namespace tessera
