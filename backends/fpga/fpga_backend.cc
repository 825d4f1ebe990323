// Offers FPGAs as devices: fpga0 computes, fpga0.link takes weights over beside it. XRT itself lives in a worker process.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>

#include <unistd.h>

#include "backends/fpga/device.h"
#include "backends/fpga/installation.h"
#include "backends/fpga/lane.h"
#include "framework/cost_model_work.h"
#include "framework/registry.h"
#include "hls/kernels.h"

namespace tessera::fpga {
namespace {

constexpr int64_t kBankBytes = int64_t{16} << 30;  // of the emulated device (emulator/packer.cc)
constexpr std::chrono::milliseconds kLeastLimit{5'000};

// Guesses that calibration replaces, of the emulator on a server core (README.md).
constexpr Duration kPerRun = microseconds(45);
constexpr Duration kPerTask = microseconds(80);
constexpr double kMultiplyAddsPerSecond = 2.5e9;
constexpr double kCopyBytesPerSecond = 1.5e9;
constexpr double kTail = 1.5;  // p95 over mean

Bytes physical_memory() { return Bytes{static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE)}; }

// TESSERA_FPGA_LIMIT_MS: for tests of devices that hang.
std::chrono::milliseconds least_limit() {
  const char* text = std::getenv("TESSERA_FPGA_LIMIT_MS");  // NOLINT(concurrency-mt-unsafe): nothing writes it here
  const long given = text == nullptr ? 0 : std::atol(text);
  return given > 0 ? std::chrono::milliseconds(given) : kLeastLimit;
}

bool is_layer_op(Op op) { return op == Op::kLayer || op == Op::kAttentionPart || op == Op::kFfnPart; }

// One FPGA with its two queues. Made when it is first used.
struct Card {
  Device device;
  Lane computes, copies;
  Card(const WorkerPlan& plan, Bytes capacity, std::function<Duration(const Task&, const Operands&)> expected)
      : device(plan, capacity, least_limit()),
        computes([this, expected = std::move(expected)](const Task& task, const Operands& operands) {
          if (task.cost.op == Op::kTransfer) return device.move(kComputeChannel, task, operands.moves);
          return device.compute(task, operands, expected(task, operands));
        }),
        copies([this](const Task& task, const Operands& operands) {
          return device.move(kLinkChannel, task, operands.moves);
        }) {}
};

// Devices 2k and 2k + 1 of the contract are card k and its link.
class FpgaBackend final : public Backend {
 public:
  explicit FpgaBackend(const BackendOptions&) {}
  std::vector<DeviceDescription> describe() const override;
  Support supports(int device, const CostKey& key, const ModelShape& shape) const override;
  Estimate estimate(int device, const CostKey& key, const ModelShape& shape) const override;
  Result<Buffer> allocate(int device, Bytes bytes) override;
  void release(Buffer& buffer) override;
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override;
  Status wait(int device, Ticket ticket, Duration deadline) override;
  Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) override;
  void cancel(int device, Ticket ticket) override;

 private:
  const Installation& installation() const;
  std::string name(int device) const { return "fpga" + std::to_string(device / 2) + (device % 2 == 0 ? "" : ".link"); }
  Bytes capacity() const { return std::min(physical_memory(), Bytes{kBankBytes}); }
  Result<Card*> card(int device);
  Card* made_card(int device) const;

  mutable std::once_flag looked_;
  mutable Installation installation_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Card>> cards_;
};

const Installation& FpgaBackend::installation() const {
  std::call_once(looked_, [this] { installation_ = find_installation(); });
  return installation_;
}

std::vector<DeviceDescription> FpgaBackend::describe() const {
  const Installation& found = installation();
  std::vector<DeviceDescription> devices(static_cast<size_t>(found.devices) * 2);
  for (int i = 0; i < static_cast<int>(devices.size()); ++i) {
    DeviceDescription& d = devices[static_cast<size_t>(i)];
    d.name = name(i);
    d.kind = i % 2 == 0 ? DeviceKind::kFpga : DeviceKind::kLink;
    d.backend = TESSERA_PLUGIN_NAME;
    d.available = found.ready.ok();
    if (!d.available) d.why = found.ready.error().message;
    d.emulated = found.emulated;
    d.shared_with_host = found.emulated;
    d.memory_capacity = capacity();
    if (i % 2 == 1) continue;
    d.own_buffers = true;
    d.link = name(i + 1);
    if (d.available) {
      d.properties = {
          {"runs on", found.emulated ? "XRT software emulation (functional: its times are a CPU's)" : "a card, through XRT"},
          {"xclbin", found.uuid},
          {"compute units", std::to_string(found.units) + " of " + std::string(kMatmul.name)}};
    }
  }
  return devices;
}

Support FpgaBackend::supports(int device, const CostKey& key, const ModelShape& shape) const {
  const std::string n = name(device);
  if (device < 0 || device >= 2 * installation().devices)
    return {false, "fpga: device " + std::to_string(device) + " is unknown"};
  if (key.op == Op::kTransfer) return {};
  if (device % 2 == 1) return {false, n + ": runs transfers only"};
  if (key.op == Op::kEmbed || key.op == Op::kExit)
    return {false, n + ": no kernel for the embedding and the exit head; they are the host's"};
  if (!is_layer_op(key.op) && key.op != Op::kCombine) return {false, n + ": loads belong to a storage device"};
  if (shape.hidden < 1 || shape.heads < 1 || shape.heads != shape.slices || shape.hidden % shape.heads != 0 ||
      shape.ffn % shape.slices != 0 || shape.slices > kMaxSlices) {
    return {false, n + ": hidden " + std::to_string(shape.hidden) + ", FFN " + std::to_string(shape.ffn) + " in " +
                       std::to_string(shape.slices) + " slices of " + std::to_string(shape.heads) +
                       " heads; they must divide, one slice a head"};
  }
  const auto beyond = [&](const char* what, int64_t given, uint32_t most) {
    return Support{false,
                   n + ": " + what + " " + std::to_string(given) + " is more than the kernels' " + std::to_string(most)};
  };
  if (shape.hidden > static_cast<int64_t>(hls::kMostIn)) return beyond("hidden", shape.hidden, hls::kMostIn);
  if (shape.ffn_share() > static_cast<int64_t>(hls::kMostIn)) return beyond("FFN share", shape.ffn_share(), hls::kMostIn);
  if (shape.head_width() > static_cast<int64_t>(hls::kMostHeadWidth))
    return beyond("head width", shape.head_width(), hls::kMostHeadWidth);
  if (is_layer_op(key.op) && key.slices > shape.slices)
    return {false, n + ": " + std::to_string(key.slices) + " slices of a model that has " + std::to_string(shape.slices)};
  return {};
}

Estimate FpgaBackend::estimate(int, const CostKey& key, const ModelShape& shape) const {
  Estimate e;
  e.provenance = installation().emulated ? Provenance::kAnalytic : Provenance::kGuessed;
  if (key.op == Op::kTransfer) {
    e.mean = from_seconds(static_cast<double>(key.bytes) / kCopyBytesPerSecond) + kPerTask;
  } else {
    const int runs =
        key.op == Op::kCombine ? 1 : key.slices * (key.op == Op::kFfnPart ? 3 : 5 + (key.op == Op::kLayer ? 3 : 0));
    e.mean = from_seconds(multiply_adds(shape, key) / kMultiplyAddsPerSecond) + kPerRun * runs + kPerTask;
    if (is_layer_op(key.op) || key.op == Op::kCombine)
      e.workspace = Bytes{Device::workspace(shape, key.op, int64_t{key.batch} * key.tokens)};
  }
  e.p95 = from_seconds(e.mean.seconds() * kTail);
  return e;
}

Card* FpgaBackend::made_card(int device) const {
  const std::lock_guard lock(mutex_);
  const auto at = static_cast<size_t>(device / 2);
  return device >= 0 && at < cards_.size() ? cards_[at].get() : nullptr;
}

Result<Card*> FpgaBackend::card(int device) {
  const Installation& found = installation();
  if (device < 0 || device >= 2 * found.devices)
    return Error{ErrorCode::kInvalid,
                 "fpga: device " + std::to_string(device) + " is unknown; there are " + std::to_string(2 * found.devices)};
  if (!found.ready.ok())
    return Error{found.ready.error().code, "device " + name(device) + " is not available: " + found.ready.error().message};
  const std::lock_guard lock(mutex_);
  cards_.resize(static_cast<size_t>(found.devices));
  auto& card = cards_[static_cast<size_t>(device / 2)];
  if (card == nullptr) {
    const int compute = device / 2 * 2;
    card = std::make_unique<Card>(found.plan(name(compute), static_cast<unsigned>(device / 2)), capacity(),
                                  [this, compute](const Task& task, const Operands& operands) {
                                    return estimate(compute, task.cost, *operands.shape).mean;
                                  });
  }
  return card.get();
}

Result<Buffer> FpgaBackend::allocate(int device, Bytes bytes) {
  TESSERA_ASSIGN(Card* const found, card(device));
  TESSERA_ASSIGN(const RegionRef region, found->device.allocate(bytes));
  Buffer buffer;
  buffer.native = region.get();
  buffer.bytes = bytes;
  buffer.device = static_cast<DeviceId>(device);
  return buffer;
}

void FpgaBackend::release(Buffer& buffer) {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& card : cards_)
      if (card != nullptr && buffer.native != nullptr) card->device.release(buffer.native);
  }
  buffer = {};
}

Result<Ticket> FpgaBackend::submit(int device, const Task& task, const Operands& operands) {
  TESSERA_ASSIGN(Card* const found, card(device));
  const bool transfer = task.cost.op == Op::kTransfer;
  if (!transfer && (device % 2 == 1 || operands.shape == nullptr)) {
    return Error{ErrorCode::kInvalid, "device " + name(device) + ": " + name_of(task) +
                                          (device % 2 == 1 ? ": a link runs transfers only" : ": no model shape; bind it")};
  }
  if (!transfer) {
    if (const Support s = supports(device, task.cost, *operands.shape); !s.yes) return Error{ErrorCode::kInvalid, s.why};
  }
  return (device % 2 == 0 ? found->computes : found->copies).submit(task, operands);
}

Status FpgaBackend::wait(int device, Ticket ticket, Duration deadline) {
  Card* found = made_card(device);
  if (found == nullptr) return {};
  return (device % 2 == 0 ? found->computes : found->copies).wait(ticket, deadline);
}

void FpgaBackend::cancel(int device, Ticket ticket) {
  if (Card* found = made_card(device)) (device % 2 == 0 ? found->computes : found->copies).cancel(ticket);
}

Status FpgaBackend::transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) {
  TESSERA_ASSIGN(Card* const found, card(device));
  const Move move{to, from, bytes};
  return found->device.move(kControlChannel, Task{}, {&move, 1});
}

}  // namespace
}  // namespace tessera::fpga

TESSERA_REGISTER_BACKEND_ON_DEMAND(tessera::fpga::FpgaBackend)
