// Drives the machine's cores as one device: fused low-bit decode and fp32 products on a oneTBB arena.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "backends/cpu/checks.h"
#include "backends/cpu/lane.h"
#include "backends/cpu/layer_work.h"
#include "backends/cpu/small_work.h"
#include "framework/cost_model_work.h"
#include "framework/registry.h"

namespace tessera::cpu {
namespace {

constexpr int64_t kAlignment = 4096;     // framework/backend.h
constexpr int64_t kReadableBehind = 64;  // shards/shard_format.h: decoders read whole words past the last index

// Guesses that calibration replaces: what a core of a server of 2020 to 2025 reaches.
constexpr double kCyclesPerSecond = 3.2e9;
constexpr double kMultiplyAddsPerLane = 1.4;  // a cycle: two units, 70 % busy
constexpr double kDecodedPerLane = 0.25;      // weights a cycle
constexpr double kBytesPerSecond = 12e9;      // fp32 weights from memory
constexpr Duration kTaskOverhead = microseconds(15);
constexpr double kTail = 1.25;  // p95 over mean

int64_t physical_memory() { return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE); }

bool is_layer_op(Op op) { return op == Op::kLayer || op == Op::kAttentionPart || op == Op::kFfnPart; }

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : lane_(options.threads, [this](StageRunner& runner, const Task& task, const Operands& operands, const auto& stop) {
          return execute(runner, task, operands, stop);
        }) {}

  std::vector<DeviceDescription> describe() const override;
  Support supports(int device, const CostKey& key, const ModelShape& shape) const override;
  Estimate estimate(int device, const CostKey& key, const ModelShape& shape) const override;
  Result<Buffer> allocate(int device, Bytes bytes) override;
  void release(Buffer& buffer) override {
    std::free(buffer.host);
    buffer = {};
  }
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override;
  Status wait(int, Ticket ticket, Duration deadline) override { return lane_.wait(ticket, deadline); }
  Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) override;
  void cancel(int, Ticket ticket) override { lane_.cancel(ticket); }

 private:
  // On the lane's thread.
  Status execute(StageRunner& runner, const Task& task, const Operands& operands, const std::atomic<bool>& stop);

  LayerWork layer_;  // of the task that runs
  Lane lane_;        // last: its thread uses the others
};

std::vector<DeviceDescription> CpuBackend::describe() const {
  DeviceDescription d;
  d.name = "cpu0";
  d.kind = DeviceKind::kCpu;
  d.backend = TESSERA_PLUGIN_NAME;
  d.memory_capacity = Bytes{physical_memory()};
  d.threads = lane_.threads();
  d.properties = {{"instruction set", target_name()},
                  {"fp32 lanes", std::to_string(target_lanes())},
                  {"threads", std::to_string(lane_.threads())}};
  return {d};
}

Support CpuBackend::supports(int device, const CostKey& key, const ModelShape& shape) const {
  if (device != 0) return {false, "cpu: device " + std::to_string(device) + " is unknown; there is one"};
  if (key.op == Op::kTransfer) return {};
  if (!is_compute(key.op)) return {false, "cpu: loads belong to a storage device"};
  if (shape.hidden < 1 || shape.heads < 1 || shape.slices < 1 || shape.hidden % shape.heads || shape.ffn % shape.slices) {
    return {false, "cpu: hidden " + std::to_string(shape.hidden) + " in " + std::to_string(shape.heads) + " heads, FFN " +
                       std::to_string(shape.ffn) + " in " + std::to_string(shape.slices) + " slices do not divide"};
  }
  if (shape.heads != shape.slices || shape.slices > kMaxSlices) {
    return {false, "cpu: " + std::to_string(shape.slices) + " slices of " + std::to_string(shape.heads) +
                       " heads; one slice a head, at most " + std::to_string(kMaxSlices)};
  }
  if (is_layer_op(key.op) && key.slices > shape.slices) {
    return {false, "cpu: " + std::to_string(key.slices) + " slices of a model that has " + std::to_string(shape.slices)};
  }
  return {};
}

Estimate CpuBackend::estimate(int, const CostKey& key, const ModelShape& shape) const {
  const double threads = lane_.threads(), lanes = target_lanes();
  Estimate e;
  e.provenance = Provenance::kAnalytic;
  if (key.op == Op::kTransfer) {
    e.mean = from_seconds(static_cast<double>(key.bytes) / kBytesPerSecond) + kTaskOverhead;
  } else {
    const double math = multiply_adds(shape, key) / (threads * lanes * kMultiplyAddsPerLane * kCyclesPerSecond);
    const double decode = weights_decoded(shape, key) / (threads * lanes * kDecodedPerLane * kCyclesPerSecond);
    const double read = 4 * (weights_read(shape, key) - weights_decoded(shape, key)) / kBytesPerSecond;
    e.mean = from_seconds(std::max(math + decode, read)) + kTaskOverhead;
    e.workspace = Bytes{lay_out(shape, key.op, work_size(key, lane_.threads())).bytes};
  }
  e.p95 = from_seconds(e.mean.seconds() * kTail);
  return e;
}

Result<Buffer> CpuBackend::allocate(int device, Bytes bytes) {
  if (bytes.n <= 0)
    return Error{ErrorCode::kInvalid, "cpu: cannot allocate " + to_string(bytes) + "; ask for a byte or more"};
  if (bytes.n > physical_memory()) {
    return Error{ErrorCode::kInfeasible,
                 "cpu: " + to_string(bytes) + " asked, the machine has " + to_string(Bytes{physical_memory()})};
  }
  const Bytes padded = align_up(bytes + Bytes{kReadableBehind}, kAlignment);
  void* memory = std::aligned_alloc(kAlignment, static_cast<size_t>(padded.n));
  if (memory == nullptr)
    return Error{ErrorCode::kDevice, "cpu: the system refused " + to_string(bytes) + "; free some memory"};
  Buffer buffer;
  buffer.host = static_cast<std::byte*>(memory);
  buffer.bytes = bytes;
  buffer.device = static_cast<DeviceId>(device);
  return buffer;
}

Result<Ticket> CpuBackend::submit(int device, const Task& task, const Operands& operands) {
  if (device != 0) return Error{ErrorCode::kInvalid, "cpu: device " + std::to_string(device) + " is unknown; there is one"};
  if (task.cost.op != Op::kTransfer && !is_compute(task.cost.op)) {
    return Error{ErrorCode::kInvalid, "cpu: loads belong to a storage device"};
  }
  TESSERA_TRY(check_operands(task, operands, lane_.threads()));
  return lane_.submit(task, operands);
}

Status CpuBackend::transfer(int, MemoryRef to, MemoryRef from, Bytes bytes) {
  if (!holds(to, bytes.n) || !holds(from, bytes.n)) {
    return Error{ErrorCode::kInvalid, "cpu: transfer of " + to_string(bytes) + " leaves its buffer; check offset and size"};
  }
  std::memmove(to.as<std::byte>(), from.as<std::byte>(), static_cast<size_t>(bytes.n));
  return {};
}

Status CpuBackend::execute(StageRunner& runner, const Task& task, const Operands& operands, const std::atomic<bool>& stop) {
  Status status;
  const auto run = [&](StagedWork&& work) { runner.run(work, stop); };
  switch (task.cost.op) {
    case Op::kTransfer:
      for (const Move& move : operands.moves)
        if (status.ok()) status = transfer(0, move.to, move.from, move.bytes);
      break;
    case Op::kEmbed:
      run(EmbedWork(operands));
      break;
    case Op::kCombine:
      run(CombineWork(task, operands, runner.threads()));
      break;
    case Op::kExit:
      run(ExitWork(operands));
      break;
    default:
      layer_.bind(task.cost.op, operands, runner.threads());
      runner.run(layer_, stop);
      status = layer_.status();
  }
  if (status.ok() && stop.load())
    return Error{ErrorCode::kCancelled, "cpu: task " + std::to_string(task.id) + " was cancelled"};
  return status;
}

}  // namespace
}  // namespace tessera::cpu

TESSERA_REGISTER_BACKEND(tessera::cpu::CpuBackend)
