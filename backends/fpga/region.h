// A buffer as the backend sees it: memory shared with the worker, a device buffer behind it, and which bytes live where.
#pragma once

#include <mutex>

#include "backends/fpga/range_set.h"
#include "backends/fpga/shared_memory.h"

namespace tessera::fpga {

// A worker that dies takes the device's buffers along. What came from the host is still in shared memory and goes to the
// next worker's buffer; what only the device had is lost, and said to be so until it is written again.
struct BackendRegion {
  uint32_t id = 0;
  int64_t bytes = 0;  // asked for
  SharedMemory memory;
  std::mutex mutex;      // of what follows
  uint64_t life = 0;     // the worker that has it; 0: none
  RangeSet on_host;      // shared memory has what the device has
  RangeSet device_only;  // written by kernels, not fetched since
  RangeSet lost;         // device_only of a worker that died

  bool is_on_host(int64_t first, int64_t last) {
    const std::lock_guard lock(mutex);
    return on_host.contains(first, last);
  }
  // The rest with the mutex held. After a copy in either direction: both sides agree.
  void copied(int64_t first, int64_t last) {
    on_host.add(first, last), device_only.remove(first, last), lost.remove(first, last);
  }
  // After a kernel has written, or is about to.
  void computed(int64_t first, int64_t last) {
    on_host.remove(first, last), device_only.add(first, last), lost.remove(first, last);
  }
  void worker_died() {
    lost.add(device_only);
    device_only.clear();
  }
};

}  // namespace tessera::fpga
