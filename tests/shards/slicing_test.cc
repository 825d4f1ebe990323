// Checks that parts over any partition of a layer's slices add up to the dense layer (Eigen, doubles, never sliced).
#include "shards/slicing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <Eigen/Dense>
#include <gtest/gtest.h>

#include "framework/reference_ops.h"

namespace tessera {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct Dims {
  int hidden, heads, ffn, tokens;
};

class SlicedLayer : public testing::TestWithParam<Dims> {
 protected:
  void SetUp() override {
    const Dims p = GetParam();
    shape_.hidden = p.hidden;
    shape_.heads = shape_.slices = p.heads;
    shape_.ffn = p.ffn;
    shape_.layers = 1;
    const size_t d = static_cast<size_t>(p.hidden), f = static_cast<size_t>(p.ffn);
    const size_t sizes[] = {d * d, d * d, d * d, d * d, f * d, d * f};
    for (int i = 0; i < kMatrixCount; ++i) layer_[i] = random(sizes[i], 0, 1 / std::sqrt(static_cast<double>(p.hidden)));
    biases_ = {random(d, 0, 0.1), random(d, 0, 0.1), random(d, 0, 0.1), random(d, 0, 0.1), random(d, 1, 0.1),
               random(d, 0, 0.1), random(f, 0, 0.1), random(d, 0, 0.1), random(d, 1, 0.1), random(d, 0, 0.1)};
    x_ = random(static_cast<size_t>(p.tokens) * d, 0, 1);
    for (int j = 0; j < p.heads; ++j) {
      DenseShard s = slice_layer(shape_, layer_, j);
      slices_.push_back({s[0], s[1], s[2], s[3], s[4], s[5]});
    }
  }

  std::vector<float> random(size_t n, double mean, double scale) {
    std::normal_distribution<float> normal(static_cast<float>(mean), static_cast<float>(scale));
    std::vector<float> values(n);
    for (float& v : values) v = normal(random_);
    return values;
  }

  Matrix matrix(const std::vector<float>& values, int rows) const {
    const auto columns = static_cast<Eigen::Index>(values.size()) / rows;
    return Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(values.data(), rows,
                                                                                                   columns)
        .cast<double>();
  }

  static void normalise(Matrix& y, const Matrix& weight, const Matrix& bias) {
    for (Eigen::Index t = 0; t < y.rows(); ++t) {
      const double mean = y.row(t).mean();
      const double variance = (y.row(t).array() - mean).square().mean();
      y.row(t) =
          ((y.row(t).array() - mean) / std::sqrt(variance + 1e-12) * weight.row(0).array() + bias.row(0).array()).matrix();
    }
  }

  Matrix dense() const {
    const int d = shape_.hidden, f = shape_.ffn, w = shape_.head_width(), t = GetParam().tokens;
    const auto linear = [&](const Matrix& x, int i, int out, const std::vector<float>& bias) -> Matrix {
      return (x * matrix(layer_[i], out).transpose()).rowwise() + matrix(bias, 1).row(0);
    };
    const Matrix x = matrix(x_, t);
    const Matrix q = linear(x, 0, d, biases_.query), k = linear(x, 1, d, biases_.key), v = linear(x, 2, d, biases_.value);
    Matrix context(t, d);
    for (int h = 0; h < shape_.heads; ++h) {
      Matrix scores = q.middleCols(h * w, w) * k.middleCols(h * w, w).transpose() / std::sqrt(static_cast<double>(w));
      for (Eigen::Index i = 0; i < scores.rows(); ++i) {
        scores.row(i) = (scores.row(i).array() - scores.row(i).maxCoeff()).exp().matrix();
        scores.row(i) /= scores.row(i).sum();
      }
      context.middleCols(h * w, w) = scores * v.middleCols(h * w, w);
    }
    Matrix y = linear(context, 3, d, biases_.attention) + x;
    normalise(y, matrix(biases_.attention_norm_weight, 1), matrix(biases_.attention_norm_bias, 1));
    const Matrix up =
        linear(y, 4, f, biases_.up).unaryExpr([](double u) { return u / 2 * (1 + std::erf(u / std::sqrt(2.0))); });
    Matrix z = linear(up, 5, d, biases_.down) + y;
    normalise(z, matrix(biases_.ffn_norm_weight, 1), matrix(biases_.ffn_norm_bias, 1));
    return z;
  }

  using Partition = std::vector<std::vector<reference::SlicePart>>;
  using Part = void (*)(const ModelShape&, std::span<const float>, int, std::span<const reference::SlicePart>,
                        const reference::LayerBiases&, std::span<double>);

  std::vector<float> half(Part part, const Partition& partition, const std::vector<float>& x, const std::vector<float>& bias,
                          const std::vector<float>& weight, const std::vector<float>& norm_bias) const {
    std::vector<std::vector<double>> partials;
    for (const auto& slices : partition) {
      part(shape_, x, GetParam().tokens, slices, biases_, partials.emplace_back(x.size()));
    }
    const std::vector<std::span<const double>> views(partials.begin(), partials.end());
    std::vector<float> y(x.size());
    reference::combine(shape_, views, x, bias, weight, norm_bias, GetParam().tokens, y);
    return y;
  }

  std::vector<float> sliced(const Partition& partition) const {
    const auto middle = half(reference::attention_part, partition, x_, biases_.attention, biases_.attention_norm_weight,
                             biases_.attention_norm_bias);
    return half(reference::ffn_part, partition, middle, biases_.down, biases_.ffn_norm_weight, biases_.ffn_norm_bias);
  }

  // Slices dealt to `parts` devices at random; every part keeps ascending slices.
  Partition deal(int parts) {
    Partition partition(static_cast<size_t>(parts));
    for (int j = 0; j < shape_.slices; ++j) {
      partition[random_() % static_cast<uint32_t>(parts)].push_back({j, &slices_[static_cast<size_t>(j)]});
    }
    std::erase_if(partition, [](const auto& p) { return p.empty(); });
    return partition;
  }

  std::mt19937 random_{7};
  ModelShape shape_;
  DenseLayer layer_;
  reference::LayerBiases biases_;
  std::vector<reference::SliceWeights> slices_;
  std::vector<float> x_;
};

INSTANTIATE_TEST_SUITE_P(AnyHeadsAndFfn, SlicedLayer,
                         testing::Values(Dims{32, 4, 64, 5}, Dims{12, 3, 15, 1}, Dims{30, 5, 5, 7}, Dims{24, 1, 40, 3},
                                         Dims{7, 7, 49, 4}, Dims{96, 12, 384, 16}, Dims{64, 64, 128, 2}));

TEST_P(SlicedLayer, EqualsTheDenseLayerForAnyPartition) {
  const Matrix want = dense();
  const double tolerance = 1e-5 * want.cwiseAbs().maxCoeff();
  for (int parts : {1, 2, 3, 7, 64}) {
    const std::vector<float> got = sliced(deal(parts));
    const double worst = (matrix(got, GetParam().tokens) - want).cwiseAbs().maxCoeff();
    EXPECT_LE(worst, tolerance) << parts << " parts";
  }
}

TEST_P(SlicedLayer, PutsEveryWeightInExactlyOneShard) {
  std::vector<std::vector<float>> left;
  for (auto& m : layer_) left.push_back(m), std::sort(left.back().begin(), left.back().end());
  for (int i = 0; i < kMatrixCount; ++i) {
    std::vector<float> all;
    for (int j = 0; j < shape_.slices; ++j) {
      const DenseShard shard = slice_layer(shape_, layer_, j);
      all.insert(all.end(), shard[i].begin(), shard[i].end());
    }
    std::sort(all.begin(), all.end());
    EXPECT_EQ(all, left[i]);
  }
}

}  // namespace
}  // namespace tessera
