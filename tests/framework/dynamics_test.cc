// Tests that simulated machines share, slow down, heat up, jitter and lose devices exactly as they are described.
#include "framework/dynamics.h"

#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "framework/device_speed.h"
#include "framework/executor.h"
#include "tests/framework/graphs.h"

namespace tessera {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

Dynamics plain(int devices) {
  Dynamics d;
  d.devices.resize(static_cast<size_t>(devices));
  return d;
}

// Runs a graph on a machine so described; its request starts at `at`.
RunReport run_on(SimulatedMachine& machine, const TaskGraph& graph, RunMoment moment = {}) {
  RunLimits limits;
  limits.moment = moment;
  return make_virtual_executor(nullptr, &machine)->run(graph, nullptr, limits);
}

std::vector<int64_t> ends(const RunReport& report) {
  std::vector<int64_t> out;
  for (const TaskTiming& t : report.tasks) out.push_back(t.end.ns);
  return out;
}

TEST(Dynamics, WithoutAnyTheMachineIsThePlainVirtualOne) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const RandomGraph g = random_graph(seed, seed % 2 == 0);
    RunLimits limits;
    limits.capacity = g.capacity;
    limits.held = g.held;
    SimulatedMachine machine({}, g.graph.device_count());
    const RunReport alone = make_virtual_executor(nullptr)->run(g.graph, nullptr, limits);
    const RunReport there = make_virtual_executor(nullptr, &machine)->run(g.graph, nullptr, limits);
    ASSERT_EQ(ends(alone), ends(there)) << "seed " << seed;
    ASSERT_EQ(alone.status.ok(), there.status.ok());
    ASSERT_EQ(alone.peak, there.peak);
  }
}

SharedBandwidth bus(int64_t bandwidth, std::vector<SharedBandwidth::Member> members) {
  return {"bus", bandwidth, std::move(members), {}};
}

TEST(SharedBandwidth, TwoReadsAtOnceTakeAsLongAsBothTogetherNeed) {
  Dynamics d = plain(2);
  d.shared = {bus(100, {{0, 100}, {1, 100}})};
  SimulatedMachine machine(d, 2);
  // Alone 10 and 30 ns; half speed while both run: the first ends at 20, then 20 ns of the second are left.
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 10}, {1, 30}}))), (std::vector<int64_t>{20, 40}));
}

TEST(SharedBandwidth, WhoAsksForLessThanItsShareGetsAllItAsksFor) {
  Dynamics d = plain(3);
  d.shared = {bus(100, {{0, 20}, {1, 100}, {2, 60}})};  // 20, 40, 40
  SimulatedMachine machine(d, 3);
  const auto ended = ends(run_on(machine, make_graph({{0, 100}, {1, 40}, {2, 60}})));
  // The third at two thirds ends after 90 ns and a bit; the second at 40 % has 3.6 ns of work left then, at 80 %.
  EXPECT_EQ(ended, (std::vector<int64_t>{100, 96, 91}));
}

TEST(SharedBandwidth, EqualAsksGetEqualSharesWhoeverIsNamedFirst) {
  for (const bool turned : {false, true}) {
    Dynamics d = plain(3);
    d.shared = {turned ? bus(100, {{2, 70}, {1, 70}, {0, 70}}) : bus(100, {{0, 70}, {1, 70}, {2, 70}})};
    SimulatedMachine machine(d, 3);
    const auto ended = ends(run_on(machine, make_graph({{0, 700}, {1, 700}, {2, 700}})));
    EXPECT_EQ(ended[0], ended[1]);
    EXPECT_EQ(ended[0], ended[2]);
    EXPECT_NEAR(static_cast<double>(ended[0]), 3 * 490, 50);  // three times 490 "bytes" at 100, a share of 33
  }
}

TEST(SharedBandwidth, OtherProgramsReadOnlyWhileTheyAreBusy) {
  Dynamics d = plain(1);
  d.shared = {bus(100, {{0, 100}})};
  d.shared[0].background = {{100, microseconds(20), microseconds(5), {}}};
  SimulatedMachine machine(d, 1);
  // Half speed in [0, 5), full in [5, 20), half in [20, 25): 17,500 ns of work are done at 20 us, the rest takes twice.
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 18'000}}))), (std::vector<int64_t>{21'000}));
}

TEST(SharedBandwidth, ConservesWork) {
  // Whatever comes and goes, the bus never moves more than its bandwidth, and moves that much while it is wanted.
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Dynamics d = plain(4);
    d.shared = {bus(1000, {{0, 1000}, {1, 1000}, {2, 1000}, {3, 1000}})};
    TaskGraphBuilder builder;
    int64_t sum = 0;
    for (int i = 0; i < 24; ++i) {
      const auto ns = static_cast<int64_t>(1000 + hash_draw({seed, static_cast<uint64_t>(i)}) % 5000);
      builder.add(make_task(i % 4, ns));
      sum += ns;
    }
    SimulatedMachine machine(d, 4);
    const RunReport report = run_on(machine, builder.build().take());
    EXPECT_GE(report.makespan.ns, sum);
    EXPECT_LE(report.makespan.ns, sum + sum / 1000 + 24);  // shares are whole: up to one in a thousand is lost
  }
}

TEST(ContentionOfLanes, SlowsOnlyWhileTheOtherRuns) {
  Dynamics d = plain(2);
  d.contention = {{1, 0, 2 * kPpm, 2 * kPpm}};
  SimulatedMachine machine(d, 2);
  // The disk reads for 30 ns; the layer of 40 ns did 15 by then.
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 30}, {1, 40}}))), (std::vector<int64_t>{30, 55}));
}

TEST(ContentionOfLanes, ALastingOneStaysWhileTheOtherWaits) {
  Dynamics d = plain(2);
  d.contention = {{1, 0, 2 * kPpm, 2 * kPpm, true}};
  SimulatedMachine machine(d, 2);
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 30}, {1, 40}}))), (std::vector<int64_t>{30, 80}));
  EXPECT_EQ(ends(run_on(machine, make_graph({{1, 40}, {0, 30, {0}}}))), (std::vector<int64_t>{40, 70}));  // a new run
}

TEST(ContentionOfLanes, CodedLayersMeetTheirOwnFactorByTheirShare) {
  Dynamics d = plain(2);
  d.contention = {{1, 0, kPpm, 3 * kPpm}};
  const auto layer_beside_a_read = [&](int coded, int exact) {
    TaskGraphBuilder builder;
    builder.add(make_task(0, 100'000));
    Task layer = make_task(1, 12'000);
    layer.cost.slices = static_cast<uint8_t>(coded + exact);
    layer.cost.bits[bits_level(2)] = static_cast<uint8_t>(coded);
    layer.cost.bits[bits_level(kExact)] = static_cast<uint8_t>(exact);
    builder.add(layer);
    SimulatedMachine machine(d, 2);
    return run_on(machine, builder.build().take()).tasks[1].end.ns;
  };
  EXPECT_EQ(layer_beside_a_read(0, 4), 12'000);
  EXPECT_EQ(layer_beside_a_read(2, 2), 24'000);
  EXPECT_NEAR(static_cast<double>(layer_beside_a_read(4, 0)), 36'000, 1);
}

TEST(SwingOfBandwidth, ASquareIsFastThenSlow) {
  Dynamics d = plain(1);
  d.devices[0].swing = {Swing::Shape::kSquare, 500'000, microseconds(20), {}};
  SimulatedMachine machine(d, 1);
  // 15 us of work are done after the fast 10 us; 5 more take the slow 10 us.
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 20'000}}))), (std::vector<int64_t>{20'000}));
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 15'000}}), {microseconds(40)})), (std::vector<int64_t>{10'000}));
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 5'000}}), {microseconds(50)})), (std::vector<int64_t>{10'000}));
}

TEST(SwingOfBandwidth, StaysWithinItsAmplitudeAndAveragesOut) {
  for (const auto shape : {Swing::Shape::kSine, Swing::Shape::kWalk}) {
    DeviceDynamics d;
    d.swing = {shape, 500'000, milliseconds(100), {}};
    DeviceSpeed speed(d, 3, 7);
    int64_t least = INT64_MAX, most = 0, sum = 0;
    constexpr int kSteps = 40'000;
    for (int i = 0; i < kSteps; ++i) {
      speed.pass(milliseconds(i), false);
      least = std::min(least, speed.swing());
      most = std::max(most, speed.swing());
      sum += speed.swing();
    }
    EXPECT_GE(least, 500'000);
    EXPECT_LE(most, 1'500'000);
    EXPECT_LT(least, 510'000);
    EXPECT_GT(most, 1'490'000);
    EXPECT_NEAR(static_cast<double>(sum) / kSteps, 1e6, 6e4);
  }
}

TEST(SwingOfBandwidth, AWalkIsTheSameWhereverOneLooksFirst) {
  DeviceDynamics d;
  d.swing = {Swing::Shape::kWalk, 400'000, milliseconds(1), {}};
  for (const int64_t at : {0, 100, 255, 256, 257, 300}) {
    DeviceSpeed fresh(d, 0, 9), walked(d, 0, 9);
    for (int64_t t = 0; t <= at; ++t) {
      walked.pass(milliseconds(t), true);
      (void)walked.swing();
    }
    fresh.pass(milliseconds(at), false);
    EXPECT_EQ(fresh.swing(), walked.swing()) << at;
  }
}

Thermal phone_heat() { return {40'000'000, milliseconds(20'000), 30'000'000, 25'000'000, 500'000, 0}; }

TEST(Heat, FollowsNewtonsLawUpAndDown) {
  DeviceDynamics d;
  d.thermal = phone_heat();
  d.thermal.throttle_at = d.thermal.resume_at = 500'000'000;
  DeviceSpeed speed(d, 0, 0);
  speed.pass({20 * kSecond}, true);
  EXPECT_NEAR(static_cast<double>(speed.heat()), 40e6 * (1 - std::exp(-1.0)), 1e5);
  const auto warm = static_cast<double>(speed.heat());
  speed.pass({30 * kSecond}, false);
  EXPECT_NEAR(static_cast<double>(speed.heat()), warm * std::exp(-0.5), 1e5);
  speed.pass({10'000 * kSecond}, false);
  EXPECT_EQ(speed.heat(), 0);
}

TEST(Heat, AHotDeviceIsSlowedUntilItHasCooledEnough) {
  DeviceDynamics d;
  d.thermal = phone_heat();
  DeviceSpeed speed(d, 0, 0);
  speed.pass({27 * kSecond}, true);  // 40 (1 - e^(-27/20)) = 29.6 K
  EXPECT_FALSE(speed.throttled());
  speed.pass({29 * kSecond}, true);
  EXPECT_TRUE(speed.throttled());
  EXPECT_EQ(speed.throttled_to(), 500'000);
  speed.pass({30 * kSecond}, false);
  EXPECT_TRUE(speed.throttled());  // between the thresholds
  speed.pass({33 * kSecond}, false);
  EXPECT_FALSE(speed.throttled());
}

TEST(Heat, LastingWorkSettlesBetweenTheThresholds) {
  DeviceDynamics d;
  d.thermal = phone_heat();
  DeviceSpeed speed(d, 0, 0);
  speed.pass({200 * kSecond}, true);
  for (int i = 0; i < 100; ++i) {
    speed.pass({(200 + i) * kSecond}, true);
    EXPECT_GT(speed.heat(), 24'500'000);
    EXPECT_LT(speed.heat(), 30'500'000);
  }
}

TEST(Heat, TasksTakeTwiceAsLongWhereHalfTheSpeedIsLeft) {
  Dynamics d = plain(1);
  d.devices[0].thermal = phone_heat();
  SimulatedMachine machine(d, 1);
  const TaskGraph work = make_graph({{0, 28 * kSecond}}), probe = make_graph({{0, 100'000}});
  EXPECT_EQ(ends(run_on(machine, probe)), (std::vector<int64_t>{100'000}));
  run_on(machine, work, {Duration{kSecond}});
  EXPECT_TRUE(machine.state(0).throttled);
  EXPECT_EQ(ends(run_on(machine, probe, {machine.now()})), (std::vector<int64_t>{200'000}));
  EXPECT_EQ(ends(run_on(machine, probe, {machine.now() + Duration{60 * kSecond}})), (std::vector<int64_t>{100'000}));
}

FrequencyLevels two_levels() { return {{{500'000, 250'000}, {1'000'000, 1'000'000}}, milliseconds(10), 800'000}; }

TEST(Governor, RaisesTheFrequencyOnceASampleWasBusy) {
  Dynamics d = plain(1);
  d.devices[0].frequency = two_levels();
  SimulatedMachine machine(d, 1);
  // 10 ms at half speed, then full: 5 + 15 ms of work.
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 20'000'000}}))), (std::vector<int64_t>{25'000'000}));
}

TEST(Governor, FallsBackToTheLowestThatWouldDo) {
  DeviceDynamics d;
  d.frequency = {{{250'000}, {500'000}, {1'000'000}}, milliseconds(10), 800'000};
  DeviceSpeed speed(d, 0, 0);
  speed.pass(milliseconds(10), true);
  EXPECT_EQ(speed.frequency(), 1'000'000);
  speed.pass(milliseconds(13), true);  // 30 % busy at full speed: 60 % at half
  speed.pass(milliseconds(20), false);
  EXPECT_EQ(speed.frequency(), 500'000);
  speed.pass(milliseconds(21), true);  // 10 % at half: 20 % at a quarter
  speed.pass(milliseconds(30), false);
  EXPECT_EQ(speed.frequency(), 250'000);
  speed.pass(milliseconds(1'000'000), false);
  EXPECT_EQ(speed.frequency(), 250'000);
}

TEST(DeviceLoss, FailsWhatRunsThereAndAllThatComesLater) {
  Dynamics d = plain(2);
  d.devices[1].lost_at = microseconds(50);
  SimulatedMachine machine(d, 2);
  const RunReport report =
      run_on(machine, make_graph({{0, 200}, {1, 20'000}, {1, 40'000}, {1, 5}, {0, 80'000}, {0, 1, {2}}}));
  EXPECT_EQ(report.tasks[1].state, TaskState::kDone);
  EXPECT_EQ(report.tasks[2].state, TaskState::kFailed);
  EXPECT_EQ(report.tasks[2].end, microseconds(50));
  EXPECT_EQ(report.tasks[3].state, TaskState::kFailed);
  EXPECT_EQ(report.tasks[4].state, TaskState::kDone);
  EXPECT_EQ(report.tasks[5].state, TaskState::kCancelled);
  ASSERT_EQ(report.faults.size(), 2u);
  EXPECT_EQ(report.faults[0].error.message,
            "task 2 'layer L0' on device 1: the simulated device was lost 50.0 us after the machine began");
  EXPECT_EQ(report.faults[0].error.code, ErrorCode::kDevice);
}

TEST(DeviceLoss, IsThereAgainOnAMachineThatBeginsAnew) {
  Dynamics d = plain(1);
  d.devices[0].lost_at = microseconds(50);
  SimulatedMachine machine(d, 1);
  EXPECT_FALSE(run_on(machine, make_graph({{0, 10}}), {microseconds(60)}).status.ok());
  EXPECT_TRUE(run_on(machine, make_graph({{0, 10}}), {microseconds(10)}).status.ok());
}

TEST(Jitter, DrawsTheTasksTimesFromTheQuantilesGiven) {
  Dynamics d = plain(1);
  d.devices[0].jitter[static_cast<size_t>(Op::kLayer)].at = {900'000, 1'000'000, 1'400'000};
  d.seed = 11;
  SimulatedMachine machine(d, 1);
  std::vector<int64_t> times;
  for (uint64_t request = 0; request < 2000; ++request) {
    const auto ended = ends(run_on(machine, make_graph({{0, 1'000'000}, {0, 1'000'000}}), {{}, request}));
    times.insert(times.end(), {ended[0], ended[1] - ended[0]});
  }
  std::sort(times.begin(), times.end());
  EXPECT_GE(times.front(), 900'000);
  EXPECT_LE(times.back(), 1'400'001);
  EXPECT_NEAR(static_cast<double>(times[1000]), 950'000, 5'000);
  EXPECT_NEAR(static_cast<double>(times[2000]), 1'000'000, 15'000);
  EXPECT_NEAR(static_cast<double>(times[3000]), 1'200'000, 15'000);
}

TEST(Jitter, ChangesWithSeedRequestTaskAndAttemptAndWithNothingElse) {
  Dynamics d = plain(1);
  d.devices[0].jitter[static_cast<size_t>(Op::kLayer)].at = {500'000, 2'000'000};
  TaskGraphBuilder builder;
  for (int i = 0; i < 64; ++i) builder.add(make_task(0, 1'000'000));
  const TaskGraph graph = builder.build().take();
  const auto first = [&](uint64_t seed, RunMoment moment) {
    Dynamics seeded = d;
    seeded.seed = seed;
    SimulatedMachine machine(seeded, 1);
    return ends(run_on(machine, graph, moment));
  };
  const auto base = first(1, {{}, 5, 0, false});
  std::set<int64_t> times;
  for (size_t i = 1; i < base.size(); ++i) times.insert(base[i] - base[i - 1]);
  EXPECT_GT(times.size(), 3u);   // some have luck of their own
  EXPECT_LT(times.size(), 25u);  // most have their request's
  EXPECT_EQ(base, first(1, {{}, 5, 0, false}));
  EXPECT_EQ(base, first(1, {milliseconds(7), 5, 0, true}));  // when does not matter
  EXPECT_NE(base, first(2, {{}, 5, 0, false}));
  EXPECT_NE(base, first(1, {{}, 6, 0, false}));
  EXPECT_NE(base, first(1, {{}, 5, 1, false}));
}

TEST(Jitter, OfARequestHitsAllItsTasksAlike) {
  Dynamics d = plain(1);
  d.later.ratio.at = {500'000, 2'000'000};
  d.first.ratio.at = {3'000'000};
  d.later.setup.at = {1000, 2000};
  SimulatedMachine machine(d, 1);
  const auto ended = ends(run_on(machine, make_graph({{0, 1'000'000}, {0, 1'000'000}}), {{}, 3}));
  EXPECT_EQ(ended[1], 2 * ended[0]);
  EXPECT_EQ(ends(run_on(machine, make_graph({{0, 10}}), {{}, 3, 0, true}))[0], 30);
  EXPECT_GE(machine.setup(3, false), Duration{1000});
  EXPECT_LE(machine.setup(3, false), Duration{2000});
  EXPECT_EQ(machine.setup(3, true), Duration{});
}

TEST(EndlessRuns, EndWithAnErrorThatSaysWhatToChange) {
  Dynamics d = plain(1);
  d.devices[0].frequency = {{{kPpm}}, microseconds(10), 800'000};
  SimulatedMachine machine(d, 1);
  const RunReport report = run_on(machine, make_graph({{0, INT64_MAX / 4}}));
  ASSERT_FALSE(report.status.ok());
  EXPECT_NE(report.status.error().message.find("describe slower changes"), std::string::npos);
}

}  // namespace
}  // namespace tessera
