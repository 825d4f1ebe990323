// Checks computed results against framework/reference_ops: every op, bitwidth, slice set, and sizes at the edges.
#include <array>
#include <cmath>

#include "framework/reference_ops.h"
#include "tests/conformance/contract_checks.h"
#include "tests/conformance/small_cases.h"

namespace tessera::conformance {
namespace {

constexpr int kTokens[] = {1, 7, 33};

// Around every tile that kernels are likely to have, and in none of them.
constexpr int kEdgeTokens[] = {1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200};

using PartReference = decltype(reference::attention_part);

void compare_part(const Subject& s, Finding& f, Runner& runner, const RandomLayer& layer, Op op, PartReference* reference,
                  const Weights& weights, int tokens, const std::string& what) {
  const std::vector<float> x = layer.input(tokens);
  std::vector<double> want(x.size());
  reference(layer.shape, x, tokens, weights.parts(), layer.biases, want);
  expect_close(f, runner.layer_op<double>(op, weights, x, {0, tokens}), want, s.declaration->tolerance,
               what + ", " + std::to_string(tokens) + " tokens");
}

void compare_layer(const Subject& s, Finding& f, Runner& runner, const RandomLayer& layer, const Weights& weights,
                   int tokens, const std::string& what) {
  const std::vector<float> x = layer.input(tokens);
  std::vector<float> want(x.size());
  reference::layer(layer.shape, x, tokens, weights.parts(), layer.biases, want);
  expect_close(f, runner.layer_op<float>(Op::kLayer, weights, x, {0, tokens}), want, s.declaration->tolerance,
               what + ", " + std::to_string(tokens) + " tokens");
}

Finding part(const Subject& s, Op op, PartReference* reference) {
  return for_all_weights(
      s, op, [&](Finding& f, Runner& runner, const RandomLayer& layer, const Weights& weights, const std::string& what) {
        for (const int tokens : kTokens) compare_part(s, f, runner, layer, op, reference, weights, tokens, what);
      });
}

// Visits the layers whose shape the device supports for `op`.
template <typename Visit>
Finding for_all_shapes(const Subject& s, Op op, Visit visit) {
  Finding f;
  Support support;
  int visited = 0;
  for (const RandomLayer& layer : layers()) {
    CostKey key;
    key.op = op;
    key.tokens = 33;
    support = s.backend->supports(s.device, key, layer.shape);
    if (!support.yes) continue;
    visit(f, layer);
    ++visited;
  }
  if (visited == 0) f.skipped = support.why;
  return f;
}

}  // namespace

Finding attends(const Subject& s) { return part(s, Op::kAttentionPart, reference::attention_part); }
Finding feeds_forward(const Subject& s) { return part(s, Op::kFfnPart, reference::ffn_part); }

Finding runs_fused_layers(const Subject& s) {
  return for_all_weights(
      s, Op::kLayer,
      [&](Finding& f, Runner& runner, const RandomLayer& layer, const Weights& weights, const std::string& what) {
        for (const int tokens : kTokens) compare_layer(s, f, runner, layer, weights, tokens, what);
      });
}

Finding mixes_bitwidths(const Subject& s) {
  Finding f;
  const RandomLayer layer(9, 16, 16, ElementType::kF16, 4);
  const std::vector<Bits> bits = {3, kExact, 1, 8, 5, 2, 7, 6, 4};
  for (const WeightForm form : {WeightForm::kCoded, WeightForm::kDecoded}) {
    Runner runner(s, f, layer);
    const Weights weights = mixed_weights(layer, testing::all_slices(layer), bits, form);
    if (!runner.supports(Op::kLayer, 33, weights)) {
      if (form == WeightForm::kCoded) f.skipped = s.description.name + " supports no such layer";
      continue;
    }
    compare_layer(s, f, runner, layer, weights, 33, "nine bitwidths");
    compare_part(s, f, runner, layer, Op::kAttentionPart, reference::attention_part, weights, 7,
                 "nine bitwidths, attention");
    compare_part(s, f, runner, layer, Op::kFfnPart, reference::ffn_part, weights, 7, "nine bitwidths, FFN");
  }
  return f;
}

Finding keeps_edges(const Subject& s) {
  Finding f;
  int ran = 0;
  const auto visit = [&](const RandomLayer& layer, Bits bits, int tokens) {
    Runner runner(s, f, layer);
    const Weights weights = testing::weights_of(layer, testing::all_slices(layer), bits, WeightForm::kCoded);
    if (!runner.supports(Op::kLayer, tokens, weights)) return;
    compare_layer(s, f, runner, layer, weights, tokens,
                  text(layer, bits, tokens, weights.slices.size(), WeightForm::kCoded));
    ++ran;
  };
  for (const int tokens : kEdgeTokens) visit(layers()[1], tokens % 2 == 0 ? Bits{4} : kExact, tokens);
  // One slice; one weight a head; one below, at and above a panel of 16; many slices.
  for (const auto& [slices, head, share] :
       {std::array{1, 16, 16}, {1, 1, 1}, {2, 15, 17}, {2, 17, 15}, {3, 16, 1}, {1, 64, 33}, {12, 8, 32}}) {
    const RandomLayer layer(slices, head, share, ElementType::kF16, 8);
    for (const Bits bits : {Bits{2}, Bits{6}, kExact}) visit(layer, bits, 17);
  }
  if (ran == 0) f.skipped = s.description.name + " supports none of these layers";
  return f;
}

Finding combines(const Subject& s) {
  return for_all_shapes(s, Op::kCombine, [&](Finding& f, const RandomLayer& layer) {
    for (const int tokens : kTokens) {
      const std::vector<float> x = layer.input(tokens);
      std::vector<std::vector<double>> partials(3, std::vector<double>(x.size()));
      for (size_t p = 0; p < 3; ++p)
        for (size_t i = 0; i < x.size(); ++i)
          partials[p][i] = std::ldexp(std::round(std::ldexp(std::sin(i + 7.0 * p), 20)), -20);
      const std::vector<std::span<const double>> spans(partials.begin(), partials.end());
      for (const bool ffn : {false, true}) {
        const auto& b = layer.biases;
        std::vector<float> want(x.size());
        reference::combine(layer.shape, spans, x, ffn ? b.down : b.attention,
                           ffn ? b.ffn_norm_weight : b.attention_norm_weight, ffn ? b.ffn_norm_bias : b.attention_norm_bias,
                           tokens, want);
        expect_close(f, Runner(s, f, layer).combine(partials, x, ffn), want, s.declaration->tolerance,
                     std::string(ffn ? "ffn, " : "attention, ") + std::to_string(tokens) + " tokens");
      }
    }
  });
}

Finding embeds(const Subject& s) {
  return for_all_shapes(s, Op::kEmbed, [&](Finding& f, const RandomLayer& layer) {
    for (const int tokens : kTokens) {
      const EmbedCase embed(layer, tokens);
      Operands operands;
      operands.rows = &embed.refs;
      expect_close(f, Runner(s, f, layer).small(Op::kEmbed, operands, {}, {0, tokens}, embed.want.size()), embed.want,
                   s.declaration->tolerance, std::to_string(tokens) + " tokens");
    }
  });
}

Finding exits(const Subject& s) {
  return for_all_shapes(s, Op::kExit, [&](Finding& f, const RandomLayer& layer) {
    const ExitCase exit(layer);
    Operands operands;
    operands.exit = &exit.refs;
    expect_close(f, Runner(s, f, layer).small(Op::kExit, operands, exit.x, exit.starts, exit.want.size()), exit.want,
                 s.declaration->tolerance, std::to_string(layer.shape.hidden) + " hidden");
  });
}

}  // namespace tessera::conformance
