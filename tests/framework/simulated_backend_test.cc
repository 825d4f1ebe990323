// Tests that simulated devices take the time that their cost models say.
#include "framework/simulated_backend.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

// Every task takes as many microseconds as it has tokens.
class MicrosecondPerToken final : public CostModel {
 public:
  std::string_view kind() const override { return "test"; }
  Estimate estimate(const CostKey& key) const override {
    Estimate e;
    e.mean = e.p95 = microseconds(key.tokens);
    return e;
  }
  bool observe(const CostKey&, Duration) override { return false; }
};

class SimulatedDevices : public testing::Test {
 protected:
  SimulatedDevices() {
    std::vector<SimulatedDevice> devices(2);
    for (SimulatedDevice& device : devices) device.costs = std::make_unique<MicrosecondPerToken>();
    devices[0].description.memory_capacity = kib(8);
    devices[0].description.name = "card";
    backend_ = std::make_unique<SimulatedBackend>(&clock_, std::move(devices));
  }
  Ticket submit(int device, int tokens) {
    Task task;
    task.cost.tokens = static_cast<uint16_t>(tokens);
    return backend_->submit(device, task, {}).take();
  }
  VirtualClock clock_;
  std::unique_ptr<SimulatedBackend> backend_;
};

TEST_F(SimulatedDevices, WaitMovesTheClockToTheEnd) {
  EXPECT_TRUE(backend_->wait(0, submit(0, 7), kForever).ok());
  EXPECT_EQ(clock_.now(), microseconds(7));
}

TEST_F(SimulatedDevices, WaitStopsAtItsDeadlineAndMayBeRepeated) {
  const Ticket ticket = submit(0, 7);
  const Status early = backend_->wait(0, ticket, microseconds(3));
  ASSERT_FALSE(early.ok());
  EXPECT_EQ(early.error().code, ErrorCode::kDeadline);
  EXPECT_EQ(clock_.now(), microseconds(3));
  EXPECT_TRUE(backend_->wait(0, ticket, microseconds(7)).ok());
}

TEST_F(SimulatedDevices, OneDeviceQueuesAndTwoOverlap) {
  const Ticket first = submit(0, 5), second = submit(0, 5), other = submit(1, 6);
  EXPECT_TRUE(backend_->wait(1, other, kForever).ok());
  EXPECT_EQ(clock_.now(), microseconds(6));
  EXPECT_TRUE(backend_->wait(0, second, kForever).ok());
  EXPECT_EQ(clock_.now(), microseconds(10));
  EXPECT_TRUE(backend_->wait(0, first, Duration{}).ok()) << "it ended long ago";
}

TEST_F(SimulatedDevices, CancelEndsATicketNow) {
  const Ticket ticket = submit(0, 500);
  backend_->cancel(0, ticket);
  EXPECT_EQ(backend_->wait(0, ticket, kForever).error().code, ErrorCode::kCancelled);
  EXPECT_EQ(clock_.now(), Duration{});
}

TEST_F(SimulatedDevices, RefuseMoreThanTheirMemoryHolds) {
  Buffer half = backend_->allocate(0, kib(4)).take();
  const Result<Buffer> more = backend_->allocate(0, kib(5));
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.error().message, "device card: cannot allocate 5.0 KiB: 4.0 KiB free");
  backend_->release(half);
  Buffer all = backend_->allocate(0, kib(8)).take();
  backend_->release(all);
}

}  // namespace
}  // namespace tessera
