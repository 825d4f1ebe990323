// Runs whole halves of a layer through the tops, as a backend chains them, on shards that the codec wrote.
#include <memory>

#include "framework/reference_ops.h"
#include "tests/backends/cpu_rig.h"
#include "tests/hls/card.h"

namespace tessera::hls::testing {
namespace {

using tessera::testing::RandomLayer;
using tessera::testing::Weights;
using tessera::testing::weights_of;

struct Tops {
  decltype(&matmul) product;
  decltype(&attention) head;
  decltype(&gelu) activate;
  decltype(&layernorm_residual) join;
};
constexpr Tops kReal{&matmul, &attention, &gelu, &layernorm_residual};

// The matrices of one shard: where each begins, in lines.
std::array<uint32_t, kMatrixCount> matrices_of(const ModelShape& shape, const WeightRef& shard) {
  std::array<uint32_t, kMatrixCount> at{};
  if (shard.bits == kExact) {
    const DenseLayout layout = dense_layout(shape, element_size(shard.exact_type));
    for (int i = 0; i < kMatrixCount; ++i) at[i] = static_cast<uint32_t>(layout.offset[i] / kLineBytes);
    return at;
  }
  const auto* base = shard.data.as<std::byte>();
  const auto coded = parse_coded_shard(shape, shard.bits, shard.exact_type, base, shard.bytes).take();
  for (int i = 0; i < kMatrixCount; ++i)
    at[i] = static_cast<uint32_t>((reinterpret_cast<const std::byte*>(coded[i].dictionary) - base) / kLineBytes);
  return at;
}

class LayerOnCard {
 public:
  LayerOnCard(const Tops& tops, const RandomLayer& layer, const std::vector<int32_t>& starts)
      : tops_(tops), layer_(layer), starts_(starts), tokens_(starts.back()) {
    status_ = card_.status_word();
  }

  std::vector<double> attention_part(const std::vector<float>& x, const Weights& weights) {
    const int d = layer_.shape.hidden, w = layer_.shape.head_width();
    const uint32_t stride = padded_row(w), x_at = card_.put(x);
    uint32_t row[4];
    for (uint32_t& r : row) r = card_.room(size_t{4} * tokens_ * stride);
    const uint32_t sums = card_.room(size_t{8} * tokens_ * d);
    const std::vector<float>* biases[] = {&layer_.biases.query, &layer_.biases.key, &layer_.biases.value};
    uint32_t bias_at[3];
    for (int i = 0; i < 3; ++i) bias_at[i] = card_.put(*biases[i]) * kLineFloats;
    for (size_t s = 0; s < weights.refs.size(); ++s) {
      const Shard shard = put_shard(weights.refs[s]);
      for (int i = 0; i < 3; ++i)
        multiply(shard, i, x_at, d, w, d, stride, bias_at[i] + weights.refs[s].slice * w, row[i], kStore);
      for (size_t b = 0; b + 1 < starts_.size(); ++b) attend(row, starts_[b], starts_[b + 1] - starts_[b], w);
      multiply(shard, 3, row[3], w, d, stride, d, 0, sums, s == 0 ? kBegin : kAccumulate);
    }
    return card_.get<double>(sums, static_cast<size_t>(tokens_) * d);
  }

  std::vector<double> ffn_part(const std::vector<float>& x, const Weights& weights) {
    const int d = layer_.shape.hidden, f = layer_.shape.ffn_share();
    const uint32_t stride = padded_row(f), x_at = card_.put(x);
    const uint32_t hidden = card_.room(size_t{4} * tokens_ * stride), sums = card_.room(size_t{8} * tokens_ * d);
    const uint32_t bias = card_.put(layer_.biases.up) * kLineFloats;
    for (size_t s = 0; s < weights.refs.size(); ++s) {
      const Shard shard = put_shard(weights.refs[s]);
      multiply(shard, 4, x_at, d, f, d, stride, bias + weights.refs[s].slice * f, hidden, kStore);
      tops_.activate(card_.base(), card_.base(), hidden, hidden, status_, tokens_ * stride / kLineFloats,
                     card_.as<uint32_t>());
      expect_done();
      multiply(shard, 5, hidden, f, d, stride, d, 0, sums, s == 0 ? kBegin : kAccumulate);
    }
    return card_.get<double>(sums, static_cast<size_t>(tokens_) * d);
  }

  std::vector<float> combine(const std::vector<std::vector<double>>& parts, const std::vector<float>& x, bool ffn) {
    const auto& b = layer_.biases;
    uint32_t at[kMostParts] = {};
    for (size_t i = 0; i < parts.size(); ++i) at[i] = card_.put(parts[i]);
    const uint32_t residual = card_.put(x), y = card_.room(x.size() * 4);
    const uint32_t bias = card_.put(ffn ? b.down : b.attention);
    const uint32_t weight = card_.put(ffn ? b.ffn_norm_weight : b.attention_norm_weight);
    const uint32_t shift = card_.put(ffn ? b.ffn_norm_bias : b.attention_norm_bias);
    tops_.join(card_.base(), card_.base(), card_.base(), card_.base(), card_.base(), card_.base(), card_.base(), at[0],
               at[1], at[2], at[3], residual, bias, weight, shift, y, status_, static_cast<uint32_t>(parts.size()), 1,
               tokens_, layer_.shape.hidden, static_cast<float>(layer_.shape.layer_norm_eps), card_.as<uint32_t>());
    expect_done();
    return card_.get<float>(y, x.size());
  }

 private:
  struct Shard {
    uint32_t at = 0;
    std::array<uint32_t, kMatrixCount> matrix{};
    Bits bits = 0;
    ElementType type = ElementType::kF32;
  };
  Shard put_shard(const WeightRef& ref) {
    std::vector<std::byte> bytes(ref.data.as<std::byte>(), ref.data.as<std::byte>() + ref.bytes);
    bytes.resize(bytes.size() + 64);
    return {card_.put(bytes), matrices_of(layer_.shape, ref), ref.bits, ref.exact_type};
  }
  void multiply(const Shard& shard, int matrix, uint32_t x, int in, int out, uint32_t x_stride, uint32_t y_stride,
                uint32_t bias, uint32_t y, MatmulMode mode) {
    tops_.product(card_.base(), card_.base(), card_.as<uint16_t>(), card_.as<uint16_t>(), card_.as<float>(), card_.base(), x,
                  shard.at + shard.matrix[matrix], bias, y, status_, tokens_, in, out, x_stride, y_stride, shard.bits,
                  static_cast<uint32_t>(shard.type), mode, card_.as<uint32_t>());
    expect_done();
  }
  void attend(const uint32_t (&row)[4], int first, int tokens, int width) {
    const uint32_t lines = first * padded_row(width) / kLineFloats;
    tops_.head(card_.base(), card_.base(), card_.base(), card_.base(), row[0] + lines, row[1] + lines, row[2] + lines,
               row[3] + lines, status_, tokens, width, card_.as<uint32_t>());
    expect_done();
  }
  void expect_done() {
    EXPECT_EQ(card_.word(status_), kStatusDone);
    card_.as<uint32_t>()[status_] = 0;
  }

  const Tops& tops_;
  const RandomLayer& layer_;
  const std::vector<int32_t> starts_;
  const int tokens_;
  Card card_;
  uint32_t status_;
};

std::vector<double> reference_part(const RandomLayer& layer, const Weights& weights, const std::vector<float>& x,
                                   const std::vector<int32_t>& starts, bool ffn) {
  const int d = layer.shape.hidden;
  std::vector<double> out(x.size());
  for (size_t b = 0; b + 1 < starts.size(); ++b) {
    const int tokens = starts[b + 1] - starts[b];
    const size_t first = static_cast<size_t>(starts[b]) * d, count = static_cast<size_t>(tokens) * d;
    (ffn ? reference::ffn_part : reference::attention_part)(layer.shape, std::span(x).subspan(first, count), tokens,
                                                            weights.parts(), layer.biases,
                                                            std::span(out).subspan(first, count));
  }
  return out;
}

constexpr double kTolerance = 5e-6;

TEST(HlsLayer, EqualsTheReferenceAtEveryBitwidth) {
  for (const auto& [width, share] : {std::pair{16, 32}, {20, 24}, {8, 8}}) {
    const RandomLayer layer(3, width, share, ElementType::kF16);
    const std::vector<int32_t> starts = {0, 5, 6, 23};
    const auto x = layer.input(starts.back());
    for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, 32}) {
      const Weights weights = weights_of(layer, {0, 2}, static_cast<Bits>(bits), WeightForm::kCoded);
      LayerOnCard card(kReal, layer, starts);
      const auto attended = card.attention_part(x, weights), fed = card.ffn_part(x, weights);
      EXPECT_TRUE(close(attended, reference_part(layer, weights, x, starts, false), kTolerance)) << bits << " " << width;
      EXPECT_TRUE(close(fed, reference_part(layer, weights, x, starts, true), kTolerance)) << bits << " " << width;
    }
  }
}

TEST(HlsLayer, EqualsTheWholeReferenceLayer) {
  const RandomLayer layer(4, 16, 32, ElementType::kBf16);
  const Weights weights = weights_of(layer, tessera::testing::all_slices(layer), 6, WeightForm::kCoded);
  const std::vector<int32_t> starts = {0, 37};
  const auto x = layer.input(37);
  std::vector<float> want(x.size());
  reference::layer(layer.shape, x, 37, weights.parts(), layer.biases, want);
  LayerOnCard card(kReal, layer, starts);
  const auto y = card.combine({card.attention_part(x, weights)}, x, false);
  EXPECT_TRUE(close(card.combine({card.ffn_part(y, weights)}, y, true), want, 1e-5));
}

TEST(HlsLayer, GivesTheSameBitsHoweverSlicesAreParted) {
  const RandomLayer layer(3, 20, 24, ElementType::kF16);
  const std::vector<int32_t> starts = {0, 18};
  const auto x = layer.input(18);
  LayerOnCard card(kReal, layer, starts);
  const auto all = weights_of(layer, {0, 1, 2}, 4, WeightForm::kCoded);
  const auto whole = card.combine({card.attention_part(x, all)}, x, false);
  const auto first = weights_of(layer, {0, 2}, 4, WeightForm::kCoded), rest = weights_of(layer, {1}, 4, WeightForm::kCoded);
  EXPECT_EQ(card.combine({card.attention_part(x, first), card.attention_part(x, rest)}, x, false), whole);
  EXPECT_EQ(card.combine({card.attention_part(x, rest), card.attention_part(x, first)}, x, false), whole);
}

#ifdef TESSERA_HLS_FIXED
constexpr Tops kFixed{&matmul_fixed, &attention_fixed, &gelu_fixed, &layernorm_residual_fixed};

TEST(HlsLayerFixed, StaysWithinOnePercentOfTheFloatOne) {
  const RandomLayer layer(2, 16, 32, ElementType::kF16);
  const Weights weights = weights_of(layer, {0, 1}, 6, WeightForm::kCoded);
  const std::vector<int32_t> starts = {0, 20};
  const auto x = layer.input(20);
  LayerOnCard real(kReal, layer, starts), fixed(kFixed, layer, starts);
  const auto y = real.combine({real.attention_part(x, weights)}, x, false);
  const auto z = fixed.combine({fixed.attention_part(x, weights)}, x, false);
  EXPECT_TRUE(close(z, y, 0.01));
  EXPECT_TRUE(
      close(fixed.combine({fixed.ffn_part(z, weights)}, z, true), real.combine({real.ffn_part(y, weights)}, y, true), 0.01));
}
#endif

}  // namespace
}  // namespace tessera::hls::testing
