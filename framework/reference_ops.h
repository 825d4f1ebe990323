// Plain reference implementations of every operator: the oracle of all backends. Loops, no intrinsics, double accumulation.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "framework/model_shape.h"

namespace tessera::reference {

// Dense fp32 weights of one slice, row-major [out, in] as in the checkpoint.
struct SliceWeights {
  std::vector<float> query, key, value;  // [D/H, D]
  std::vector<float> output;             // [D, D/H]
  std::vector<float> up;                 // [F/M, D]
  std::vector<float> down;               // [D, F/M]
};

// Norms and biases of one layer, whole.
struct LayerBiases {
  std::vector<float> query, key, value;                           // [D]
  std::vector<float> attention;                                   // [D]
  std::vector<float> attention_norm_weight, attention_norm_bias;  // [D]
  std::vector<float> up;                                          // [F]
  std::vector<float> down;                                        // [D]
  std::vector<float> ffn_norm_weight, ffn_norm_bias;              // [D]
};

struct SlicePart {
  int slice = 0;
  const SliceWeights* weights = nullptr;
};

// y [T, out] = x [T, in] * w [out, in]^T + b [out] (b may be empty).
void linear(std::span<const float> x, std::span<const float> w, std::span<const float> b, int tokens, int in, int out,
            std::span<float> y);
// Exact GELU: x/2 * (1 + erf(x / sqrt 2)).
float gelu(float x);
// In place over rows of x [T, D].
void layer_norm(std::span<float> x, std::span<const float> weight, std::span<const float> bias, int tokens, double eps);
// Sum over the slices of softmax(q k^T / sqrt(D/H)) v o: x [T, D] -> partial f64 [T, D]. Full attention, one sequence.
void attention_part(const ModelShape& shape, std::span<const float> x, int tokens, std::span<const SlicePart> slices,
                    const LayerBiases& biases, std::span<double> partial);
// Sum over the slices of gelu(x up^T + b) down^T: x [T, D] -> partial f64 [T, D].
void ffn_part(const ModelShape& shape, std::span<const float> x, int tokens, std::span<const SlicePart> slices,
              const LayerBiases& biases, std::span<double> partial);
// LayerNorm(sum of partials + shared bias + residual [T, D]) -> y [T, D].
void combine(const ModelShape& shape, std::span<const std::span<const double>> partials, std::span<const float> residual,
             std::span<const float> bias, std::span<const float> norm_weight, std::span<const float> norm_bias, int tokens,
             std::span<float> y);
// A whole layer over the given slices: x [T, D] -> y [T, D].
void layer(const ModelShape& shape, std::span<const float> x, int tokens, std::span<const SlicePart> slices,
           const LayerBiases& biases, std::span<float> y);
// LayerNorm(word[t] + position[t] + type[t]): rows [T, D] each -> y [T, D].
void embed(const ModelShape& shape, std::span<const float> word, std::span<const float> position,
           std::span<const float> token_type, std::span<const float> norm_weight, std::span<const float> norm_bias,
           int tokens, std::span<float> y);
// classifier(tanh(pooler(x[0]))): x [T, D] -> logits [labels].
void exit_head(const ModelShape& shape, std::span<const float> x, std::span<const float> pooler_weight,
               std::span<const float> pooler_bias, std::span<const float> classifier_weight,
               std::span<const float> classifier_bias, std::span<float> logits);

}  // namespace tessera::reference
