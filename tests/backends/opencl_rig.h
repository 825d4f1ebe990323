// Runs single operators on one OpenCL device, below the backend: so that a test can say what the device is.
#pragma once

#include <deque>
#include <optional>
#include <utility>

#include "backends/opencl/work.h"
#include "tests/backends/cpu_rig.h"

namespace tessera::opencl::testing {

using tessera::testing::RandomLayer;
using tessera::testing::Weights;

// The first device that can be used; nullopt: none here (why: machine().why).
inline std::optional<DeviceFacts> usable_device() {
  for (const DeviceFacts& facts : machine().devices)
    if (facts.unusable.empty()) return facts;
  return std::nullopt;
}

class Rig {
 public:
  explicit Rig(DeviceFacts facts) : facts_(std::move(facts)), device_(machine().api, facts_, "opencl0") {}
  ~Rig() {
    for (Buffer& b : buffers_) Device::release(static_cast<DeviceMemory*>(b.native));
  }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  Device& device() { return device_; }
  const Status& status() const { return status_; }  // of the last run

  MemoryRef empty(int64_t bytes) {
    Result<Buffer> made = device_.allocate(Bytes{std::max<int64_t>(bytes, 1)});
    EXPECT_TRUE(made.ok()) << made.error().message;
    if (!made.ok()) return {};
    buffers_.push_back(*made);
    return {&buffers_.back(), 0};
  }
  MemoryRef put(const void* from, int64_t bytes) {
    const MemoryRef there = empty(bytes);
    move(there, host(from, bytes), bytes);
    return there;
  }
  template <typename T>
  std::vector<T> get(MemoryRef from, size_t count) {
    std::vector<T> values(count);
    const auto bytes = static_cast<int64_t>(count * sizeof(T));
    move(host(values.data(), bytes), from, bytes);
    return values;
  }

  // Weights each in a buffer of its own, or all in one.
  std::vector<WeightRef> put(const Weights& weights, bool together) {
    std::vector<WeightRef> refs = weights.refs;
    int64_t size = 0;
    for (WeightRef& ref : refs) ref.data.offset = size, size += (ref.bytes + 127) / 64 * 64;
    const MemoryRef shared = together ? empty(size) : MemoryRef{};
    for (size_t i = 0; i < refs.size(); ++i) {
      const std::byte* from = weights.blocks[i].ref().as<std::byte>();
      if (together) {
        refs[i].data.buffer = shared.buffer;
        move(refs[i].data, host(from, refs[i].bytes), refs[i].bytes);
      } else {
        refs[i].data = put(from, refs[i].bytes);
      }
    }
    return refs;
  }

  // A layer or part of one; T = float for layers, double for parts.
  template <typename T>
  std::vector<T> layer(Op op, const RandomLayer& layer, const std::vector<WeightRef>& weights, const std::vector<float>& x,
                       const std::vector<int32_t>& starts) {
    const LayerResidents residents = layer.residents();
    Operands o;
    o.shape = &layer.shape;
    o.batch.starts = starts;
    o.input = put(x.data(), static_cast<int64_t>(x.size() * 4));
    o.output = empty(static_cast<int64_t>(x.size() * sizeof(T)));
    o.weights = weights;
    o.residents = &residents;
    o.workspace_bytes = lay_out(layer.shape, op, work_size(o), stored_bytes(layer.shape)).bytes;
    o.workspace = empty(o.workspace_bytes);
    Task task;
    task.cost.op = op;
    status_ = check_operands(device_, task, o);
    if (!status_.ok()) return {};
    Commands commands = device_.begin(Queue::kCompute, "test");
    record_layer(device_, commands, op, o);
    end(Queue::kCompute, commands);
    return get<T>(o.output, x.size());
  }

 private:
  MemoryRef host(const void* at, int64_t bytes) {
    views_.push_back({.host = static_cast<std::byte*>(const_cast<void*>(at)), .bytes = Bytes{bytes}});
    return {&views_.back(), 0};
  }
  void move(MemoryRef to, MemoryRef from, int64_t bytes) {
    Commands commands = device_.begin(Queue::kLink, "copy");
    const Move one{to, from, Bytes{bytes}};
    const Status recorded = record_moves(device_, commands, {&one, 1});
    ASSERT_TRUE(recorded.ok()) << recorded.error().message;
    const Result<Ticket> ticket = device_.launch(Queue::kLink, commands);
    ASSERT_TRUE(ticket.ok()) << ticket.error().message;
    const Status ended = device_.wait(Queue::kLink, *ticket, kForever);
    ASSERT_TRUE(ended.ok()) << ended.error().message;
  }
  void end(Queue queue, Commands& commands) {
    const Result<Ticket> ticket = device_.launch(queue, commands);
    status_ = ticket.ok() ? device_.wait(queue, *ticket, kForever) : Status(ticket.error());
  }

  DeviceFacts facts_;
  Device device_;
  std::deque<Buffer> buffers_, views_;  // references stay valid
  Status status_;
};

}  // namespace tessera::opencl::testing
