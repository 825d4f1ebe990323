// Runs tasks in virtual time at the cost models' word.
#include "framework/simulated_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "framework/saturating.h"

namespace tessera {
namespace {

constexpr int64_t kAlignment = 4096;  // backend.h

bool is_load(Op op) { return op == Op::kLoadShards || op == Op::kLoadRows || op == Op::kLoadExit; }

}  // namespace

struct SimulatedBackend::Device {
  DeviceDescription description;
  std::unique_ptr<CostModel> costs;
  std::vector<Running> running;
  Duration free_at;
  std::mutex mutex;  // guards allocated
  Bytes allocated;
};

SimulatedBackend::SimulatedBackend(VirtualClock* clock, std::vector<SimulatedDevice> devices) : clock_(clock) {
  for (SimulatedDevice& device : devices) {
    devices_.push_back(std::make_unique<Device>());
    devices_.back()->description = std::move(device.description);
    devices_.back()->costs = std::move(device.costs);
  }
}

SimulatedBackend::~SimulatedBackend() = default;

std::vector<DeviceDescription> SimulatedBackend::describe() const {
  std::vector<DeviceDescription> all;
  for (const auto& device : devices_) all.push_back(device->description);
  return all;
}

Support SimulatedBackend::supports(int device, const CostKey& key, const ModelShape&) const {
  const DeviceDescription& description = devices_[device]->description;
  if (key.op == Op::kTransfer) return {};
  const bool storage = description.kind == DeviceKind::kStorage;
  if (description.kind != DeviceKind::kLink && is_load(key.op) == storage) return {};
  return {false, description.name + ": simulated " + std::string(to_string(description.kind)) + " runs " +
                     (storage                      ? "loads and transfers, no computes"
                      : computes(description.kind) ? "computes and transfers, no loads"
                                                   : "transfers only")};
}

Estimate SimulatedBackend::estimate(int device, const CostKey& key, const ModelShape&) const {
  return devices_[device]->costs->estimate(key);
}

Result<Buffer> SimulatedBackend::allocate(int device, Bytes bytes) {
  Device& d = *devices_[device];
  const auto refuse = [&](ErrorCode code, const std::string& why) {
    return Error{code, "device " + d.description.name + ": cannot allocate " + to_string(bytes) + ": " + why};
  };
  if (bytes.n <= 0) return refuse(ErrorCode::kInvalid, "ask for at least one byte");
  const std::lock_guard lock(d.mutex);
  const Bytes free = d.description.memory_capacity - d.allocated;
  if (bytes > free) return refuse(ErrorCode::kInfeasible, to_string(free) + " free");
  if (bytes.n > INT64_MAX - kAlignment) return refuse(ErrorCode::kDevice, "no host memory");
  void* const memory = std::aligned_alloc(kAlignment, static_cast<size_t>(align_up(bytes, kAlignment).n));
  if (memory == nullptr) return refuse(ErrorCode::kDevice, "no host memory");
  d.allocated += bytes;
  Buffer buffer;
  buffer.host = static_cast<std::byte*>(memory);
  buffer.bytes = bytes;
  buffer.memory = d.description.memory;
  buffer.device = static_cast<DeviceId>(device);
  return buffer;
}

void SimulatedBackend::release(Buffer& buffer) {
  if (buffer.host == nullptr) return;
  Device& d = *devices_[buffer.device];
  {
    const std::lock_guard lock(d.mutex);
    d.allocated -= buffer.bytes;
  }
  std::free(buffer.host);
  buffer = Buffer{};
}

Result<Ticket> SimulatedBackend::submit(int device, const Task& task, const Operands& operands) {
  Device& d = *devices_[device];
  static const ModelShape unused;
  if (const Support support = supports(device, task.cost, unused); !support.yes)
    return Error{ErrorCode::kInvalid, support.why};
  if (task.cost.op == Op::kTransfer)
    for (const Move& move : operands.moves) TESSERA_TRY(transfer(device, move.to, move.from, move.bytes));
  d.free_at = saturating_add(std::max(d.free_at, clock_->now()), d.costs->estimate(task.cost).mean);
  d.running.push_back({++last_ticket_, d.free_at, false});
  return last_ticket_;
}

Status SimulatedBackend::wait(int device, Ticket ticket, Duration deadline) {
  Device& d = *devices_[device];
  const auto it = std::find_if(d.running.begin(), d.running.end(), [&](const Running& r) { return r.ticket == ticket; });
  if (it == d.running.end()) return {};  // waited for before, or kDone
  const Running running = *it;
  if (running.end > std::max(deadline, clock_->now())) {
    clock_->advance_to(deadline);
    return Error{ErrorCode::kDeadline, "device " + d.description.name + ": ticket " + std::to_string(ticket) +
                                           " still running, " + to_string(running.end - clock_->now()) + " left"};
  }
  clock_->advance_to(running.end);
  d.running.erase(it);
  if (running.cancelled) return Error{ErrorCode::kCancelled, "device " + d.description.name + ": cancelled"};
  return {};
}

Status SimulatedBackend::transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) {
  if (!addressable(to, bytes) || !addressable(from, bytes))
    return Error{ErrorCode::kInvalid, "device " + devices_[device]->description.name + ": transfer of " + to_string(bytes) +
                                          " leaves its buffer"};
  std::memmove(to.as<std::byte>(), from.as<std::byte>(), static_cast<size_t>(bytes.n));
  return {};
}

void SimulatedBackend::cancel(int device, Ticket ticket) {
  Device& d = *devices_[device];
  for (Running& running : d.running) {
    if (running.ticket != ticket || running.end <= clock_->now()) continue;
    running.cancelled = true;
    running.end = clock_->now();
    if (running.ticket == d.running.back().ticket) d.free_at = clock_->now();
  }
}

bool addressable(const MemoryRef& reference, Bytes bytes) {
  if (!reference || reference.buffer->host == nullptr || bytes.n < 0 || reference.offset < 0) return false;
  return reference.offset <= reference.buffer->bytes.n && bytes.n <= reference.buffer->bytes.n - reference.offset;
}

}  // namespace tessera
