// Tests that this machine's simulation says what calibration measured and requests taught, and counts nothing twice.
#include <gtest/gtest.h>

#include "framework/cost_model_learned.h"
#include "scheduler/simulation.h"

namespace tessera {
namespace {

CostKey key_of(DeviceId device, Op op) {
  CostKey key;
  key.device = device;
  key.op = op;
  key.tokens = 16;
  key.slices = 4;
  key.bytes = 1 << 20;
  return key;
}

// A disk and a CPU with learned windows: ratios of loads around `load`, of layers around `layer`.
struct Here {
  Here(double load, double layer) {
    machine.platform.devices.resize(2);
    machine.platform.devices[0].kind = DeviceKind::kStorage;
    machine.platform.devices[1].kind = DeviceKind::kCpu;
    machine.costs = std::make_shared<CostBook>();
    Roofline figures;
    figures.latency = milliseconds(1);
    figures.bandwidth = {1e9};
    figures.flops_per_second = 1e9;
    for (const DeviceId device : {0, 1}) machine.costs->set(device, make_roofline({}, figures));
    teach(0, Op::kLoadShards, load);
    teach(1, Op::kLayer, layer);
    calibration.devices.resize(2);
  }
  void teach(DeviceId device, Op op, double around) {
    LearnedWindow window;
    window.kind = LearnedRatios::kind_of(key_of(device, op));
    for (int i = 0; i < 101; ++i) window.ratios.push_back(around * (0.9 + 0.002 * i));
    window.samples = 101;
    machine.costs->model(device)->restore({window});
  }
  // The middle of the jitter of such tasks, ppm.
  int64_t middle(DeviceId device, Op op) const {
    const Dynamics d = calibrated_dynamics(machine, calibration);
    return d.devices[device].jitter_by_kind.at(LearnedRatios::kind_of(key_of(device, op))).draw(uint64_t{1} << 63, 0);
  }
  Machine machine;
  Calibration calibration;
};

TEST(CalibratedDynamics, JitterSpreadsAroundTheLearnedMedianWhichTheCostModelHas) {
  const Here here(1.0, 1.3);
  EXPECT_NEAR(static_cast<double>(here.middle(0, Op::kLoadShards)), 1e6, 2e3);
  const Dynamics d = calibrated_dynamics(here.machine, here.calibration);
  const Quantiles& loads = d.devices[0].jitter_by_kind.begin()->second;
  EXPECT_NEAR(static_cast<double>(loads.at.front()), 0.9e6, 2e3);
  EXPECT_NEAR(static_cast<double>(loads.at.back()), 1.1e6, 2e3);
  EXPECT_TRUE(check_dynamics(d, 2).ok());
}

TEST(CalibratedDynamics, WhatTasksTookBeyondThoseAloneIsContentionAndNotCountedTwice) {
  Here here(1.5, 0.6);
  here.calibration.devices[1].overlap = Overlap{1.2, 1.1, 2.0, 1.4, 3.0, 1.8, 40};
  // 1.5 over what was measured, of which 1.2 is what loads take alone.
  EXPECT_NEAR(static_cast<double>(here.middle(0, Op::kLoadShards)), 1.2 / 1.5 * 1e6, 2e3);
  // Less than alone: there is no contention in it.
  EXPECT_NEAR(static_cast<double>(here.middle(1, Op::kLayer)), 1e6, 2e3);
  const Dynamics d = calibrated_dynamics(here.machine, here.calibration);
  ASSERT_EQ(d.contention.size(), 2u);
  EXPECT_EQ(d.contention[0].slowed, 1);
  EXPECT_EQ(d.contention[0].plain, 3'000'000);
  EXPECT_EQ(d.contention[0].coded, 1'800'000);
  EXPECT_EQ(d.contention[1].slowed, 0);
  EXPECT_EQ(d.contention[1].plain, 2'000'000);
  EXPECT_EQ(d.contention[1].coded, 1'400'000);
  EXPECT_TRUE(d.contention[1].lasting);
  EXPECT_FALSE(d.contention[0].lasting);
}

TEST(CalibratedDynamics, LoopsOfLoadsStandInWhereNoRequestsWereMeasured) {
  Here here(1.5, 1.0);
  here.calibration.devices[1].contention = Contention{1.25, 1.1, 0.7, 14};
  const Dynamics d = calibrated_dynamics(here.machine, here.calibration);
  EXPECT_EQ(d.contention[0].plain, 1'100'000);
  EXPECT_EQ(d.contention[0].coded, 1'000'000);  // no factor makes anything faster
  EXPECT_EQ(d.contention[1].plain, 1'250'000);
  EXPECT_NEAR(static_cast<double>(here.middle(0, Op::kLoadShards)), 1e6 / 1.25, 2e3);
}

TEST(CalibratedDynamics, TheFirstOfAWindowThatStandInForNothingSeenAreNotDrawn) {
  Here here(1.0, 1.0);
  LearnedWindow window;
  window.kind = LearnedRatios::kind_of(key_of(1, Op::kLayer));
  window.ratios.assign(15, 1.0);
  window.ratios.insert(window.ratios.end(), {40.0, 50.0});
  window.samples = 2;
  here.machine.costs->model(1)->restore({window});
  const Dynamics d = calibrated_dynamics(here.machine, here.calibration);
  EXPECT_EQ(d.devices[1].jitter_by_kind.at(window.kind).at, (std::vector<int64_t>{40'000'000, 50'000'000}));
}

TEST(CalibratedDynamics, SetupComesFromTheWindowsOfAllRequests) {
  Here here(1.0, 1.0);
  const auto window = [](const char* policy, bool first, std::vector<double> setup_ns) {
    RequestWindow w;
    w.kind.policy = policy;
    w.kind.first = first;
    w.quantile = 0.95;
    w.middle = w.high = {1, 1, 1};
    w.setup_ns = std::move(setup_ns);
    return w;
  };
  here.machine.costs->restore_requests({window("", false, {40e3, 60e3, 80e3}), window("", true, {400e3, 400e3, 400e3}),
                                        window("sti", false, {900e3, 900e3, 900e3})});
  here.machine.virtual_time = true;
  simulate(here.machine, here.calibration, 3);
  EXPECT_EQ(here.machine.simulation->dynamics().seed, 3u);
  EXPECT_EQ(here.machine.simulation->dynamics().later.setup.at, (std::vector<int64_t>{40'000, 60'000, 80'000}));
  EXPECT_EQ(here.machine.simulation->setup(0, true), microseconds(400));
  const auto made = here.machine.simulation;
  simulate(here.machine, here.calibration, 4);
  EXPECT_EQ(here.machine.simulation, made) << "a machine that has a simulation keeps it";
  EXPECT_EQ(made->dynamics().seed, 4u);
}

}  // namespace
}  // namespace tessera
