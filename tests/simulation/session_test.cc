// Runs requests on simulated machines: late, early, warm, lucky, and without the device that was lost.
#include <algorithm>

#include "tests/simulation/simulated.h"

namespace tessera {
namespace {

using testing::asked;
using testing::Simulated;

TEST(SimulatedSession, WithoutDynamicsTakesWhatWasPlanned) {
  for (const char* platform : {"sti-board", "trio-board"})
    for (const char* policy : {"sti", "std-pipeline", "load-exec", "heft"}) {
      SCOPED_TRACE(std::string(platform) + " " + policy);
      Simulated plain(platform), there(platform);
      there.machine.simulation =
          std::make_shared<SimulatedMachine>(Dynamics{}, static_cast<int>(there.machine.platform.devices.size()));
      there.open();
      const auto a = plain.run(asked(policy, milliseconds(800))), b = there.run(asked(policy, milliseconds(800)));
      ASSERT_TRUE(a.ok() && b.ok());
      ASSERT_FALSE(a->planned->infeasible);
      EXPECT_EQ(a->latency, b->latency);
      EXPECT_EQ(a->latency, a->planned->plan.predicted.latency);
      EXPECT_EQ(a->io, b->io);
      EXPECT_EQ(a->peak, b->peak);
    }
}

TEST(SimulatedSession, IsLateWhereTheFlashIsSlowAndEarlyWhereItIsFast) {
  Simulated s("sti-board-swing", 3);
  int late = 0, early = 0;
  for (int i = 0; i < 60; ++i) {
    const auto answer = s.run(asked("load-exec", milliseconds(1500), milliseconds(2000 * i)));
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    const Duration predicted = answer->planned->plan.predicted.latency;
    late += answer->latency > predicted ? 1 : 0;
    early += answer->latency < predicted ? 1 : 0;
    EXPECT_GT(answer->latency.ns, predicted.ns / 2);
    EXPECT_LT(answer->latency.ns, predicted.ns * 2);
    EXPECT_EQ(answer->late, std::max(Duration{}, answer->latency - milliseconds(1500)));
  }
  EXPECT_GT(late, 10);
  EXPECT_GT(early, 10);
}

TEST(SimulatedSession, EqualSeedsGiveEqualRunsAndOthersOthers) {
  const auto latencies = [](uint64_t seed) {
    Simulated s("phone", seed);
    std::vector<int64_t> out;
    for (uint64_t i = 0; i < 5; ++i)
      out.push_back(
          s.run(asked("std-pipeline", milliseconds(900), milliseconds(static_cast<int64_t>(1000 * i)), i))->latency.ns);
    return out;
  };
  EXPECT_EQ(latencies(4), latencies(4));
  EXPECT_NE(latencies(4), latencies(5));
}

TEST(SimulatedSession, WhoComesBeforeTheLastOneEndedFindsTheMachineAsItBegan) {
  Simulated s("phone", 4);
  const auto first = s.run(asked("std-pipeline", milliseconds(900)));
  (void)s.run(asked("std-pipeline", milliseconds(900), milliseconds(3000)));
  EXPECT_GT(s.machine.simulation->now(), milliseconds(3000));
  s.open();
  const auto again = s.run(asked("std-pipeline", milliseconds(900)));
  EXPECT_EQ(first->latency, again->latency);
}

TEST(SimulatedSession, CountsWhatPassesBeforeTheFirstTask) {
  Simulated s("phone", 1);
  const auto answer = s.run(asked("std-pipeline", milliseconds(900)));
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->latency, answer->report.makespan + s.machine.simulation->setup(0, true));
  EXPECT_GE(s.machine.simulation->setup(0, true), microseconds(200));
  const auto later = s.run(asked("std-pipeline", milliseconds(900), milliseconds(5000)));
  EXPECT_EQ(later->latency, later->report.makespan + s.machine.simulation->setup(0, false));
}

TEST(SimulatedSession, AWarmPhoneIsSlowerUntilItHasRested) {
  Simulated s("phone", 1);
  const DeviceId cpu = *s.machine.platform.find("cpu0");
  const auto at = [&](Duration start) { return s.run(asked("std-pipeline", milliseconds(900), start))->latency; };
  (void)at({});
  const Duration cold = at(milliseconds(5000));
  Duration now = milliseconds(10'000);
  for (int i = 0; i < 120; ++i) now = now + at(now);
  EXPECT_TRUE(s.machine.simulation->state(cpu).throttled);
  const Duration warm = at(now);
  EXPECT_GT(warm.ns, cold.ns * 5 / 4);
  const Duration rested = at(now + milliseconds(600'000));
  EXPECT_LT(rested.ns, cold.ns * 21 / 20);
}

// The GPU of the trio is lost two seconds after the machine began.
TEST(LostInVirtualTime, TheOthersGoOnFromWhereItFailed) {
  Simulated before("trio-board-loss"), s("trio-board-loss");  // sessions of their own: nothing is kept
  const DeviceId gpu = *s.machine.platform.find("gpu0");
  RequestOptions options = asked("heft", kForever);
  options.bits = Bits{6};
  const auto whole = before.run(options);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  ASSERT_TRUE(whole->taken_over.empty());
  const auto& lane = whole->planned->graph.lane(gpu);
  ASSERT_FALSE(lane.empty()) << "heft does not use the GPU";
  options.starts_at = milliseconds(2000) - Duration{whole->latency.ns / 2};
  const auto answer = s.run(options);
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  ASSERT_EQ(answer->taken_over.size(), 1u);
  const TakenOver& lost = answer->taken_over[0];
  ASSERT_EQ(lost.faults.size(), 1u);
  EXPECT_EQ(lost.faults[0].name, "gpu0");
  ASSERT_TRUE(lost.layer.has_value());
  EXPECT_GT(*lost.layer, 0);
  EXPECT_EQ(answer->planned->plan.resumes_at, lost.layer);
  EXPECT_TRUE(answer->planned->graph.lane(gpu).empty());
  EXPECT_EQ(answer->latency, lost.at + answer->report.makespan);
  EXPECT_GT(answer->latency, whole->latency);
  EXPECT_LT(answer->latency.ns, whole->latency.ns * 4);
  // Layers that were done are not read again; those in flight for the GPU are.
  EXPECT_GE(answer->io, whole->io);
  EXPECT_LT(answer->io.n, whole->io.n * 2);
}

TEST(LostInVirtualTime, TwiceFoundDeadItIsAskedNoMore) {
  Simulated s("trio-board-loss");
  const DeviceId gpu = *s.machine.platform.find("gpu0");
  std::vector<size_t> takeovers;
  for (int i = 0; i < 4; ++i) {
    RequestOptions options = asked("heft", kForever, milliseconds(2500 + 1000 * i));
    options.bits = Bits{6};
    const auto answer = s.run(options);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    takeovers.push_back(answer->taken_over.size());
    if (i >= 2) { EXPECT_TRUE(answer->planned->graph.lane(gpu).empty()); }
  }
  EXPECT_EQ(takeovers, (std::vector<size_t>{1, 1, 0, 0}));
}

TEST(LostInVirtualTime, WithNothingLeftTheErrorNamesDeviceAndTime) {
  Simulated s("sti-board");
  Dynamics dynamics;
  dynamics.devices.resize(2);
  dynamics.devices[1].lost_at = milliseconds(100);
  s.machine.simulation = std::make_shared<SimulatedMachine>(dynamics, 2);
  s.open();
  const auto answer = s.run(asked("sti", milliseconds(400)));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, ErrorCode::kDevice);
  EXPECT_NE(answer.error().message.find("device cpu0 failed: "), std::string::npos) << answer.error().message;
  EXPECT_NE(answer.error().message.find("lost 100 ms after the machine began"), std::string::npos) << answer.error().message;
}

TEST(LostInVirtualTime, StorageThatIsLostCannotBeReplaced) {
  Simulated s("trio-board");
  Dynamics dynamics;
  dynamics.devices.resize(s.machine.platform.devices.size());
  dynamics.devices[*s.machine.platform.find("disk0")].lost_at = milliseconds(1);
  s.machine.simulation = std::make_shared<SimulatedMachine>(dynamics, static_cast<int>(dynamics.devices.size()));
  s.open();
  const auto answer = s.run(asked("heft", milliseconds(800)));
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().code, ErrorCode::kDevice);
}

TEST(SimulatedSession, RefusesTimesBeforeTheMachineBegan) {
  Simulated s("phone");
  EXPECT_EQ(s.run(asked("sti", milliseconds(900), nanoseconds(-1))).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(s.run(asked("sti", milliseconds(900), kForever)).error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace tessera
