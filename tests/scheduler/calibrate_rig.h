// A machine to calibrate: the real storage backend on a small store, and devices that count what they are asked.
#pragma once

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "framework/clock.h"
#include "framework/registry.h"
#include "scheduler/calibrate_parts.h"
#include "tests/support/tiny_model.h"

namespace tessera {
void register_backends();
}

namespace tessera::testing {

// A compute device that ends every task at once and counts the keys it saw.
class CountingBackend final : public Backend {
 public:
  std::vector<DeviceDescription> describe() const override {
    DeviceDescription d;
    d.name = name;
    d.backend = "fake";
    if (!card) return {d};
    DeviceDescription l = d;
    d.kind = DeviceKind::kGpu;
    d.own_buffers = true;
    d.link = l.name = name + ".link";
    l.kind = DeviceKind::kLink;
    return {d, l};
  }
  Support supports(int device, const CostKey& key, const ModelShape&) const override {
    if (device == 1 && key.op != Op::kTransfer) return {false, "transfers only"};
    if (key.decoded && !decoded) return {false, "coded weights only"};
    return {};
  }
  Estimate estimate(int, const CostKey& key, const ModelShape&) const override {
    Estimate e;
    e.mean = e.p95 = milliseconds(7);
    e.workspace = {64 * (1 + key.tokens)};
    return e;
  }
  Result<Buffer> allocate(int, Bytes bytes) override {
    Buffer b;
    b.host = static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<size_t>(align_up(bytes, 4096).n)));
    b.bytes = bytes;
    ++buffers;
    return b;
  }
  void release(Buffer& buffer) override {
    if (buffer.host != nullptr) --buffers;
    std::free(buffer.host);
    buffer = {};
  }
  Result<Ticket> submit(int, const Task& task, const Operands& o) override {
    if (fails) return Error{ErrorCode::kDevice, "fake0 is broken"};
    ++seen[{static_cast<int>(task.cost.op), task.cost.decoded}];
    const Duration end = WallClock::instance().now() + (slow ? slow(task.cost) : Duration{});
    while (WallClock::instance().now() < end) {}
    last = slow ? slow(task.cost) : Duration{};
    if (task.cost.op == Op::kTransfer) return kDone;
    EXPECT_EQ(o.batch.tokens(), task.cost.tokens);
    EXPECT_GE(o.workspace_bytes, 64 * (1 + task.cost.tokens));
    EXPECT_GE(o.workspace.buffer->bytes.n, o.workspace_bytes);
    if (task.cost.op == Op::kLayer) {
      EXPECT_EQ(o.weights.size(), task.cost.slices);
      EXPECT_NE(o.residents, nullptr);
    }
    return kDone;
  }
  Status wait(int, Ticket, Duration) override { return {}; }
  Status transfer(int, MemoryRef, MemoryRef, Bytes) override { return {}; }
  Result<std::string> tune(int, const ModelShape&) override {
    if (!tuning.empty()) ++tunes;
    return tuning;
  }
  Status set_tuning(int, std::string_view text) override {
    taken_up = text;
    if (refuses_tuning) return Error{ErrorCode::kInvalid, "fake0: no such tile"};
    return {};
  }
  std::optional<Duration> measured(int, Ticket) override { return lies ? lies(last) : std::nullopt; }

  std::string name = "fake0";
  bool card = false;                                           // with buffers and a link of its own
  std::function<Duration(const CostKey&)> slow;                // what tasks take
  std::function<std::optional<Duration>(Duration took)> lies;  // what the device says that they took
  Duration last;
  std::string tuning, taken_up;
  bool refuses_tuning = false;
  int tunes = 0;
  bool decoded = true, fails = false;
  int buffers = 0;
  std::map<std::pair<int, bool>, int> seen;
};

class Calibrating : public ::testing::Test {
 protected:
  void SetUp() override {
    register_backends();
    machine_ = new_machine();
    options_.directory = cache_.path();
    options_.quiet = true;
    options_.version = "test";
  }

  // The real storage backend and counting ones; `set_up` may change the first of them.
  Machine new_machine(const std::function<void(CountingBackend&)>& set_up = {}, int fakes = 1) {
    Machine m;
    m.backends.push_back(backends().find("storage")->make({}));
    for (int i = 0; i < fakes; ++i) {
      auto counting = std::make_unique<CountingBackend>();
      counting->name = "fake" + std::to_string(i);
      if (i == 0) counting_ = counting.get();
      if (i == 0 && set_up) set_up(*counting);
      m.backends.push_back(std::move(counting));
    }
    for (auto& backend : m.backends) {
      const std::vector<DeviceDescription> devices = backend->describe();
      for (int d = 0; d < static_cast<int>(devices.size()); ++d) {
        m.platform.devices.push_back(devices[d]);
        m.bindings.push_back({backend.get(), d});
      }
    }
    m.costs = std::make_shared<CostBook>();
    return m;
  }

  Calibration calibrated() {
    auto result = calibrate(machine_, *tiny_.store, options_);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return result.ok() ? result.take() : Calibration{};
  }

  CostKey load(int64_t bytes) const {
    CostKey key;
    key.op = Op::kLoadShards;
    key.bytes = bytes;
    key.reads = 1;
    return key;
  }
  CostKey layer(int tokens, int slices, Bits bits) const {
    CostKey key;
    key.device = 1;
    key.op = Op::kLayer;
    key.tokens = static_cast<uint16_t>(tokens);
    key.slices = static_cast<uint8_t>(slices);
    key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
    return key;
  }

  static inline TinyStore tiny_ = make_tiny_store();
  TemporaryFolder cache_;
  Machine machine_;
  CountingBackend* counting_ = nullptr;
  CalibrationOptions options_;
};

}  // namespace tessera::testing
