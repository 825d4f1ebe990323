// Tests what calibration does about each device by itself: what is missing, drifts, moves bytes, tunes itself, lies or
// fails.
#include <gtest/gtest.h>

#include "calibrate_rig.h"

namespace tessera {
namespace {

using testing::Calibrating;
using testing::CountingBackend;

TEST_F(Calibrating, MeasuresOnlyWhatIsMissing) {
  calibrated();
  machine_ = new_machine({}, 2);  // another device
  Calibration c = calibrated();
  ASSERT_EQ(c.devices.size(), 3u);
  EXPECT_FALSE(c.devices[0].measured) << "storage is known";
  EXPECT_TRUE(c.devices[2].measured);
  EXPECT_EQ(c.devices[2].why, "first use");
  EXPECT_EQ((counting_->seen[{static_cast<int>(Op::kExit), false}]), 0) << "only what split layers need is new";
  EXPECT_GT((counting_->seen[{static_cast<int>(Op::kAttentionPart), false}]), 2);
  machine_ = new_machine({}, 2);
  EXPECT_FALSE(calibrated().measured);
}

TEST_F(Calibrating, KeepsDevicesThatAreNotThere) {
  machine_ = new_machine({}, 2);
  calibrated();
  machine_ = new_machine([](CountingBackend& fake) { fake.name = "other"; });
  EXPECT_TRUE(calibrated().devices[1].measured);
  machine_ = new_machine({}, 2);
  EXPECT_FALSE(calibrated().measured) << "their sections stayed in the file";
}

TEST_F(Calibrating, MeasuresAnewWhatHasDrifted) {
  const auto taking = [](int64_t us) {
    return [us](CountingBackend& fake) {
      fake.slow = [us](const CostKey& key) { return microseconds(us + key.tokens); };
      fake.lies = [](Duration took) { return took; };
    };
  };
  machine_ = new_machine(taking(300));
  calibrated();
  options_.check = true;
  machine_ = new_machine(taking(900));
  Calibration c = calibrated();
  EXPECT_TRUE(c.devices[1].measured);
  EXPECT_TRUE(c.devices[1].why.starts_with("drifted by ")) << c.devices[1].why;
  options_.check = false;
  machine_ = new_machine(taking(9000));
  EXPECT_FALSE(calibrated().devices[1].measured) << "nobody looks unless asked to";
}

TEST_F(Calibrating, KeepsTransfersApartByDirection) {
  const auto card = [](CountingBackend& fake) {
    fake.card = true;
    fake.slow = [](const CostKey& key) {
      return key.op == Op::kTransfer ? microseconds((key.to_host ? 60 : 20) + key.bytes / 100'000) : Duration{};
    };
  };
  machine_ = new_machine(card);
  EXPECT_TRUE(calibrated().measured);
  EXPECT_EQ(counting_->buffers, 0);
  for (int again = 0; again < 2; ++again) {
    for (const DeviceId id : {DeviceId{1}, DeviceId{2}}) {  // the card itself, and its link
      CostKey key;
      key.device = id;
      key.op = Op::kTransfer;
      key.bytes = 100'000;
      const Estimate there = machine_.costs->estimate(key);
      key.to_host = true;
      const Estimate back = machine_.costs->estimate(key);
      EXPECT_EQ(there.provenance, Provenance::kRegression);
      EXPECT_GE(there.mean, microseconds(19));
      EXPECT_GE(back.mean, microseconds(55));
    }
    machine_ = new_machine(card);
    EXPECT_FALSE(calibrated().measured);
  }
}

TEST_F(Calibrating, TunesOnceAndTakesItUpLater) {
  const auto tuned = [](CountingBackend& fake) { fake.tuning = "tile 8"; };
  machine_ = new_machine(tuned);
  EXPECT_EQ(calibrated().devices[1].tuning, "tile 8");
  EXPECT_EQ(counting_->tunes, 1);
  machine_ = new_machine(tuned);
  EXPECT_FALSE(calibrated().measured);
  EXPECT_EQ(counting_->tunes, 0);
  EXPECT_EQ(counting_->taken_up, "tile 8");
  machine_ = new_machine([](CountingBackend& fake) { fake.tuning = "tile 16", fake.refuses_tuning = true; });
  const Calibration c = calibrated();
  EXPECT_TRUE(c.devices[1].measured);
  EXPECT_EQ(c.devices[1].tuning, "tile 16");
}

TEST_F(Calibrating, UsesTheHostsClockWhereADeviceLies) {
  for (const Duration lie : {Duration{}, Duration{-5}, milliseconds(100'000)}) {
    options_.again = true;
    machine_ = new_machine([&](CountingBackend& fake) {
      fake.slow = [](const CostKey&) { return microseconds(50); };
      fake.lies = [lie](Duration) { return lie; };
    });
    calibrated();
    EXPECT_GE(machine_.costs->estimate(layer(8, 4, 2)).mean, microseconds(45)) << lie.ns;
    EXPECT_LT(machine_.costs->estimate(layer(8, 4, 2)).mean, milliseconds(1000)) << lie.ns;
  }
}

TEST_F(Calibrating, DoesNotRetryADeviceThatFailsUntilAsked) {
  const auto broken = [](CountingBackend& fake) { fake.fails = true; };
  machine_ = new_machine(broken);
  EXPECT_EQ(calibrated().devices[1].doubts.size(), 1u);
  machine_ = new_machine(broken);
  EXPECT_FALSE(calibrated().measured);
  EXPECT_EQ(machine_.costs->estimate(layer(8, 4, 2)).mean, milliseconds(7));
  options_.check = true;
  machine_ = new_machine();
  EXPECT_TRUE(calibrated().devices[1].measured);
  EXPECT_EQ(machine_.costs->estimate(layer(8, 4, 2)).provenance, Provenance::kMeasured);
}

}  // namespace
}  // namespace tessera
