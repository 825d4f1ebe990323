// Checks layernorm_residual in C simulation against the plain combine.
#include <cmath>

#include "framework/reference_ops.h"
#include "hls/layernorm_residual/tile.h"
#include "tests/hls/card.h"

namespace tessera::hls::testing {
namespace {

using Top = decltype(&layernorm_residual);
constexpr float kEps = 1e-12f;

// Parts on the grid of sums, as matmul leaves them.
std::vector<double> part(size_t count, uint32_t seed, double spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<double> values(count);
  for (double& v : values) v = std::nearbyint(normal(random) * 0x1p32) * 0x1p-32;
  return values;
}

struct Join {
  int tokens, width;
  std::vector<std::vector<double>> parts;
  std::vector<float> residual, bias, weight, shift;
  Join(int t, int w, int count, double spread = 1) : tokens(t), width(w) {
    const size_t n = static_cast<size_t>(t) * w;
    for (int i = 0; i < count; ++i) parts.push_back(part(n, 10 + i, spread));
    residual = random_floats(n, 1), bias = random_floats(w, 2), weight = random_floats(w, 3), shift = random_floats(w, 4);
  }
  std::vector<float> want() const {
    ModelShape shape;
    shape.hidden = width;
    shape.layer_norm_eps = kEps;
    const std::vector<std::span<const double>> spans(parts.begin(), parts.end());
    std::vector<float> y(residual.size());
    reference::combine(shape, spans, residual, bias, weight, shift, tokens, y);
    return y;
  }
};

struct Result {
  uint32_t status = 0;
  std::vector<float> y;
  std::vector<double> part0;
};

Result run(Top top, const Join& j, bool finish, bool in_place = false) {
  Card card;
  uint32_t at[kMostParts] = {};
  for (size_t i = 0; i < j.parts.size(); ++i) at[i] = card.put(j.parts[i]);
  const uint32_t residual = card.put(j.residual), bias = card.put(j.bias), weight = card.put(j.weight),
                 shift = card.put(j.shift);
  const uint32_t y = in_place ? residual : card.room(j.residual.size() * 4), status = card.status_word();
  card.remember();
  top(card.base(), card.base(), card.base(), card.base(), card.base(), card.base(), card.base(), at[0], at[1], at[2], at[3],
      residual, bias, weight, shift, y, status, static_cast<uint32_t>(j.parts.size()), finish ? 1 : 0, j.tokens, j.width,
      kEps, card.as<uint32_t>());
  EXPECT_TRUE(finish ? card.untouched_but(y, j.residual.size() * 4, status)
                     : card.untouched_but(at[0], j.residual.size() * 8, status));
  return {card.word(status), card.get<float>(y, j.residual.size()), card.get<double>(at[0], j.residual.size())};
}

constexpr double kReal = 3e-6;

TEST(HlsLayernormResidual, EqualsTheReferenceAtEveryEdgeOfItsTiles) {
  const int lanes = ln::kLanes;
  for (const int tokens : {1, 2, 7})
    for (const int width : {2, lanes - 1, lanes, lanes + 1, 15, 16, 17, 60, 64, 65, 384})
      for (const int parts : {1, 2}) {
        const Join j(tokens, width, parts);
        const Result got = run(&layernorm_residual, j, true);
        EXPECT_EQ(got.status, kStatusDone);
        EXPECT_TRUE(close(got.y, j.want(), kReal)) << tokens << " tokens, width " << width << ", " << parts << " parts";
        EXPECT_EQ(got.part0, j.parts[0]);
      }
}

TEST(HlsLayernormResidual, AddsUpToFourParts) {
  for (int parts = 1; parts <= static_cast<int>(kMostParts); ++parts) {
    const Join j(3, 48, parts);
    EXPECT_TRUE(close(run(&layernorm_residual, j, true).y, j.want(), kReal));
  }
}

TEST(HlsLayernormResidual, MayWriteOverItsResidual) {
  for (const int width : {48, 60}) {
    const Join j(5, width, 2);
    EXPECT_EQ(run(&layernorm_residual, j, true, true).y, run(&layernorm_residual, j, true).y);
  }
}

TEST(HlsLayernormResidual, OnlyAddsWhereThereAreMorePartsThanPorts) {
  for (const int width : {48, 60, 3}) {
    const Join j(3, width, 3);
    const Result got = run(&layernorm_residual, j, false);
    EXPECT_EQ(got.status, kStatusDone);
    for (size_t i = 0; i < got.part0.size(); ++i)
      ASSERT_EQ(got.part0[i], j.parts[0][i] + j.parts[1][i] + j.parts[2][i]) << i;
  }
}

TEST(HlsLayernormResidual, HoldsRowsOfOneValue) {  // variance 0: 1 / sqrt(eps)
  Join j(2, 32, 1);
  j.parts[0].assign(64, 0.5);
  j.residual.assign(64, 0.25f);
  j.bias.assign(32, 0.25f);
  const Result got = run(&layernorm_residual, j, true);
  for (int i = 0; i < 64; ++i) EXPECT_NEAR(got.y[i], j.shift[i % 32], 1e-4);
}

TEST(HlsLayernormResidual, ReportsSumsThatLeaveTheGrid) {
  Join j(1, 16, 2);
  j.parts[1][5] = 0x1p21;
  EXPECT_EQ(run(&layernorm_residual, j, true).status, kStatusOverflow);
  j.parts[0][5] = j.parts[1][5] = 0x1.8p20;  // each fits, their sum does not
  EXPECT_EQ(run(&layernorm_residual, j, false).status, kStatusOverflow);
}

uint32_t status_of(uint32_t parts, uint32_t finish, uint32_t tokens, uint32_t width) {
  Card card;
  const uint32_t p = card.put(part(16, 1)), rows = card.put(random_floats(16, 1)), y = card.room(64);
  const uint32_t status = card.status_word();
  layernorm_residual(card.base(), card.base(), card.base(), card.base(), card.base(), card.base(), card.base(), p, p, p, p,
                     rows, rows, rows, rows, y, status, parts, finish, tokens, width, kEps, card.as<uint32_t>());
  return card.word(status);
}

TEST(HlsLayernormResidual, RefusesWhatItsArraysCannotHold) {
  EXPECT_EQ(status_of(1, 1, 1, 16), kStatusDone);
  EXPECT_EQ(status_of(1, 1, 0, 16), kStatusDone);
  EXPECT_EQ(status_of(0, 1, 1, 16), kStatusRefused);
  EXPECT_EQ(status_of(kMostParts + 1, 1, 1, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 2, 1, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 1, 1, 0), kStatusRefused);
  EXPECT_EQ(status_of(1, 1, 1, kMostIn + 1), kStatusRefused);
  EXPECT_EQ(status_of(1, 1, kMostTokens + 1, 16), kStatusRefused);
}

#ifdef TESSERA_HLS_FIXED
TEST(HlsLayernormResidualFixed, StaysWithinItsResolutionOfTheFloatOne) {
  for (const int width : {16, 60, 384}) {
    const Join j(4, width, 2);
    EXPECT_TRUE(close(run(&layernorm_residual_fixed, j, true).y, run(&layernorm_residual, j, true).y, 1e-5));
    EXPECT_EQ(run(&layernorm_residual_fixed, j, false).part0, run(&layernorm_residual, j, false).part0);
  }
}
#endif

}  // namespace
}  // namespace tessera::hls::testing
