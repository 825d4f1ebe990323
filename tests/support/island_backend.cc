// Translates operands in the island's buffers to addresses for the device within.
#include "tests/support/island_backend.h"

#include <cstdlib>
#include <cstring>
#include <deque>

namespace tessera::testing {
namespace {

constexpr int64_t kPage = 4096;

Error refuse(const std::string& name, ErrorCode code, const std::string& what) {
  return {code, "device " + name + ": " + what};
}

}  // namespace

struct IslandBackend::Translated {
  Operands operands;
  std::deque<Buffer> buffers;  // references stay valid
  std::vector<WeightRef> weights;
  std::vector<MemoryRef> partials;
};

IslandBackend::IslandBackend(std::unique_ptr<Backend> inner, IslandKind kind)
    : inner_(std::move(inner)), kind_(std::move(kind)) {}
IslandBackend::~IslandBackend() = default;

std::vector<DeviceDescription> IslandBackend::describe() const {
  DeviceDescription island = inner_->describe()[0];
  island.name = kind_.name;
  island.kind = DeviceKind::kGpu;
  island.own_buffers = true;
  island.host_visible = kind_.host_visible;
  island.shared_with_host = kind_.shared;
  island.memory_capacity = kind_.capacity;
  if (!kind_.link) return {island};
  island.link = kind_.name + ".link";
  DeviceDescription link = island;
  link.name = island.link;
  link.kind = DeviceKind::kLink;
  link.link.clear();
  link.own_buffers = link.host_visible = false;
  return {island, link};
}

Support IslandBackend::supports(int device, const CostKey& key, const ModelShape& shape) const {
  if (device == 1 && key.op != Op::kTransfer) return {false, kind_.name + ".link only transfers"};
  return inner_->supports(0, key, shape);
}

Estimate IslandBackend::estimate(int, const CostKey& key, const ModelShape& shape) const {
  return inner_->estimate(0, key, shape);
}

Result<Buffer> IslandBackend::allocate(int, Bytes bytes) {
  const int64_t size = align_up(bytes + Bytes{64}, kPage).n;
  const std::lock_guard lock(mutex_);
  if (allocated_ + size > kind_.capacity.n)
    return refuse(kind_.name, ErrorCode::kInfeasible,
                  "cannot allocate " + to_string(bytes) + "; " + to_string(kind_.capacity - Bytes{allocated_}) +
                      " free of " + to_string(kind_.capacity));
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kPage, static_cast<size_t>(size)));
  if (memory == nullptr) return refuse(kind_.name, ErrorCode::kDevice, "no memory");
  allocated_ += size;
  buffers_[memory] = size;
  Buffer buffer;
  buffer.native = memory;
  buffer.host = kind_.host_visible ? memory : nullptr;
  buffer.bytes = bytes;
  return buffer;
}

void IslandBackend::release(Buffer& buffer) {
  const std::lock_guard lock(mutex_);
  const auto it = buffers_.find(static_cast<std::byte*>(buffer.native));
  if (it == buffers_.end()) return;
  allocated_ -= it->second;
  std::free(it->first);
  buffers_.erase(it);
  buffer = {};
}

Result<MemoryRef> IslandBackend::reach(const MemoryRef& from, bool host, Translated& into) const {
  if (!from) return from;
  if (from.buffer->native == nullptr && !host)
    return refuse(kind_.name, ErrorCode::kInvalid, "an operand lies in host memory; only its own buffers will do");
  Buffer seen = *from.buffer;
  if (seen.native != nullptr) seen.host = static_cast<std::byte*>(seen.native);
  seen.native = nullptr;
  into.buffers.push_back(seen);
  return MemoryRef{&into.buffers.back(), from.offset};
}

Status IslandBackend::translate(const Operands& from, Translated& into) const {
  into.operands = from;
  Operands& o = into.operands;
  for (MemoryRef* ref : {&o.input, &o.output, &o.workspace}) { TESSERA_ASSIGN(*ref, reach(*ref, false, into)); }
  for (WeightRef weight : from.weights) {
    TESSERA_ASSIGN(weight.data, reach(weight.data, false, into));
    into.weights.push_back(weight);
  }
  for (const MemoryRef& partial : from.partials) {
    TESSERA_ASSIGN(const MemoryRef there, reach(partial, false, into));
    into.partials.push_back(there);
  }
  o.weights = into.weights;
  o.partials = into.partials;
  return {};
}

Result<Ticket> IslandBackend::submit(int device, const Task& task, const Operands& operands) {
  if (task.cost.op == Op::kTransfer) {
    for (const Move& move : operands.moves) TESSERA_TRY(transfer(device, move.to, move.from, move.bytes));
    return kDone;
  }
  auto seen = std::make_unique<Translated>();
  TESSERA_TRY(translate(operands, *seen));
  TESSERA_ASSIGN(const Ticket ticket, inner_->submit(0, task, seen->operands));
  if (ticket == kDone) return ticket;
  const std::lock_guard lock(mutex_);
  running_[ticket] = std::move(seen);
  return ticket;
}

Status IslandBackend::wait(int, Ticket ticket, Duration deadline) {
  const Status status = inner_->wait(0, ticket, deadline);
  if (!status.ok() && status.error().code == ErrorCode::kDeadline) return status;
  const std::lock_guard lock(mutex_);
  running_.erase(ticket);
  return status;
}

Status IslandBackend::transfer(int, MemoryRef to, MemoryRef from, Bytes bytes) {
  Translated seen;
  TESSERA_ASSIGN(const MemoryRef target, reach(to, true, seen));
  TESSERA_ASSIGN(const MemoryRef source, reach(from, true, seen));
  if (target.offset + bytes.n > target.buffer->bytes.n || source.offset + bytes.n > source.buffer->bytes.n)
    return refuse(kind_.name, ErrorCode::kInvalid, "transfer of " + to_string(bytes) + " leaves its buffer");
  std::memcpy(target.as<std::byte>(), source.as<std::byte>(), static_cast<size_t>(bytes.n));
  return {};
}

void IslandBackend::cancel(int, Ticket ticket) { inner_->cancel(0, ticket); }

}  // namespace tessera::testing
