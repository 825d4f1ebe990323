// Operands in a device's own memory, and the smallest real work for each kind of device.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "tests/conformance/subject.h"

namespace tessera::conformance {

// Buffers of one device (of a link: of the device that it serves), released at the end. A failed call leaves its reason in
// `status`.
class DeviceMemory {
 public:
  explicit DeviceMemory(const Subject& subject) : subject_(subject) {}
  ~DeviceMemory();
  // A buffer of `bytes` (64 readable bytes more behind it, as shards/shard_format.h asks), filled from `from` if given.
  MemoryRef put(const void* from, int64_t bytes);
  template <typename T>
  MemoryRef put(const std::vector<T>& values) {
    return put(values.data(), static_cast<int64_t>(values.size() * sizeof(T)));
  }
  MemoryRef empty(int64_t bytes) { return put(nullptr, bytes); }
  template <typename T>
  std::vector<T> get(MemoryRef from, size_t count) {
    std::vector<T> values(count);
    copy_out(from, values.data(), static_cast<int64_t>(count * sizeof(T)));
    return values;
  }
  const Status& status() const { return status_; }

 private:
  void copy_out(MemoryRef from, void* to, int64_t bytes);
  const Subject& subject_;
  std::deque<Buffer> buffers_;  // references stay valid
  Status status_;
};

// Submits and waits to the end; with the workspace that estimate() asks for where `operands` bring none.
Status perform(const Subject& subject, Task task, Operands operands);

// A valid task with its operands: a load for storage, a layer for what computes, a transfer for a link, an empty layer for
// what only pretends.
struct SmallWork {
  virtual ~SmallWork() = default;
  Task task;
  Operands operands;
  Status ready;
  // After the task: what is wrong with what it made; empty where nothing is.
  virtual std::string wrong() { return ""; }
};
// `variant` (0, 1, ...): others give other results.
std::unique_ptr<SmallWork> small_work(const Subject& subject, int variant = 0);

// A buffer of plain host memory that is not the device's: what Transfer tasks have at one end.
Buffer host_view(const void* memory, int64_t bytes);

}  // namespace tessera::conformance
