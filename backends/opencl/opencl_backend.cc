// Drives every OpenCL device of the machine: device 2 i computes, device 2 i + 1 is its link.
#include <algorithm>
#include <mutex>

#include "backends/opencl/device.h"
#include "backends/opencl/trial.h"
#include "backends/opencl/work.h"
#include "framework/cost_model_work.h"
#include "framework/registry.h"
#include "shards/shard_format.h"

namespace tessera::opencl {
namespace {

// Guesses that calibration replaces.
constexpr double kGpuLanesPerUnit = 64;  // fp32 multiply-adds a cycle of a compute unit; its vector width on a CPU
constexpr double kBusy = 0.3;            // of the peak, in small products
constexpr double kDecodeOps = 4;         // multiply-adds' worth of work to decode a weight
constexpr double kBytesPerSecond = 6e9;  // over the link
constexpr Duration kLaunch = microseconds(10);
constexpr Duration kLinkLatency = microseconds(20);
constexpr double kTail = 1.25;  // p95 over mean

int launches(Op op) { return op == Op::kLayer ? 10 : op == Op::kAttentionPart ? 6 : 5; }

DeviceKind kind_of(const DeviceFacts& facts) {
  return (facts.type & CL_DEVICE_TYPE_ACCELERATOR) != 0 ? DeviceKind::kNpu : DeviceKind::kGpu;
}

std::string type_of(const DeviceFacts& facts) {
  return facts.is_cpu()                                   ? "cpu"
         : (facts.type & CL_DEVICE_TYPE_GPU) != 0         ? "gpu"
         : (facts.type & CL_DEVICE_TYPE_ACCELERATOR) != 0 ? "accelerator"
                                                          : "custom";
}

DeviceDescription describe_device(const Device& device) {
  const DeviceFacts& facts = device.facts();
  DeviceDescription d;
  d.name = device.name();
  d.kind = kind_of(facts);
  d.backend = TESSERA_PLUGIN_NAME;
  d.available = facts.unusable.empty();
  d.why = d.available ? "" : facts.name + ": " + facts.unusable;
  d.shared_with_host = facts.unified;
  d.own_buffers = true;
  d.link = device.name() + ".link";
  d.memory_capacity = Bytes{std::max<int64_t>(facts.memory_bytes, 1)};
  d.threads = static_cast<int>(facts.units);
  d.properties = {{"device", facts.name},
                  {"type", type_of(facts)},
                  {"platform", facts.platform_name},
                  {"version", facts.version},
                  {"driver", facts.driver},
                  {"compute units", std::to_string(facts.units)},
                  {"local memory", to_string(Bytes{facts.local_bytes})},
                  {"largest buffer", to_string(Bytes{facts.largest_allocation})},
                  {"doubles", facts.doubles ? "yes" : "no"},
                  {"tuning", to_text(device.tuning())}};
  return d;
}

DeviceDescription describe_link(const Device& device) {
  DeviceDescription d = describe_device(device);
  d.name = d.link;
  d.link.clear();
  d.kind = DeviceKind::kLink;
  d.threads = 1;
  d.properties = {{"copies between", "host memory and " + device.name()}};
  return d;
}

class OpenClBackend final : public Backend {
 public:
  explicit OpenClBackend(const BackendOptions&) {}
  std::vector<DeviceDescription> describe() const override;
  Support supports(int device, const CostKey& key, const ModelShape& shape) const override;
  Estimate estimate(int device, const CostKey& key, const ModelShape& shape) const override;
  Result<Buffer> allocate(int device, Bytes bytes) override;
  void release(Buffer& buffer) override;
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override;
  Status wait(int device, Ticket ticket, Duration deadline) override;
  Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) override;
  Result<std::string> tune(int device, const ModelShape& shape) override;
  Status set_tuning(int device, std::string_view text) override;
  std::optional<Duration> measured(int device, Ticket ticket) override;

 private:
  static Queue queue_of(int device) { return device % 2 == 0 ? Queue::kCompute : Queue::kLink; }
  const std::vector<std::unique_ptr<Device>>& devices() const;
  // The device behind a number, or why there is none.
  Result<Device*> find(int device) const;

  mutable std::once_flag listed_;
  mutable std::vector<std::unique_ptr<Device>> devices_;
};

const std::vector<std::unique_ptr<Device>>& OpenClBackend::devices() const {
  std::call_once(listed_, [this] {
    for (const DeviceFacts& facts : machine().devices)
      devices_.push_back(std::make_unique<Device>(machine().api, facts, "opencl" + std::to_string(devices_.size())));
  });
  return devices_;
}

Result<Device*> OpenClBackend::find(int device) const {
  const auto& all = devices();
  if (device < 0 || static_cast<size_t>(device) >= std::max<size_t>(2 * all.size(), 1))
    return Error{ErrorCode::kInvalid,
                 "opencl: device " + std::to_string(device) + " is unknown; there are " + std::to_string(2 * all.size())};
  if (all.empty()) return Error{ErrorCode::kUnavailable, "opencl0: " + machine().why};
  Device& found = *all[static_cast<size_t>(device) / 2];
  if (!found.facts().unusable.empty())
    return Error{ErrorCode::kUnavailable, found.name() + ": " + found.facts().name + ": " + found.facts().unusable};
  return &found;
}

std::vector<DeviceDescription> OpenClBackend::describe() const {
  std::vector<DeviceDescription> all;
  for (const auto& device : devices()) {
    all.push_back(describe_device(*device));
    all.push_back(describe_link(*device));
  }
  if (!all.empty()) return all;
  DeviceDescription none;
  none.name = "opencl0";
  none.kind = DeviceKind::kGpu;
  none.backend = TESSERA_PLUGIN_NAME;
  none.available = false;
  none.why = machine().why;
  none.own_buffers = true;
  return {none};
}

Support OpenClBackend::supports(int device, const CostKey& key, const ModelShape& shape) const {
  const Result<Device*> found = find(device);
  if (!found.ok()) return {false, found.error().message};
  const std::string name = (*found)->name();
  if (key.op == Op::kTransfer) return {};
  if (queue_of(device) == Queue::kLink) return {false, name + ".link: transfers only"};
  if (!is_compute(key.op)) return {false, name + ": loads belong to a storage device"};
  if (shape.hidden < 1 || shape.heads < 1 || shape.slices < 1 || shape.hidden % shape.heads || shape.ffn % shape.slices) {
    return {false, name + ": hidden " + std::to_string(shape.hidden) + " in " + std::to_string(shape.heads) +
                       " heads, FFN " + std::to_string(shape.ffn) + " in " + std::to_string(shape.slices) +
                       " slices do not divide"};
  }
  if (shape.heads != shape.slices || shape.slices > kMaxSlices)
    return {false, name + ": " + std::to_string(shape.slices) + " slices of " + std::to_string(shape.heads) +
                       " heads; one slice a head, at most " + std::to_string(kMaxSlices)};
  const int64_t chunks = round_up(shape.head_width(), kPanel) / kPanel;
  if (static_cast<size_t>(chunks) > (*found)->facts().group_limit || chunks * 64 > (*found)->facts().local_bytes)
    return {false, name + ": heads of " + std::to_string(shape.head_width()) + " columns need work-groups of " +
                       std::to_string(chunks) + "; its limit is " + std::to_string((*found)->facts().group_limit)};
  if (key.slices > shape.slices && key.op != Op::kCombine)
    return {false, name + ": " + std::to_string(key.slices) + " slices of a model that has " + std::to_string(shape.slices)};
  return {};
}

Estimate OpenClBackend::estimate(int device, const CostKey& key, const ModelShape& shape) const {
  Estimate e;
  e.provenance = Provenance::kAnalytic;
  const Result<Device*> found = find(device);
  if (!found.ok()) return e;
  const DeviceFacts& facts = (*found)->facts();
  if (key.op == Op::kTransfer) {
    e.mean = kLinkLatency + from_seconds(static_cast<double>(key.bytes) / kBytesPerSecond);
  } else {
    const double lanes = facts.is_cpu() ? facts.vector_width : kGpuLanesPerUnit;
    const double rate = facts.units * lanes * facts.megahertz * 1e6 * kBusy;
    const double work = multiply_adds(shape, key) + kDecodeOps * weights_decoded(shape, key);
    e.mean = kLaunch * launches(key.op) + from_seconds(work / rate);
    e.workspace = Bytes{lay_out(shape, key.op, work_size(key), stored_bytes(shape)).bytes};
  }
  e.p95 = from_seconds(e.mean.seconds() * kTail);
  return e;
}

Result<Buffer> OpenClBackend::allocate(int device, Bytes bytes) {
  TESSERA_ASSIGN(Device* const found, find(device));
  TESSERA_ASSIGN(Buffer buffer, found->allocate(bytes));
  buffer.device = static_cast<DeviceId>(device);
  return buffer;
}

void OpenClBackend::release(Buffer& buffer) {
  if (buffer.native != nullptr) Device::release(static_cast<DeviceMemory*>(buffer.native));
  buffer = {};
}

Result<Ticket> OpenClBackend::submit(int device, const Task& task, const Operands& operands) {
  TESSERA_ASSIGN(Device* const found, find(device));
  const Op op = task.cost.op;
  const Queue queue = queue_of(device);
  if (op != Op::kTransfer && (queue == Queue::kLink || !is_compute(op)))
    return Error{ErrorCode::kInvalid,
                 found->name() + (queue == Queue::kLink ? ".link: transfers only" : ": loads belong to a storage device")};
  TESSERA_TRY(found->make_ready());
  Commands commands = found->begin(queue, "task " + std::to_string(task.id) + " (" + std::string(name_of(op)) + ")");
  if (op == Op::kTransfer) {
    if (Status recorded = record_moves(*found, commands, operands.moves); !recorded.ok()) return commands.abandon(recorded);
    return found->launch(queue, commands);
  }
  TESSERA_TRY(check_operands(*found, task, operands));
  switch (op) {
    case Op::kEmbed:
      record_embed(*found, commands, operands);
      break;
    case Op::kCombine:
      record_combine(*found, commands, task.cost.slices != 0, operands);
      break;
    case Op::kExit:
      record_exit(*found, commands, operands);
      break;
    default:
      record_layer(*found, commands, op, operands);
  }
  return found->launch(queue, commands);
}

Status OpenClBackend::wait(int device, Ticket ticket, Duration deadline) {
  TESSERA_ASSIGN(Device* const found, find(device));
  return found->wait(queue_of(device), ticket, deadline);
}

Status OpenClBackend::transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) {
  TESSERA_ASSIGN(Device* const found, find(device));
  TESSERA_TRY(found->make_ready());
  Commands commands = found->begin(Queue::kLink, "copy of " + to_string(bytes));
  const Move move{to, from, bytes};
  if (Status recorded = record_moves(*found, commands, {&move, 1}); !recorded.ok()) return commands.abandon(recorded);
  TESSERA_ASSIGN(const Ticket ticket, found->launch(Queue::kLink, commands));
  return found->wait(Queue::kLink, ticket, kForever);
}

Result<std::string> OpenClBackend::tune(int device, const ModelShape& shape) {
  TESSERA_ASSIGN(Device* const found, find(device));
  if (queue_of(device) == Queue::kLink) return std::string();
  CostKey layer;
  layer.op = Op::kLayer;
  if (const Support can = supports(device, layer, shape); !can.yes) return Error{ErrorCode::kInvalid, can.why};
  TESSERA_TRY(found->make_ready());
  TESSERA_ASSIGN(const Tuning tuning, try_tiles(*found, shape));
  return to_text(tuning);
}

Status OpenClBackend::set_tuning(int device, std::string_view text) {
  TESSERA_ASSIGN(Device* const found, find(device));
  if (queue_of(device) == Queue::kLink || text.empty()) return {};
  TESSERA_ASSIGN(const Tuning tuning, from_text(text, found->facts()));
  return found->set_tuning(tuning);
}

std::optional<Duration> OpenClBackend::measured(int device, Ticket ticket) {
  const Result<Device*> found = find(device);
  return found.ok() ? (*found)->measured(queue_of(device), ticket) : std::nullopt;
}

}  // namespace
}  // namespace tessera::opencl

TESSERA_REGISTER_BACKEND_ON_DEMAND(tessera::opencl::OpenClBackend)
