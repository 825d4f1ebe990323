// Computes every operator plainly: loops over double accumulators, results rounded to fp32 where an operator ends.
#include "framework/reference_ops.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace tessera::reference {
namespace {

// Row-major views; `at(x, columns, row, column)` reads one element.
template <typename T>
T& at(std::span<T> x, int columns, int row, int column) {
  return x[static_cast<size_t>(row) * columns + column];
}

// Rows [slice * count, (slice + 1) * count) of a whole bias.
std::span<const float> slice_of(const std::vector<float>& bias, int slice, int count) {
  return std::span(bias).subspan(static_cast<size_t>(slice) * count, count);
}

// Softmax of `scores` [T], in place.
void softmax(std::span<double> scores) {
  const double highest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - highest);
  for (double& s : scores) s /= sum;
}

// One head: q, k, v [T, W] -> context [T, W].
std::vector<float> attend(std::span<const float> q, std::span<const float> k, std::span<const float> v, int tokens,
                          int width) {
  std::vector<float> context(q.size());
  std::vector<double> scores(tokens);
  for (int t = 0; t < tokens; ++t) {
    for (int u = 0; u < tokens; ++u) {
      double dot = 0;
      for (int i = 0; i < width; ++i) dot += static_cast<double>(at(q, width, t, i)) * at(k, width, u, i);
      scores[u] = dot / std::sqrt(static_cast<double>(width));
    }
    softmax(scores);
    for (int i = 0; i < width; ++i) {
      double sum = 0;
      for (int u = 0; u < tokens; ++u) sum += scores[u] * at(v, width, u, i);
      at(std::span(context), width, t, i) = static_cast<float>(sum);
    }
  }
  return context;
}

// partial [T, out] += x [T, in] * w [out, in]^T.
void add_product(std::span<const float> x, std::span<const float> w, int tokens, int in, int out,
                 std::span<double> partial) {
  for (int t = 0; t < tokens; ++t) {
    for (int o = 0; o < out; ++o) {
      double dot = 0;
      for (int i = 0; i < in; ++i) dot += static_cast<double>(at(x, in, t, i)) * at(w, in, o, i);
      at(partial, out, t, o) += dot;
    }
  }
}

}  // namespace

void linear(std::span<const float> x, std::span<const float> w, std::span<const float> b, int tokens, int in, int out,
            std::span<float> y) {
  assert(x.size() >= static_cast<size_t>(tokens) * in && y.size() >= static_cast<size_t>(tokens) * out);
  assert(w.size() >= static_cast<size_t>(out) * in && (b.empty() || b.size() >= static_cast<size_t>(out)));
  for (int t = 0; t < tokens; ++t) {
    for (int o = 0; o < out; ++o) {
      double sum = b.empty() ? 0.0 : b[o];
      for (int i = 0; i < in; ++i) sum += static_cast<double>(at(x, in, t, i)) * at(w, in, o, i);
      at(y, out, t, o) = static_cast<float>(sum);
    }
  }
}

float gelu(float x) {
  const double wide = x;
  return static_cast<float>(wide / 2 * (1 + std::erf(wide / std::sqrt(2.0))));
}

void layer_norm(std::span<float> x, std::span<const float> weight, std::span<const float> bias, int tokens, double eps) {
  const int hidden = static_cast<int>(weight.size());
  for (int t = 0; t < tokens; ++t) {
    double mean = 0, variance = 0;
    for (int i = 0; i < hidden; ++i) mean += at(x, hidden, t, i);
    mean /= hidden;
    for (int i = 0; i < hidden; ++i) variance += (at(x, hidden, t, i) - mean) * (at(x, hidden, t, i) - mean);
    variance /= hidden;
    const double scale = 1 / std::sqrt(variance + eps);
    for (int i = 0; i < hidden; ++i) {
      at(x, hidden, t, i) = static_cast<float>((at(x, hidden, t, i) - mean) * scale * weight[i] + bias[i]);
    }
  }
}

void attention_part(const ModelShape& shape, std::span<const float> x, int tokens, std::span<const SlicePart> slices,
                    const LayerBiases& biases, std::span<double> partial) {
  const int hidden = shape.hidden;
  const int width = shape.head_width();
  const size_t head_elements = static_cast<size_t>(tokens) * width;
  std::fill(partial.begin(), partial.end(), 0.0);
  for (const SlicePart& part : slices) {
    std::vector<float> q(head_elements), k(head_elements), v(head_elements);
    const SliceWeights& w = *part.weights;
    linear(x, w.query, slice_of(biases.query, part.slice, width), tokens, hidden, width, q);
    linear(x, w.key, slice_of(biases.key, part.slice, width), tokens, hidden, width, k);
    linear(x, w.value, slice_of(biases.value, part.slice, width), tokens, hidden, width, v);
    add_product(attend(q, k, v, tokens, width), w.output, tokens, width, hidden, partial);
  }
}

void ffn_part(const ModelShape& shape, std::span<const float> x, int tokens, std::span<const SlicePart> slices,
              const LayerBiases& biases, std::span<double> partial) {
  const int share = shape.ffn_share();
  std::fill(partial.begin(), partial.end(), 0.0);
  for (const SlicePart& part : slices) {
    std::vector<float> wide(static_cast<size_t>(tokens) * share);
    linear(x, part.weights->up, slice_of(biases.up, part.slice, share), tokens, shape.hidden, share, wide);
    for (float& w : wide) w = gelu(w);
    add_product(wide, part.weights->down, tokens, share, shape.hidden, partial);
  }
}

void combine(const ModelShape& shape, std::span<const std::span<const double>> partials, std::span<const float> residual,
             std::span<const float> bias, std::span<const float> norm_weight, std::span<const float> norm_bias, int tokens,
             std::span<float> y) {
  const int hidden = shape.hidden;
  for (int t = 0; t < tokens; ++t) {
    for (int i = 0; i < hidden; ++i) {
      double sum = 0;
      for (const auto& partial : partials) sum += at(partial, hidden, t, i);
      at(y, hidden, t, i) = static_cast<float>(sum + bias[i] + at(residual, hidden, t, i));
    }
  }
  layer_norm(y, norm_weight, norm_bias, tokens, shape.layer_norm_eps);
}

void layer(const ModelShape& shape, std::span<const float> x, int tokens, std::span<const SlicePart> slices,
           const LayerBiases& biases, std::span<float> y) {
  const size_t elements = static_cast<size_t>(tokens) * shape.hidden;
  std::vector<double> partial(elements);
  std::vector<float> attended(elements);
  const std::span<const double> partials[] = {partial};
  attention_part(shape, x, tokens, slices, biases, partial);
  combine(shape, partials, x, biases.attention, biases.attention_norm_weight, biases.attention_norm_bias, tokens, attended);
  ffn_part(shape, attended, tokens, slices, biases, partial);
  combine(shape, partials, attended, biases.down, biases.ffn_norm_weight, biases.ffn_norm_bias, tokens, y);
}

void embed(const ModelShape& shape, std::span<const float> word, std::span<const float> position,
           std::span<const float> token_type, std::span<const float> norm_weight, std::span<const float> norm_bias,
           int tokens, std::span<float> y) {
  const size_t elements = static_cast<size_t>(tokens) * shape.hidden;
  for (size_t i = 0; i < elements; ++i) {
    y[i] = static_cast<float>(static_cast<double>(word[i]) + position[i] + token_type[i]);
  }
  layer_norm(y, norm_weight, norm_bias, tokens, shape.layer_norm_eps);
}

void exit_head(const ModelShape& shape, std::span<const float> x, std::span<const float> pooler_weight,
               std::span<const float> pooler_bias, std::span<const float> classifier_weight,
               std::span<const float> classifier_bias, std::span<float> logits) {
  std::vector<float> pooled(shape.hidden);
  linear(x, pooler_weight, pooler_bias, 1, shape.hidden, shape.hidden, pooled);
  for (float& p : pooled) p = std::tanh(p);
  linear(pooled, classifier_weight, classifier_bias, 1, shape.hidden, shape.labels, logits);
}

}  // namespace tessera::reference
