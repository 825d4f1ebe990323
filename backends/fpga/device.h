// Drives one FPGA through its worker: buffers, residents' copies, and tasks from operands to results.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "backends/fpga/keeper.h"
#include "backends/fpga/layer_program.h"

namespace tessera::fpga {

class Device {
 public:
  // `capacity`: more than this in one buffer is refused.
  Device(const WorkerPlan& plan, Bytes capacity, std::chrono::milliseconds least_limit);

  // Any thread. Starts the worker if there is none.
  Result<RegionRef> allocate(Bytes bytes);
  void release(void* native);
  // Null where it is none of this device's buffers.
  RegionRef find(const void* native);

  // Blocking; ends by itself: a worker that does not answer within the task's limit is killed. One thread a channel.
  // `expected`: the analytic estimate, from which the limit comes.
  Status compute(const Task& task, const Operands& operands, Duration expected);
  Status move(Channel channel, const Task& task, std::span<const Move> moves);
  // Bytes of the workspace that compute() asks for.
  static int64_t workspace(const ModelShape& shape, Op op, int64_t tokens) { return workspace_bytes(shape, op, tokens); }
  int worker_pid() const { return keeper_.pid(); }

 private:
  using Milliseconds = std::chrono::milliseconds;
  Error error(ErrorCode code, const std::string& task, const std::string& what) const;
  Result<Span> place(const MemoryRef& ref, int64_t bytes, const char* what, int64_t alignment);
  Result<LayerOperands> bind(const Task& task, const Operands& operands);
  Status bind_weights(const Operands& operands, LayerOperands& bound);
  Result<Span> residents(const ModelShape& shape, const LayerResidents& residents, bool* fresh);
  Result<RegionRef> make_region(Bytes bytes);
  // Frees the device's buffer of a region that nobody uses any more.
  void drop(const BackendRegion& region);
  // Makes the region in this worker, with what shared memory still has of it.
  Status ensure(WorkerProcess& worker, BackendRegion& region, const std::string& task);
  Status check_lost(const Program& program, const std::string& task) const;
  Status execute(Channel channel, const Program& program, const std::string& task, Milliseconds limit);
  Status judge(WorkerProcess& worker, Passage passage, const Reply& reply, const std::string& task, Milliseconds limit);

  const std::string name_;
  const Bytes capacity_;
  const Milliseconds least_limit_;
  std::mutex mutex_;                                    // of the maps and the pool
  std::unordered_map<const void*, RegionRef> regions_;  // by their address, which is Buffer::native
  std::multimap<int64_t, RegionRef> pool_;              // released, by size: buffers of the device are used again
  int64_t pooled_ = 0;
  std::map<uint64_t, RegionRef> residents_;  // by LayerResidents::id
  RegionRef passing_residents_;              // of those without an id
  std::atomic<uint32_t> last_region_{0};
  Keeper keeper_;  // last: its worker uses the regions
};

// "task 7 (layer 3)": for messages.
std::string name_of(const Task& task);

}  // namespace tessera::fpga
