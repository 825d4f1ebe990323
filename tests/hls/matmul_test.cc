// Checks matmul in C simulation against the plain linear operator, on matrices written bit by bit.
#include <cmath>

#include "framework/reference_ops.h"
#include "hls/matmul/tile.h"
#include "tests/hls/card.h"
#include "tests/hls/matrix.h"

namespace tessera::hls::testing {
namespace {

using Top = decltype(&matmul);

struct Product {
  uint32_t status = 0;
  std::vector<float> y;
};

constexpr int kRows = mm::MatmulTile<Real>::kRows;

// y = x W^T + bias, rows of x and y padded by so many floats.
Product multiply(Top top, const Matrix& m, const std::vector<float>& x, const std::vector<float>& bias, int x_pad = 0,
                 int y_pad = 0) {
  Card card;
  const auto tokens = static_cast<uint32_t>(x.size()) / m.in;
  const uint32_t x_stride = m.in + x_pad, y_stride = m.out + y_pad;
  const uint32_t x_at = card.put(padded(x, m.in, x_stride, NAN)), weights_at = card.put(m.bytes);
  const uint32_t bias_at = card.put(bias) * kLineFloats;
  const uint32_t y_at = card.room(size_t{tokens} * y_stride * 4), status = card.status_word();
  card.remember();
  top(card.base(), card.base(), card.as<uint16_t>(), card.as<uint16_t>(), card.as<float>(), card.base(), x_at, weights_at,
      bias_at, y_at, status, tokens, m.in, m.out, x_stride, y_stride, m.bits, static_cast<uint32_t>(m.type), kStore,
      card.as<uint32_t>());
  EXPECT_TRUE(card.untouched_but(y_at, size_t{tokens} * y_stride * 4, status));
  return {card.word(status), unpadded(card.get<float>(y_at, size_t{tokens} * y_stride), m.out, y_stride)};
}

std::vector<float> reference_product(const Matrix& m, const std::vector<float>& x, const std::vector<float>& bias) {
  const int tokens = static_cast<int>(x.size()) / m.in;
  std::vector<float> y(static_cast<size_t>(tokens) * m.out);
  reference::linear(x, m.dense, bias, tokens, m.in, m.out, y);
  return y;
}

void expect_product(Top top, const Matrix& m, int tokens, double tolerance, int x_pad = 0, int y_pad = 0) {
  const auto x = random_floats(static_cast<size_t>(tokens) * m.in, 5);
  const auto bias = random_floats(m.out, 6);
  const Product got = multiply(top, m, x, bias, x_pad, y_pad);
  SCOPED_TRACE(::testing::Message() << tokens << " tokens, " << m.in << " in, " << m.out << " out, " << int{m.bits}
                                    << " bits, " << element_name(m.type));
  EXPECT_EQ(got.status, kStatusDone);
  EXPECT_TRUE(close(got.y, reference_product(m, x, bias), tolerance));
}

constexpr double kReal = 2e-6;

TEST(HlsMatmul, EqualsTheReferenceAtEveryEdgeOfItsTiles) {
  for (const int tokens : {1, kRows - 1, kRows, kRows + 1, 3 * kRows + 5})
    for (const int in : {1, 7, 8, 15, 16, 17, 64, 100})
      for (const int out : {1, 15, 16, 17, 48})
        expect_product(&matmul, matrix(out, in, 4, ElementType::kF16), tokens, kReal);
}

TEST(HlsMatmul, ReadsEveryBitwidthAndEveryStoredType) {
  for (const ElementType type : {ElementType::kF32, ElementType::kF16, ElementType::kBf16})
    for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, 32})
      for (const int in : {33, 64})
        expect_product(&matmul, matrix(40, in, static_cast<Bits>(bits), type, {{0, 3, 4}, {1, in - 1, 0}, {2, 0, 7}}), 5,
                       kReal);
}

TEST(HlsMatmul, PutsOutliersAtTheFirstAndTheLastPlace) {
  const int in = 24;
  expect_product(&matmul, matrix(32, in, 3, ElementType::kF16, {{0, 0, 0}}), 3, kReal);
  expect_product(&matmul, matrix(32, in, 3, ElementType::kF16, {{1, in - 1, 15}}), 3, kReal);
  expect_product(&matmul, matrix(32, in, 3, ElementType::kF32, {{0, 0, 0}, {0, in - 1, 15}, {1, 0, 0}, {1, in - 1, 15}}), 3,
                 kReal);
}

TEST(HlsMatmul, TakesRowsOfNothingButOutliers) {
  std::vector<OutlierAt> all;
  for (int k = 0; k < 20; ++k)
    for (int n = 0; n < 16; ++n) all.push_back({1, k, n});
  expect_product(&matmul, matrix(48, 20, 2, ElementType::kF16, all), 18, kReal);
}

TEST(HlsMatmul, AcceptsPaddedRowsAndRowsThatBeginInsideALine) {
  for (const int pad : {0, 1, 4, 12}) {
    expect_product(&matmul, matrix(20, 60, 5, ElementType::kF16), 19, kReal, pad, 0);
    expect_product(&matmul, matrix(20, 60, 5, ElementType::kF16), 19, kReal, 0, pad);
  }
}

TEST(HlsMatmul, FillsTheRestOfAPaddedRowWithZeros) {
  Card card;
  const Matrix m = matrix(20, 16, 4, ElementType::kF16);
  const uint32_t x = card.put(random_floats(16, 1)), w = card.put(m.bytes), b = card.put(random_floats(20, 2));
  const uint32_t y = card.room(32 * 4), status = card.status_word();
  matmul(card.base(), card.base(), card.as<uint16_t>(), card.as<uint16_t>(), card.as<float>(), card.base(), x, w,
         b * kLineFloats, y, status, 1, 16, 20, 16, 32, 4, 1, kStore, card.as<uint32_t>());
  const auto row = card.get<float>(y, 32);
  EXPECT_EQ(std::vector<float>(row.begin() + 20, row.end()), std::vector<float>(12, 0.0f));
}

TEST(HlsMatmul, GivesARowTheSameBitsInAnyCompany) {
  const Matrix m = matrix(48, 100, 6, ElementType::kF16, {{1, 50, 3}});
  const auto x = random_floats(static_cast<size_t>(3 * kRows) * m.in, 5), bias = random_floats(m.out, 6);
  const Product together = multiply(&matmul, m, x, bias);
  for (const int t : {0, kRows - 1, kRows, 2 * kRows + 3}) {
    const Product alone = multiply(&matmul, m, {x.begin() + t * m.in, x.begin() + (t + 1) * m.in}, bias);
    EXPECT_EQ(alone.y, std::vector<float>(together.y.begin() + t * m.out, together.y.begin() + (t + 1) * m.out)) << t;
  }
}

// ---- sums over slices

struct Summing {
  Card card;
  uint32_t y, status;
  int tokens, out;
  Summing(int t, int o) : y(card.room(static_cast<size_t>(t) * o * 8)), status(card.status_word()), tokens(t), out(o) {}
  uint32_t add(Top top, const Matrix& m, const std::vector<float>& x, MatmulMode mode) {
    const uint32_t x_at = card.put(x), w = card.put(m.bytes);
    card.remember();
    top(card.base(), card.base(), card.as<uint16_t>(), card.as<uint16_t>(), card.as<float>(), card.base(), x_at, w, 0, y,
        status, tokens, m.in, m.out, m.in, m.out, m.bits, static_cast<uint32_t>(m.type), mode, card.as<uint32_t>());
    EXPECT_TRUE(card.untouched_but(y, static_cast<size_t>(tokens) * out * 8, status));
    return card.word(status);
  }
  std::vector<double> sums() const { return card.get<double>(y, static_cast<size_t>(tokens) * out); }
};

TEST(HlsMatmul, AddsSlicesOnTheGridInAnyOrder) {
  for (const int out : {48, 60}) {  // whole lines of doubles, and rows that begin inside one
    const int tokens = 18, in = 32;
    std::vector<Matrix> slices;
    std::vector<std::vector<float>> x;
    for (uint32_t j = 0; j < 3; ++j) {
      slices.push_back(matrix(out, in, 4, ElementType::kF16, {{0, 1, 2}}, j + 1));
      x.push_back(random_floats(static_cast<size_t>(tokens) * in, 40 + j));
    }
    std::vector<double> want(static_cast<size_t>(tokens) * out);
    for (size_t j = 0; j < 3; ++j) {
      const auto part = reference_product(slices[j], x[j], {});
      for (size_t i = 0; i < want.size(); ++i) want[i] += part[i];
    }
    Summing forward(tokens, out), backward(tokens, out);
    for (const size_t j : {0, 1, 2}) forward.add(&matmul, slices[j], x[j], j == 0 ? kBegin : kAccumulate);
    for (const size_t j : {2, 1, 0}) backward.add(&matmul, slices[j], x[j], j == 2 ? kBegin : kAccumulate);
    EXPECT_EQ(forward.sums(), backward.sums());
    EXPECT_TRUE(close(forward.sums(), want, kReal));
    for (const double s : forward.sums()) ASSERT_EQ(s * 0x1p32, std::nearbyint(s * 0x1p32));
  }
}

TEST(HlsMatmul, ReportsPartsThatLeaveTheGrid) {
  const Matrix m = matrix(16, 16, 4, ElementType::kF16);
  Summing fits(1, 16), leaves(1, 16), nan(1, 16);
  EXPECT_EQ(fits.add(&matmul, m, std::vector<float>(16, 1.0f), kBegin), kStatusDone);
  EXPECT_EQ(leaves.add(&matmul, m, std::vector<float>(16, 1e9f), kBegin), kStatusOverflow);
  EXPECT_EQ(nan.add(&matmul, m, std::vector<float>(16, NAN), kBegin), kStatusOverflow);
}

// ---- arguments that it cannot take

uint32_t status_of(uint32_t tokens, uint32_t in, uint32_t out, uint32_t bits, uint32_t element, uint32_t mode,
                   uint32_t x_stride, uint32_t y_stride) {
  Card card;
  const Matrix m = matrix(16, 16, 4, ElementType::kF16);
  const uint32_t x = card.put(random_floats(256, 1)), w = card.put(m.bytes), y = card.room(4096);
  const uint32_t status = card.status_word();
  card.remember();
  matmul(card.base(), card.base(), card.as<uint16_t>(), card.as<uint16_t>(), card.as<float>(), card.base(), x, w, 0, y,
         status, tokens, in, out, x_stride, y_stride, bits, element, mode, card.as<uint32_t>());
  if (card.word(status) == kStatusRefused) { EXPECT_TRUE(card.untouched_but(y, 0, status)); }
  return card.word(status);
}

TEST(HlsMatmul, RefusesWhatItsArraysCannotHold) {
  EXPECT_EQ(status_of(1, 16, 16, 4, 1, kStore, 16, 16), kStatusDone);
  EXPECT_EQ(status_of(0, 16, 16, 4, 1, kStore, 16, 16), kStatusDone);
  EXPECT_EQ(status_of(kMostTokens + 1, 16, 16, 4, 1, kStore, 16, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 0, 16, 4, 1, kStore, 16, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, kMostIn + 1, 16, 4, 1, kStore, kMostIn + 1, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 16, 0, 4, 1, kStore, 16, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 16, kMostOut + 1, 4, 1, kStore, 16, kMostOut + 1), kStatusRefused);
  for (const uint32_t bits : {0u, 9u, 16u, 31u, 33u})
    EXPECT_EQ(status_of(1, 16, 16, bits, 1, kStore, 16, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 16, 16, 4, 3, kStore, 16, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 16, 16, 4, 1, 3, 16, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 16, 16, 4, 1, kStore, 15, 16), kStatusRefused);
  EXPECT_EQ(status_of(1, 16, 16, 4, 1, kStore, 16, 15), kStatusRefused);
}

TEST(HlsMatmul, RefusesPanelStartsThatAreNoMatrix) {
  for (const uint32_t start : {1u, 0xffffffffu}) {  // not from 0; more than a panel has places for
    for (const size_t panel : {0u, 1u}) {
      Matrix m = matrix(16, 16, 4, ElementType::kF16);
      const uint32_t wrong = panel == 1 && start == 1 ? 16 * 16 + 1 : start;
      std::memcpy(m.bytes.data() + 64 + 4 * panel, &wrong, 4);
      EXPECT_EQ(multiply(&matmul, m, random_floats(16, 1), random_floats(16, 2)).status, kStatusRefused);
    }
  }
}

// A shard's positions were checked when it was parsed; a kernel must end even so.
TEST(HlsMatmul, EndsOnOutliersThatAreOutOfOrder) {
  const Matrix m = matrix(32, 16, 4, ElementType::kF16, {{0, 9, 1}, {0, 3, 2}, {0, 3000, 1}, {0, 1, 1}, {1, 0, 0}});
  const auto x = random_floats(static_cast<size_t>(2 * kRows) * 16, 1), bias = random_floats(32, 2);
  const Product got = multiply(&matmul, m, x, bias);
  EXPECT_EQ(got.status, kStatusDone);
  // The panel behind is not disturbed.
  const auto want = reference_product(m, x, bias);
  for (size_t t = 0; t < size_t{2} * kRows; ++t)
    for (size_t c = 16; c < 32; ++c) ASSERT_NEAR(got.y[t * 32 + c], want[t * 32 + c], 1e-4);
}

#ifdef TESSERA_HLS_FIXED
// Steps of 2^-10 in x and 2^-13 in W: each product is off by about |w| 2^-11 + |x| 2^-14.
TEST(HlsMatmulFixed, StaysWithinItsResolutionOfTheFloatOne) {
  for (const int tokens : {1, 31, 32, 33})
    for (const int in : {1, 16, 40, 130})
      for (const int bits : {2, 8, 32})
        expect_product(&matmul_fixed,
                       matrix(33, in, static_cast<Bits>(bits), ElementType::kF16, {{0, 0, 0}, {1, in - 1, 3}}), tokens,
                       1e-3);
}

TEST(HlsMatmulFixed, AddsSlicesOnTheSameGrid) {
  const Matrix m = matrix(48, 32, 4, ElementType::kF16);
  const auto x = random_floats(5 * 32, 3);
  Summing real(5, 48), fixed(5, 48);
  for (const MatmulMode mode : {kBegin, kAccumulate}) {
    EXPECT_EQ(real.add(&matmul, m, x, mode), kStatusDone);
    EXPECT_EQ(fixed.add(&matmul_fixed, m, x, mode), kStatusDone);
  }
  EXPECT_TRUE(close(fixed.sums(), real.sums(), 1e-3));
}

TEST(HlsMatmulFixed, SaturatesInsteadOfWrapping) {
  const Matrix m = matrix(16, 1, 8, ElementType::kF32, {{0, 0, 0}});  // an outlier of 1.5
  const Product got = multiply(&matmul_fixed, m, {1e6f}, std::vector<float>(16, 0.0f));
  EXPECT_NEAR(got.y[0], 32 * 1.5, 0.01);
}
#endif

}  // namespace
}  // namespace tessera::hls::testing
