// Template of a backend: every call of the contract, for devices that end each task at once and compute nothing.
//
// To add a backend, copy this folder, rename it, and work from the top down; the conformance suite names what is missing.
// What a real device needs beyond this is marked with "A real device".
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "framework/registry.h"

namespace tessera {
namespace {

constexpr int64_t kAlignment = 4096;  // backend.h
constexpr int kDevices = 2;           // two, so that tests and benchmarks see devices run side by side

std::string device_name(int device) { return "null" + std::to_string(device); }

std::string no_such(int device) {
  return "backend null has devices 0 to " + std::to_string(kDevices - 1) + ", not " + std::to_string(device);
}

bool holds(const MemoryRef& reference, Bytes bytes) {
  return reference && reference.buffer->host != nullptr && reference.offset >= 0 && bytes.n >= 0 &&
         reference.offset <= reference.buffer->bytes.n && bytes.n <= reference.buffer->bytes.n - reference.offset;
}

class NullBackend final : public Backend {
 public:
  // A real device: remember the options, open nothing yet. Vendor libraries open in describe() at the earliest.
  explicit NullBackend(const BackendOptions&) {}

  // Never chosen for a request: a device that computes nothing must not be there when devices are picked.
  std::vector<DeviceDescription> describe() const override {
    std::vector<DeviceDescription> devices(kDevices);
    for (int d = 0; d < kDevices; ++d) {
      devices[d].name = device_name(d);
      devices[d].kind = DeviceKind::kCpu;
      devices[d].backend = "null";
      devices[d].available = false;
      devices[d].why = "template of a backend: ends every task at once and computes nothing";
      devices[d].properties = {{"computes", "nothing"}};
    }
    return devices;
  }

  // A real device: say no, by name and number, to every op, bitwidth and shape that it cannot do.
  Support supports(int device, const CostKey&, const ModelShape&) const override {
    if (device < 0 || device >= kDevices) return {false, no_such(device)};
    return {};
  }

  // A real device: from its own figures (peak operations, bandwidth), and the scratch that the kernel will really use.
  Estimate estimate(int, const CostKey&, const ModelShape&) const override {
    Estimate estimate;
    estimate.provenance = Provenance::kAnalytic;
    return estimate;
  }

  Result<Buffer> allocate(int device, Bytes bytes) override {
    const auto refuse = [&](ErrorCode code, const char* why) {
      return Error{code, "device " + device_name(device) + ": cannot allocate " + to_string(bytes) + ": " + why};
    };
    if (bytes.n <= 0) return refuse(ErrorCode::kInvalid, "ask for at least one byte");
    if (bytes.n > INT64_MAX - kAlignment) return refuse(ErrorCode::kDevice, "no host memory");
    void* const memory = std::aligned_alloc(kAlignment, static_cast<size_t>(align_up(bytes, kAlignment).n));
    if (memory == nullptr) return refuse(ErrorCode::kDevice, "no host memory");
    Buffer buffer;
    buffer.host = static_cast<std::byte*>(memory);
    buffer.bytes = bytes;
    buffer.device = static_cast<DeviceId>(device);
    return buffer;
  }

  void release(Buffer& buffer) override {
    std::free(buffer.host);
    buffer = Buffer{};
  }

  // A real device: check the operands, start the work and return a ticket; never block here.
  Result<Ticket> submit(int device, const Task& task, const Operands& operands) override {
    if (device < 0 || device >= kDevices) return Error{ErrorCode::kInvalid, no_such(device)};
    if (task.cost.op == Op::kTransfer)
      for (const Move& move : operands.moves) TESSERA_TRY(transfer(device, move.to, move.from, move.bytes));
    return kDone;
  }

  // A real device: block until the ticket has ended or the deadline has passed, whichever is first; never longer.
  Status wait(int, Ticket, Duration) override { return {}; }

  Status transfer(int device, MemoryRef to, MemoryRef from, Bytes bytes) override {
    if (!holds(to, bytes) || !holds(from, bytes))
      return Error{ErrorCode::kInvalid, "device " + device_name(device) + ": transfer of " + to_string(bytes) +
                                            " leaves its buffer; check offset and size"};
    std::memmove(to.as<std::byte>(), from.as<std::byte>(), static_cast<size_t>(bytes.n));
    return {};
  }
};

}  // namespace
}  // namespace tessera

TESSERA_REGISTER_BACKEND(tessera::NullBackend)
