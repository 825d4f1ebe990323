// One OpenCL device: its context, two queues (compute, link), programs, memory, and what it keeps of the model's residents.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "backends/opencl/commands.h"
#include "backends/opencl/programs.h"

namespace tessera::opencl {

class Device;

// What Buffer::native points to.
struct DeviceMemory {
  Device* owner = nullptr;
  cl_mem memory = nullptr;
  int64_t bytes = 0;  // as accounted
};

enum class Queue { kCompute, kLink };

// allocate, release, transfer: any thread. The rest: the lanes of the device and of its link (framework/backend.h).
class Device {
 public:
  Device(const Api& api, const DeviceFacts& facts, std::string name);
  ~Device();  // after every ticket was waited for
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }
  const DeviceFacts& facts() const { return facts_; }
  // Context, queues and kernels; what is missing is made, the rest is free of charge.
  Status make_ready();
  Result<Buffer> allocate(Bytes bytes);
  static void release(DeviceMemory* memory);

  // Commands for one queue; `what` names the task.
  Commands begin(Queue queue, const std::string& what);
  Result<Ticket> launch(Queue queue, Commands& commands);
  Status wait(Queue queue, Ticket ticket, Duration deadline);
  std::optional<Duration> measured(Queue queue, Ticket ticket) { return flights(queue).measured(ticket); }

  Tuning tuning() const;
  Status set_tuning(const Tuning& tuning);
  // Of the kernels that are in use now.
  void keep_binaries();
  RowKernels row_kernels() const { return rows_; }
  const TileKernels& tile_kernels(int tokens) const { return tokens <= kFewTokens ? few_ : many_; }
  const Tile& tile(int tokens) const { return tuning_.of(tokens); }
  // Kernels of a tile that `tune` tries.
  Result<TileKernels> tile_kernels(const Tile& tile);
  int row_lanes() const { return programs_.row_lanes(); }
  // Work-items of a work-group of kernel `attend`, whose y size is `chunks`; 0: none fit.
  int attend_rows(int chunks) const;

  // The copy of a layer's residents that is kept under `id`; null: none. On the compute lane only.
  cl_mem kept_residents(uint64_t id) const;
  // A buffer to keep them in from the next launch on; null: keep no more.
  cl_mem keep_residents(uint64_t id, int64_t bytes);
  void forget_residents(uint64_t id);

 private:
  Status open();
  Result<TileKernels> choose(Tile& tile, bool few);
  Flights& flights(Queue queue) { return queue == Queue::kCompute ? compute_flights_ : link_flights_; }
  Error failure(const std::string& what, cl_int code) const;

  const Api& api_;
  const DeviceFacts& facts_;
  const std::string name_;
  mutable std::mutex lock_;  // opening, building, tuning
  bool ready_ = false;
  cl_context context_ = nullptr;
  cl_command_queue compute_ = nullptr, link_ = nullptr;
  Programs programs_;
  Tuning tuning_;
  RowKernels rows_;
  TileKernels few_, many_;
  size_t attend_limit_ = 1;  // work-items of a group of `attend`
  std::atomic<int64_t> allocated_{0};
  std::map<uint64_t, cl_mem> residents_;
  Flights compute_flights_, link_flights_;
};

}  // namespace tessera::opencl
