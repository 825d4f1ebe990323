// Tests that cost models recover what they were given, interpolate, guess openly and learn robustly.
#include <cmath>

#include <gtest/gtest.h>

#include "framework/cost_model.h"

namespace tessera {
namespace {

ModelShape bert_base() {
  ModelShape s;
  s.layers = s.slices = s.heads = 12;
  s.hidden = 768;
  s.ffn = 3072;
  s.labels = 2;
  return s;
}

CostKey layer_key(int tokens, int slices, Bits bits = kExact, bool decoded = false) {
  CostKey key;
  key.op = Op::kLayer;
  key.tokens = static_cast<uint16_t>(tokens);
  key.slices = static_cast<uint8_t>(slices);
  key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
  key.decoded = decoded;
  return key;
}

CostKey load_key(int64_t bytes, int reads = 1) {
  CostKey key;
  key.op = Op::kLoadShards;
  key.bytes = bytes;
  key.reads = static_cast<uint8_t>(reads);
  return key;
}

CostPoint point(const CostKey& key, int64_t mean_ns, int64_t p95_ns = 0) {
  CostPoint p;
  p.key = key;
  p.estimate.mean = {mean_ns};
  p.estimate.p95 = {std::max(mean_ns, p95_ns)};
  p.estimate.provenance = Provenance::kMeasured;
  p.estimate.samples = 9;
  return p;
}

TEST(TokenBucket, IsTheLeastThatHolds) {
  EXPECT_EQ(token_bucket(0), 8);
  EXPECT_EQ(token_bucket(8), 8);
  EXPECT_EQ(token_bucket(9), 16);
  EXPECT_EQ(token_bucket(512), 512);
  EXPECT_EQ(token_bucket(513), 512);
}

TEST(Roofline, AddsLatencyReadsAndBytesOverBandwidth) {
  const auto model = make_roofline(
      bert_base(),
      {.latency = microseconds(100), .per_read = microseconds(10), .bandwidth = {1e9}, .bandwidth_to_host = {}});
  const Estimate e = model->estimate(load_key(1'000'000, 3));
  EXPECT_EQ(e.mean, microseconds(1130));
  EXPECT_EQ(e.p95, e.mean);
  EXPECT_EQ(e.provenance, Provenance::kDataSheet);
}

TEST(Roofline, LoadsAnStiShardInItsPublishedTime) {
  // 28.28 ms for a shard of 589,824 fp32 weights, in proportion to its bits.
  const auto model = make_roofline(
      bert_base(), {.latency = {}, .per_read = {}, .bandwidth = {589'824 * 4 / 0.02828}, .bandwidth_to_host = {}});
  for (int bits : {2, 3, 4, 5, 6, 32})
    for (int m = 1; m <= 12; ++m)
      EXPECT_EQ(model->estimate(load_key(int64_t{589'824} * bits / 8 * m)).mean.ns, 28'280'000LL * bits * m / 32);
}

TEST(Roofline, TakesTheSlowerOfArithmeticAndMemoryAndAddsDecoding) {
  Roofline figures{.latency = {}, .per_read = {}, .bandwidth = {1e12}, .bandwidth_to_host = {}, .flops_per_second = 1e9};
  const Estimate arithmetic = make_roofline(bert_base(), figures)->estimate(layer_key(128, 12));
  figures.bandwidth = {1e3};
  const Estimate memory = make_roofline(bert_base(), figures)->estimate(layer_key(128, 12));
  EXPECT_GT(memory.mean, arithmetic.mean);
  figures = {.latency = {},
             .per_read = {},
             .bandwidth = {1e12},
             .bandwidth_to_host = {},
             .flops_per_second = 1e9,
             .decode_weights_per_second = 1e9};
  const auto decoding = make_roofline(bert_base(), figures);
  const int64_t extra = decoding->estimate(layer_key(128, 12, 2)).mean.ns - arithmetic.mean.ns;
  EXPECT_NEAR(static_cast<double>(extra), 12 * 589'824, 2);
  EXPECT_EQ(decoding->estimate(layer_key(128, 12, 2, true)).mean, arithmetic.mean);
}

TEST(Table, GivesBackItsPointsExactly) {
  std::vector<CostPoint> points;
  for (int t : {8, 32, 128})
    for (int s : {1, 6, 12})
      for (Bits b : {Bits{2}, Bits{6}, kExact}) points.push_back(point(layer_key(t, s, b), 1000 * t * s + b, 1100 * t * s));
  const auto model = make_table(bert_base(), points);
  for (const CostPoint& p : points) {
    const Estimate e = model->estimate(p.key);
    EXPECT_EQ(e.mean, p.estimate.mean);
    EXPECT_EQ(e.p95, p.estimate.p95);
    EXPECT_EQ(e.provenance, Provenance::kMeasured);
  }
}

TEST(Table, InterpolatesTokensSlicesAndBitsInsideItsGrid) {
  std::vector<CostPoint> points;
  for (int t : {8, 16})
    for (int s : {2, 4})
      for (Bits b : {Bits{2}, Bits{4}}) points.push_back(point(layer_key(t, s, b), 1000 * t + 100 * s + 10 * b));
  const auto model = make_table(bert_base(), points);
  CostKey key = layer_key(12, 3, 2);
  EXPECT_EQ(model->estimate(key).mean.ns, 12'320);
  key.slices = 4;
  key.bits = {};
  key.bits[2] = 1;
  key.bits[4] = 3;
  EXPECT_EQ(model->estimate(key).mean.ns, 12'400 + 35);
  EXPECT_EQ(model->estimate(key).provenance, Provenance::kMeasured);
}

TEST(Table, AddsDecodingToDecodedCostsAtTokenCountsThatHaveNone) {
  std::vector<CostPoint> points;
  for (int t : {8, 128, 512}) points.push_back(point(layer_key(t, 12, kExact, true), 10'000 * t));
  points.push_back(point(layer_key(128, 12, 2), 1'280'000 + 7'000));
  const auto model = make_table(bert_base(), points);
  EXPECT_EQ(model->estimate(layer_key(512, 12, 2)).mean.ns, 5'120'000 + 7'000);
  EXPECT_EQ(model->estimate(layer_key(8, 12, 2)).mean.ns, 80'000 + 7'000);
  EXPECT_EQ(model->estimate(layer_key(8, 12, 2, true)).mean.ns, 80'000);
}

// STI's board: one token count, compute and 2 ms a shard of decompression (configs/platforms/sti-board.toml).
std::unique_ptr<CostModel> sti_board() {
  const int compute_ms[] = {35, 44, 52, 58, 65, 70, 75, 83, 87, 95};
  std::vector<CostPoint> points;
  for (int m = 3; m <= 12; ++m) {
    points.push_back(point(layer_key(128, m, kExact, true), compute_ms[m - 3] * 1'000'000));
    points.push_back(point(layer_key(128, m), (compute_ms[m - 3] + 2 * m) * 1'000'000));
  }
  return make_table(bert_base(), points);
}

TEST(Table, ReproducesThePublishedBoard) {
  const auto model = sti_board();
  const int used_ms[] = {41, 52, 62, 70, 79, 86, 93, 103, 109, 119};
  for (int m = 3; m <= 12; ++m) EXPECT_EQ(model->estimate(layer_key(128, m)).mean, milliseconds(used_ms[m - 3]));
}

TEST(Table, ScalesOneShapeByMultiplyAddsAndSaysThatItGuessed) {
  const auto model = sti_board();
  const Estimate half = model->estimate(layer_key(64, 12, kExact, true));
  EXPECT_EQ(half.provenance, Provenance::kGuessed);
  EXPECT_NEAR(half.mean.ms(), 95 * 0.49, 1);                                             // attention's T^2 part is small
  EXPECT_NEAR(model->estimate(layer_key(64, 12)).mean.ms(), half.mean.ms() + 24, 0.01);  // decoding does not depend on T
  const Estimate narrow = model->estimate(layer_key(128, 1));
  EXPECT_EQ(narrow.provenance, Provenance::kGuessed);
  EXPECT_LT(narrow.mean, milliseconds(41));
  EXPECT_GT(narrow.mean, milliseconds(10));
}

TEST(Table, NeverDecreasesWithTokensOrSlices) {
  const auto model = sti_board();
  Duration before;
  for (int t = 1; t <= 512; ++t) {
    const Duration now = model->estimate(layer_key(t, 7)).mean;
    EXPECT_GE(now, before) << t;
    before = now;
  }
  before = {};
  for (int m = 1; m <= 12; ++m) {
    const Duration now = model->estimate(layer_key(128, m)).mean;
    EXPECT_GE(now, before) << m;
    before = now;
  }
}

TEST(Table, SharesALayersCostAmongPartsThatWereNotMeasured) {
  const auto model = sti_board();
  CostKey part = layer_key(128, 12, kExact, true);
  part.op = Op::kAttentionPart;
  const Estimate attention = model->estimate(part);
  part.op = Op::kFfnPart;
  const Estimate ffn = model->estimate(part);
  EXPECT_EQ(attention.provenance, Provenance::kGuessed);
  EXPECT_NEAR((attention.mean + ffn.mean).ms(), 95, 0.1);
}

TEST(Table, CountsZeroWherePointsSayZeroAndNothingForAnEmptyTable) {
  CostKey embed;
  embed.op = Op::kEmbed;
  embed.tokens = 128;
  const auto model = make_table(bert_base(), {point(embed, 0), point(layer_key(128, 3), 1000)});
  embed.tokens = 20;
  EXPECT_EQ(model->estimate(embed).mean.ns, 0);
  const Estimate nothing = make_table(bert_base(), {})->estimate(embed);
  EXPECT_EQ(nothing.mean.ns, 0);
  EXPECT_EQ(nothing.provenance, Provenance::kGuessed);
}

std::vector<std::pair<double, double>> samples_of(double a, double b, double c, int repeats = 3) {
  std::vector<std::pair<double, double>> points;
  for (double x = 4096; x <= 4 << 20; x *= 4)
    for (int i = 0; i < repeats; ++i) points.emplace_back(x, a * std::pow(x, b) + c);
  return points;
}

TEST(FitPower, RecoversKnownCurves) {
  struct Case {
    double a, b, c;
  };
  for (const Case& known : {Case{1e-9, 1, 1e-4}, Case{5e-8, 0.8, 0}, Case{1e-12, 1.5, 2e-5}, Case{2e-10, 1, 0}}) {
    const auto fit = fit_power(samples_of(known.a, known.b, known.c));
    ASSERT_TRUE(fit.ok());
    for (double x : {4096.0, 65536.0, 1e6, 4e6}) {
      const double want = known.a * std::pow(x, known.b) + known.c;
      EXPECT_NEAR(fit->a * std::pow(x, fit->b) + fit->c, want, 0.01 * want) << known.b << " at " << x;
    }
    EXPECT_GE(fit->a, 0);
    EXPECT_GE(fit->c, 0);
  }
}

TEST(FitPower, IsNotMovedByAWildFifth) {
  auto points = samples_of(1e-9, 1, 1e-4, 5);
  for (size_t i = 0; i < points.size(); i += 5) points[i].second *= 20;
  const auto fit = fit_power(points);
  ASSERT_TRUE(fit.ok());
  for (double x : {4096.0, 1e5, 4e6}) {
    const double want = 1e-9 * x + 1e-4;
    EXPECT_NEAR(fit->a * std::pow(x, fit->b) + fit->c, want, 0.03 * want);
  }
}

TEST(FitPower, NeverDecreases) {
  auto points = samples_of(0, 1, 1e-3, 1);
  for (size_t i = 0; i < points.size(); ++i) points[i].second /= static_cast<double>(i + 1);  // falling
  const auto fit = fit_power(points);
  ASSERT_TRUE(fit.ok());
  EXPECT_GE(fit->a, 0);
  EXPECT_GE(fit->b, 0);
}

TEST(FitPower, RefusesWhatCannotBeFitted) {
  EXPECT_FALSE(fit_power({}).ok());
  EXPECT_FALSE(fit_power({{4096, 1e-3}, {4096, 1e-3}, {8192, 1e-3}}).ok());
  EXPECT_FALSE(fit_power({{4096, 1e-3}, {0, 1e-3}, {8192, 1e-3}}).ok());
  EXPECT_FALSE(fit_power({{4096, -1e-3}, {1, 1e-3}, {8192, 1e-3}}).ok());
  EXPECT_FALSE(fit_power({{4096, std::nan("")}, {1, 1e-3}, {8192, 1e-3}}).ok());
}

TEST(Regression, ChargesEachReadAfterTheFirst) {
  PowerFit fit;
  fit.a = 1e-9;
  fit.c = 1e-4;
  fit.relative_spread = 0.1;
  const auto model = make_regression(fit, microseconds(20));
  const Estimate one = model->estimate(load_key(1'000'000));
  EXPECT_EQ(one.mean, microseconds(1100));
  EXPECT_EQ(one.provenance, Provenance::kRegression);
  EXPECT_NEAR(static_cast<double>(one.p95.ns), 1.1e6 * 1.1645, 200);
  EXPECT_EQ(model->estimate(load_key(1'000'000, 4)).mean, microseconds(1160));
}

TEST(Learning, IgnoresASingleWildSample) {
  for (double factor : {1e6, 1e-6, 30.0}) {
    const auto model = sti_board();
    const CostKey key = layer_key(128, 6);
    const Estimate before = model->estimate(key);
    ASSERT_TRUE(model->observe(key, from_seconds(before.mean.seconds() * factor)));
    EXPECT_EQ(model->estimate(key).mean, before.mean);
    EXPECT_EQ(model->estimate(key).p95, before.p95);
  }
}

TEST(Learning, IgnoresASingleWildRequest) {
  const auto model = sti_board();
  const CostKey key = layer_key(128, 6);
  for (int layer = 0; layer < 12; ++layer) ASSERT_TRUE(model->observe(key, milliseconds(900)));
  EXPECT_EQ(model->estimate(key).mean, milliseconds(70));
}

TEST(Learning, AFewWildRequestsAmongManyDoNotWidenTheSpread) {
  const auto model = sti_board();
  const CostKey key = layer_key(128, 6);
  for (int i = 0; i < 255; ++i) ASSERT_TRUE(model->observe(key, milliseconds(70)));
  for (int layer = 0; layer < 36; ++layer) ASSERT_TRUE(model->observe(key, milliseconds(900)));
  EXPECT_EQ(model->estimate(key).p95, milliseconds(70));
}

TEST(Learning, FollowsWhatKeepsBeingMeasured) {
  const auto model = sti_board();
  const CostKey key = layer_key(128, 6);
  for (int i = 0; i < 70; ++i) ASSERT_TRUE(model->observe(key, milliseconds(138 + i % 5)));
  EXPECT_NEAR(model->estimate(key).mean.ms(), 140, 2.1);
  EXPECT_GT(model->estimate(key).p95, model->estimate(key).mean);
  EXPECT_EQ(model->estimate(key).samples, 79);
  // Other kinds of task are not touched; the same kind at another width is.
  EXPECT_EQ(model->estimate(layer_key(128, 6, kExact, true)).mean, milliseconds(58));
  EXPECT_NEAR(model->estimate(layer_key(128, 12)).mean.ms(), 238, 4);
}

TEST(Learning, RefusesTimesThatCannotBe) {
  const auto model = sti_board();
  EXPECT_FALSE(model->observe(layer_key(128, 6), {0}));
  EXPECT_FALSE(model->observe(layer_key(128, 6), {-5}));
  EXPECT_TRUE(model->learned().empty());
}

TEST(Learning, SurvivesSavingAndRestoring) {
  const auto model = sti_board();
  const CostKey key = layer_key(128, 6);
  for (int i = 0; i < 15; ++i) model->observe(key, milliseconds(140 + i));
  const auto again = sti_board();
  again->restore(model->learned());
  EXPECT_EQ(again->estimate(key).mean, model->estimate(key).mean);
  EXPECT_EQ(again->estimate(key).p95, model->estimate(key).p95);
  again->restore({{.kind = 3, .samples = 5, .ratios = {NAN, -1, 1e300, 0}}});
  EXPECT_EQ(again->estimate(key).mean, milliseconds(70));
}

TEST(Learning, KeepsLoadsNonDecreasingInBytes) {
  PowerFit fit;
  fit.a = 1e-9;
  const auto model = make_regression(fit, {});
  for (int i = 0; i < 60; ++i) {
    model->observe(load_key(4096), from_seconds(1e-5));
    model->observe(load_key(4 << 20), from_seconds(4e-3));
  }
  EXPECT_LE(model->estimate(load_key(1 << 20)).mean, model->estimate(load_key(2 << 20)).mean);
}

}  // namespace
}  // namespace tessera
