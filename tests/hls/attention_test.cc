// Checks attention in C simulation against softmax(q k^T / sqrt(W)) v in double.
#include <cmath>

#include "hls/attention/tile.h"
#include "tests/hls/card.h"

namespace tessera::hls::testing {
namespace {

using Top = decltype(&attention);
using attn::kLanes;
using attn::kQueries;

struct Head {
  int tokens, width;
  std::vector<float> q, k, v;
  Head(int t, int w, float spread = 1, uint32_t seed = 1)
      : tokens(t),
        width(w),
        q(random_floats(static_cast<size_t>(t) * w, seed, spread)),
        k(random_floats(static_cast<size_t>(t) * w, seed + 1, spread)),
        v(random_floats(static_cast<size_t>(t) * w, seed + 2)) {}

  std::vector<double> context() const {
    std::vector<double> out(q.size()), scores(tokens);
    for (int t = 0; t < tokens; ++t) {
      double sum = 0, highest = -HUGE_VAL;
      for (int u = 0; u < tokens; ++u) {
        double dot = 0;
        for (int i = 0; i < width; ++i) dot += static_cast<double>(q[t * width + i]) * k[u * width + i];
        highest = std::max(highest, scores[u] = dot / std::sqrt(width));
      }
      for (double& s : scores) sum += s = std::exp(s - highest);
      for (int u = 0; u < tokens; ++u)
        for (int i = 0; i < width; ++i) out[t * width + i] += scores[u] / sum * v[u * width + i];
    }
    return out;
  }
};

struct Context {
  uint32_t status = 0;
  std::vector<float> rows;
  bool zero_padding = true;
};

Context attend(Top top, const Head& head) {
  Card card;
  const uint32_t stride = padded_row(head.width);
  const size_t count = static_cast<size_t>(head.tokens) * stride;
  // Padding holds what no kernel may use.
  const uint32_t q = card.put(padded(head.q, head.width, stride, NAN)),
                 k = card.put(padded(head.k, head.width, stride, NAN)),
                 v = card.put(padded(head.v, head.width, stride, NAN));
  const uint32_t context = card.room(count * 4), status = card.status_word();
  card.remember();
  top(card.base(), card.base(), card.base(), card.base(), q, k, v, context, status, head.tokens, head.width,
      card.as<uint32_t>());
  EXPECT_TRUE(card.untouched_but(context, count * 4, status));
  const auto rows = card.get<float>(context, count);
  Context out{card.word(status), unpadded(rows, head.width, stride)};
  for (size_t i = 0; i < rows.size(); ++i)
    if (i % stride >= static_cast<size_t>(head.width)) out.zero_padding &= rows[i] == 0;
  return out;
}

void expect_context(Top top, const Head& head, double tolerance) {
  const Context got = attend(top, head);
  SCOPED_TRACE(::testing::Message() << head.tokens << " tokens, width " << head.width);
  EXPECT_EQ(got.status, kStatusDone);
  EXPECT_TRUE(close(got.rows, head.context(), tolerance));
  EXPECT_TRUE(got.zero_padding);
}

constexpr double kReal = 2e-6;

TEST(HlsAttention, EqualsTheReferenceAtEveryEdgeOfItsTiles) {
  const int q = kQueries, lanes = kLanes;
  for (const int tokens : {1, q - 1, q, q + 1, 2 * q + 3})
    for (const int width : {1, 15, 16, 17, lanes - 1, lanes, lanes + 1, 2 * lanes, 2 * lanes + 5, 4 * lanes})
      expect_context(&attention, Head(tokens, width), kReal);
}

TEST(HlsAttention, TakesLongSequences) { expect_context(&attention, Head(300, 32), kReal); }

TEST(HlsAttention, KeepsLargeScoresFromOverflowing) {
  // Scores of some thousands: one key takes all.
  expect_context(&attention, Head(20, 32, 40.0f), kReal);
  Head rising(40, 16, 0.0f);
  for (int t = 0; t < rising.tokens; ++t) rising.q[t * 16] = 30, rising.k[t * 16] = static_cast<float>(t) * 30;
  expect_context(&attention, rising, kReal);
  Head falling = rising;
  for (int t = 0; t < falling.tokens; ++t) falling.k[t * 16] = -rising.k[t * 16];
  expect_context(&attention, falling, kReal);
}

TEST(HlsAttention, AveragesValuesWhereAllKeysAreEqual) {
  Head head(17, 8, 0.0f);
  expect_context(&attention, head, kReal);
}

TEST(HlsAttention, ReportsScoresThatAreNoNumbers) {
  Head head(3, 8);
  head.k[9] = NAN;
  EXPECT_EQ(attend(&attention, head).status, kStatusOverflow);
}

uint32_t status_of(uint32_t tokens, uint32_t width) {
  Card card;
  const uint32_t rows = card.put(random_floats(64, 1)), out = card.room(256), status = card.status_word();
  attention(card.base(), card.base(), card.base(), card.base(), rows, rows, rows, out, status, tokens, width,
            card.as<uint32_t>());
  return card.word(status);
}

TEST(HlsAttention, RefusesWhatItsArraysCannotHold) {
  EXPECT_EQ(status_of(4, 16), kStatusDone);
  EXPECT_EQ(status_of(0, 16), kStatusDone);
  EXPECT_EQ(status_of(4, 0), kStatusRefused);
  EXPECT_EQ(status_of(1, kMostHeadWidth + 1), kStatusRefused);
  EXPECT_EQ(status_of(kMostTokens + 1, 16), kStatusRefused);
}

#ifdef TESSERA_HLS_FIXED
TEST(HlsAttentionFixed, StaysWithinItsResolutionOfTheFloatOne) {
  for (const int tokens : {1, 16, 33})
    for (const int width : {16, 32, 40}) {
      const Head head(tokens, width);
      expect_context(&attention_fixed, head, 4e-3);
      EXPECT_TRUE(close(attend(&attention_fixed, head).rows, attend(&attention, head).rows, 4e-3));
    }
}
#endif

}  // namespace
}  // namespace tessera::hls::testing
