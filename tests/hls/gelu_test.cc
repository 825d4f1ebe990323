// Checks gelu in C simulation against the exact one.
#include <cmath>

#include "framework/reference_ops.h"
#include "tests/hls/card.h"

namespace tessera::hls::testing {
namespace {

using Top = decltype(&gelu);

// In place where asked: y may be x.
std::vector<float> apply(Top top, const std::vector<float>& x, bool in_place = false) {
  Card card;
  const auto lines = static_cast<uint32_t>((x.size() + kLineFloats - 1) / kLineFloats);
  std::vector<float> whole = x;
  whole.resize(size_t{lines} * kLineFloats);
  const uint32_t x_at = card.put(whole), y_at = in_place ? x_at : card.room(whole.size() * 4), status = card.status_word();
  card.remember();
  top(card.base(), card.base(), x_at, y_at, status, lines, card.as<uint32_t>());
  EXPECT_EQ(card.word(status), kStatusDone);
  EXPECT_TRUE(card.untouched_but(y_at, whole.size() * 4, status));
  return card.get<float>(y_at, x.size());
}

std::vector<float> sweep() {
  std::vector<float> x;
  for (int i = -12000; i <= 12000; ++i) x.push_back(static_cast<float>(i) / 1000);
  for (const float far : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-6f, 20.0f, -20.0f, 1e30f, -1e30f}) x.push_back(far);
  return x;
}

TEST(HlsGelu, StaysWithinTheErrorOfItsErf) {
  const auto x = sweep(), y = apply(&gelu, x);
  for (size_t i = 0; i < x.size(); ++i)
    ASSERT_NEAR(y[i], reference::gelu(x[i]), 2e-7 * std::max(1.0f, std::abs(x[i]))) << x[i];
}

TEST(HlsGelu, MayWriteOverItsInput) {
  const auto x = random_floats(100, 3);
  EXPECT_EQ(apply(&gelu, x, true), apply(&gelu, x));
}

TEST(HlsGelu, DoesNothingToNoLines) {
  Card card;
  const uint32_t x = card.put(random_floats(16, 1)), status = card.status_word();
  card.remember();
  gelu(card.base(), card.base(), x, x, status, 0, card.as<uint32_t>());
  EXPECT_TRUE(card.untouched_but(0, 0, status));
  EXPECT_EQ(card.word(status), kStatusDone);
}

#ifdef TESSERA_HLS_FIXED
// x in steps of 2^-10, and half of one in the result.
TEST(HlsGeluFixed, StaysWithinItsResolutionOfTheFloatOne) {
  const auto x = sweep(), y = apply(&gelu_fixed, x), real = apply(&gelu, x);
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::abs(x[i]) < 31) { ASSERT_NEAR(y[i], real[i], 0x1p-10 * 1.6) << x[i]; }
  }
}

TEST(HlsGeluFixed, SaturatesFarOut) {
  const auto y = apply(&gelu_fixed, {1e30f, -1e30f});
  EXPECT_NEAR(y[0], 32, 0.01);
  EXPECT_EQ(y[1], 0);
}
#endif

}  // namespace
}  // namespace tessera::hls::testing
