// Enqueues the commands of one task; the first error ends it.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <type_traits>

#include "backends/opencl/flight.h"

namespace tessera::opencl {

// A place in device memory.
struct Place {
  cl_mem memory = nullptr;
  int64_t at = 0;  // bytes
  Place plus(int64_t bytes) const { return {memory, at + bytes}; }
  // As a kernel argument on its own; its offsets follow one by one.
  struct Memory {
    cl_mem memory;
  };
  Memory memory_only() const { return {memory}; }
};

// Weights of one launch lie in at most so many buffers (kernels/prelude.cl: SLOTS).
inline constexpr int kSlots = 8;
using Slots = std::array<cl_mem, kSlots>;

struct Range {
  size_t x = 1, y = 1;
};

class Commands {
 public:
  Commands(const Api& api, cl_command_queue queue, std::shared_ptr<Flight> flight)
      : api_(api), queue_(queue), flight_(std::move(flight)) {}
  // From host memory that stays as it is until the task has ended, or is kept for it by `keep`.
  void write(Place to, const void* from, int64_t bytes);
  void read(void* to, Place from, int64_t bytes);
  void copy(Place to, Place from, int64_t bytes);
  std::byte* keep(int64_t bytes) { return flight_->staged.emplace_back(static_cast<size_t>(bytes)).data(); }
  // Of groups x local work-items; each argument a Place (buffer and offset), Slots, LocalBytes, or a number as it is.
  template <typename... Arguments>
  void launch(cl_kernel kernel, Range groups, Range local, const Arguments&... arguments) {
    next_ = 0;
    (set(kernel, arguments), ...);
    enqueue(kernel, groups, local);
  }
  struct LocalBytes {
    size_t bytes;
  };
  // Sends everything on its way. On an error nothing of it runs any more when this returns.
  Status flush();
  // Ends what was enqueued, and returns `why`.
  Error abandon(const Status& why);
  const std::shared_ptr<Flight>& flight() const { return flight_; }
  bool failed() const { return !status_.ok(); }

 private:
  void set(cl_kernel kernel, const Place& place);
  void set(cl_kernel kernel, const Place::Memory& memory) { set_bytes(kernel, sizeof(cl_mem), &memory.memory); }
  void set(cl_kernel kernel, const Slots& slots);
  void set(cl_kernel kernel, const LocalBytes& local);
  template <typename T>
  requires std::is_arithmetic_v<T>
  void set(cl_kernel kernel, const T& value) { set_bytes(kernel, sizeof value, &value); }
  void set_bytes(cl_kernel kernel, size_t bytes, const void* value);
  void enqueue(cl_kernel kernel, Range groups, Range local);
  void note(cl_int code, const char* what, cl_event event);

  const Api& api_;
  cl_command_queue queue_;
  std::shared_ptr<Flight> flight_;
  cl_uint next_ = 0;  // argument
  Status status_;
};

}  // namespace tessera::opencl
