// Tests the statistics of figures, the sanity check, and the cost models made of them.
#include <tuple>

#include <gtest/gtest.h>

#include "scheduler/calibrate_parts.h"

namespace tessera {
namespace {

TEST(CalibrationSummary, IsTheMedianWhateverIsWild) {
  const Estimate e = calibration::summarise({0.010, 0.011, 0.0105, 5.0, 0.0102}).estimate;
  EXPECT_EQ(e.mean, microseconds(10'500));
  EXPECT_LT(e.p95, milliseconds(13));
  EXPECT_EQ(e.samples, 5);
  EXPECT_EQ(calibration::summarise({0.002}).estimate.p95, milliseconds(2));
}

TEST(CalibrationSummary, TellsHowSureTheMedianIs) {
  std::vector<double> seconds;
  const double levels[] = {0, 0.5, 0.75, 0.875, 0.9375, 0.96875, 0.984375};
  for (const double level : levels) {
    seconds.push_back(1 + 0.01 * static_cast<double>(seconds.size()));
    EXPECT_DOUBLE_EQ(calibration::summarise(seconds).level, level) << seconds.size();
  }
  // Of nine, the second smallest and the second largest enclose it with 96 %: the wildest no longer counts.
  const calibration::Summary s = calibration::summarise({1, 2, 3, 4, 5, 6, 7, 8, 1000});
  EXPECT_NEAR(s.level, 1 - 20.0 / 512, 1e-12);
  EXPECT_NEAR(s.half_width, (8 - 2) / 2.0 / 5, 1e-12);
}

calibration::ComputePoint point(int tokens, Duration mean, double half_width = 0.01) {
  calibration::ComputePoint p;
  p.key.op = Op::kLayer;
  p.key.tokens = static_cast<uint16_t>(tokens);
  p.key.slices = 4;
  p.taken.estimate.mean = p.taken.estimate.p95 = mean;
  p.taken.estimate.samples = 9;
  p.taken.half_width = half_width;
  return p;
}

ModelShape some_shape() {
  ModelShape shape;
  shape.layers = 2, shape.slices = shape.heads = 4, shape.hidden = 64, shape.ffn = 256, shape.labels = 2;
  return shape;
}

TEST(CalibrationSanity, ShoutsAtFiguresThatCannotBe) {
  calibration::DeviceFigures figures;
  figures.points = {point(8, microseconds(100)), point(16, Duration{}), point(32, Duration{1}), point(64, microseconds(400)),
                    point(128, microseconds(700))};
  calibration::doubt_absurd(some_shape(), figures);
  ASSERT_EQ(figures.doubts.size(), 2u);
  EXPECT_NE(figures.doubts[0].find("16 tokens"), std::string::npos) << figures.doubts[0];
  EXPECT_NE(figures.doubts[1].find("is beyond 1e+15 operations/s"), std::string::npos) << figures.doubts[1];
  EXPECT_NE(figures.doubts[1].find("--again"), std::string::npos) << "the remedy";
  EXPECT_EQ(figures.points.size(), 3u) << "the others are used";
}

TEST(CalibrationSanity, ShoutsWhereMoreTokensTakeLess) {
  calibration::DeviceFigures figures;
  figures.points = {point(8, microseconds(100)),   point(16, microseconds(5000)), point(32, microseconds(110)),
                    point(64, microseconds(150)),  point(128, microseconds(300)), point(256, microseconds(600)),
                    point(512, microseconds(6000))};
  calibration::doubt_absurd(some_shape(), figures);
  EXPECT_FALSE(figures.doubts.empty());
  for (const auto& p : figures.points) EXPECT_NE(p.key.tokens, 16);
  calibration::DeviceFigures unsure;
  unsure.points = {point(8, microseconds(500), 0.8), point(16, microseconds(200), 0.5)};
  calibration::doubt_absurd(some_shape(), unsure);
  EXPECT_TRUE(unsure.doubts.empty()) << "the intervals meet";
}

TEST(CalibrationSanity, KnowsHowFastBytesCanMove) {
  const auto storage = [](double seconds_per_byte, double latency) {
    calibration::DeviceFigures figures;
    figures.storage.emplace();
    figures.storage->fit = {seconds_per_byte, 1, latency, 0.1, 9};
    calibration::doubt_absurd(some_shape(), figures);
    return figures;
  };
  EXPECT_TRUE(storage(1e-9, 1e-4).doubts.empty());
  EXPECT_TRUE(storage(1e-9, 1e-4).storage);
  for (const auto& [rate, latency] : {std::pair{1e-14, 0.0}, {0.0, 0.0}, {1e-2, 0.0}, {1e-9, 2000.0}}) {
    const auto figures = storage(rate, latency);
    EXPECT_EQ(figures.doubts.size(), 1u) << rate;
    EXPECT_FALSE(figures.storage) << "the backend's own estimate answers";
  }
}

TEST(CalibrationIdentity, ChangesWithTheDriverAndNotWithTheTuning) {
  DeviceDescription device;
  device.name = "gpu0";
  device.backend = "gpu";
  device.properties = {{"driver", "3.1"}, {"tuning", "tile 8"}};
  const std::string before = calibration::identity_of(device);
  device.properties[1].second = "tile 16";
  EXPECT_EQ(calibration::identity_of(device), before);
  device.properties[0].second = "3.2";
  EXPECT_NE(calibration::identity_of(device), before);
}

TEST(CalibrationModel, NeverLetsNoiseMakeALayerFree) {
  calibration::DeviceFigures figures;
  for (const auto& [tokens, decoded_us, coded_us] : {std::tuple{8, 300, 0}, {16, 900, 400}, {128, 2000, 1900}}) {
    calibration::ComputePoint p = point(tokens, microseconds(decoded_us));
    p.key.decoded = true;
    figures.points.push_back(p);
    p = point(tokens, microseconds(coded_us));
    p.key.bits[bits_level(4)] = 4;
    if (coded_us > 0) figures.points.push_back(p);
  }
  const auto model = calibration::make_model(some_shape(), figures, {});
  CostKey key = figures.points[2].key;
  EXPECT_EQ(model->estimate(key).mean, microseconds(400)) << "what was measured stays";
  key.tokens = 8;
  EXPECT_EQ(model->estimate(key).mean, microseconds(120)) << "300 us decoded, less 500";
}

TEST(CalibrationModel, AnswersByGuessWhereADirectionWasDoubted) {
  calibration::DeviceFigures figures;
  figures.transfers.emplace();
  figures.transfers->to_device = PowerFit{1e-9, 1, 1e-5, 0.1, 9};
  const auto model = calibration::make_model(some_shape(), figures, [](const CostKey&) {
    Estimate e;
    e.mean = e.p95 = milliseconds(3);
    e.provenance = Provenance::kAnalytic;
    return e;
  });
  CostKey key;
  key.op = Op::kTransfer;
  key.bytes = 1'000'000;
  EXPECT_EQ(model->estimate(key).mean, microseconds(1010));
  key.to_host = true;
  EXPECT_EQ(model->estimate(key).mean, milliseconds(3));
  for (int i = 0; i < 60; ++i) model->observe(key, milliseconds(6));
  EXPECT_EQ(model->estimate(key).mean, milliseconds(6));
  const auto other = calibration::make_model(some_shape(), figures, [](const CostKey&) {
    Estimate e;
    e.mean = e.p95 = milliseconds(3);
    return e;
  });
  other->restore(model->learned());
  EXPECT_EQ(other->estimate(key).mean, milliseconds(6)) << "what it learned is kept";
  key.to_host = false;
  EXPECT_EQ(other->estimate(key).mean, microseconds(1010)) << "of its direction only";
}

}  // namespace
}  // namespace tessera
