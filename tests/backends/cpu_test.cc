// Checks the CPU backend's operators against the reference, and that their bits depend on nothing but weights and tokens.
#include <cmath>

#include "tests/backends/cpu_rig.h"

namespace tessera {
namespace {

using namespace tessera::testing;  // NOLINT: the rig is part of this test

constexpr double kTolerance = 1e-5;  // of the largest value; fp32 sums against double ones

std::vector<float> reference_layer(const RandomLayer& layer, const Weights& weights, const std::vector<float>& x,
                                   const std::vector<int32_t>& starts) {
  std::vector<float> y(x.size());
  const auto parts = weights.parts();
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const size_t from = static_cast<size_t>(starts[s]) * layer.shape.hidden;
    const size_t count = static_cast<size_t>(starts[s + 1] - starts[s]) * layer.shape.hidden;
    reference::layer(layer.shape, std::span(x).subspan(from, count), starts[s + 1] - starts[s], parts, layer.biases,
                     std::span(y).subspan(from, count));
  }
  return y;
}

// Tokens around kernel tiles, head widths around panels, 1 to 4 slices.
class CpuShapes : public ::testing::TestWithParam<std::tuple<int, int, int>> {};
INSTANTIATE_TEST_SUITE_P(AroundTiles, CpuShapes,
                         ::testing::Combine(::testing::Values(1, 2, 15, 16, 17, 64), ::testing::Values(8, 16, 24, 32, 64),
                                            ::testing::Values(1, 2, 3, 4)));

TEST_P(CpuShapes, ALayerIsTheReferenceLayer) {
  const auto [tokens, width, slices] = GetParam();
  const RandomLayer layer(slices, width, width * 2 + 5, ElementType::kF16);
  const auto x = layer.input(tokens);
  const auto cpu = make_cpu(2);
  const Weights weights = weights_of(layer, all_slices(layer), kExact, WeightForm::kCoded);
  EXPECT_TRUE(close(run_layer<float>(*cpu, Op::kLayer, layer, weights, x, {0, tokens}),
                    reference_layer(layer, weights, x, {0, tokens}), kTolerance));
}

TEST_P(CpuShapes, SplitLayersAndFusedOnesHaveTheSameBits) {
  const auto [tokens, width, slices] = GetParam();
  const RandomLayer layer(slices, width, width * 2 + 5, ElementType::kBf16);
  const auto x = layer.input(tokens);
  const auto cpu = make_cpu(2);
  const std::vector<int32_t> starts = {0, tokens};
  const auto fused =
      run_layer<float>(*cpu, Op::kLayer, layer, weights_of(layer, all_slices(layer), 3, WeightForm::kCoded), x, starts);
  for (int cut = 0; cut < slices; ++cut) {  // {0..cut} and the rest, in either order
    std::vector<std::vector<int>> sets(2);
    for (int j = 0; j < slices; ++j) sets[j <= cut ? 1 : 0].push_back(j);
    std::vector<std::vector<double>> attention, ffn;
    for (const auto& set : sets) {
      if (set.empty()) continue;
      const Weights weights = weights_of(layer, set, 3, WeightForm::kCoded);
      attention.push_back(run_layer<double>(*cpu, Op::kAttentionPart, layer, weights, x, starts));
    }
    const auto attended = run_combine(*cpu, layer, attention, x, false);
    for (const auto& set : sets) {
      if (set.empty()) continue;
      const Weights weights = weights_of(layer, set, 3, WeightForm::kCoded);
      ffn.push_back(run_layer<double>(*cpu, Op::kFfnPart, layer, weights, attended, starts));
    }
    EXPECT_EQ(run_combine(*cpu, layer, ffn, attended, true), fused) << "cut after slice " << cut;
  }
}

// Bits and stored types.
class CpuForms : public ::testing::TestWithParam<std::tuple<int, ElementType>> {};
INSTANTIATE_TEST_SUITE_P(EveryFidelity, CpuForms,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4, 5, 6, 7, 8, 32),
                                            ::testing::Values(ElementType::kF32, ElementType::kF16, ElementType::kBf16)));

TEST_P(CpuForms, CodedAndDecodedWeightsGiveTheSameBits) {
  const auto [bits, type] = GetParam();
  for (const int width : {8, 32, 40}) {
    const RandomLayer layer(3, width, 50, type);
    const auto x = layer.input(17);
    const auto cpu = make_cpu(2);
    const Weights coded = weights_of(layer, {0, 2}, static_cast<Bits>(bits), WeightForm::kCoded);
    const Weights decoded = weights_of(layer, {0, 2}, static_cast<Bits>(bits), WeightForm::kDecoded);
    const auto got = run_layer<float>(*cpu, Op::kLayer, layer, coded, x, {0, 17});
    EXPECT_EQ(got, run_layer<float>(*cpu, Op::kLayer, layer, decoded, x, {0, 17}));
    EXPECT_TRUE(close(got, reference_layer(layer, coded, x, {0, 17}), kTolerance));
  }
}

TEST(CpuBits, ThreadsDoNotMatter) {
  const RandomLayer layer(4, 32, 128, ElementType::kF16);
  for (const int tokens : {1, 16, 130}) {
    const auto x = layer.input(tokens);
    const Weights weights = weights_of(layer, {0, 1, 3}, 4, WeightForm::kCoded);
    const auto one = run_layer<float>(*make_cpu(1), Op::kLayer, layer, weights, x, {0, tokens});
    for (const int threads : {2, 3, 7}) {
      EXPECT_EQ(run_layer<float>(*make_cpu(threads), Op::kLayer, layer, weights, x, {0, tokens}), one) << threads;
    }
  }
}

TEST(CpuBits, ABatchIsItsSequencesOneByOne) {
  const RandomLayer layer(3, 24, 64, ElementType::kF16);
  const auto cpu = make_cpu(2);
  const std::vector<int32_t> starts = {0, 5, 6, 22, 39, 200};
  const auto x = layer.input(200);
  const Weights weights = weights_of(layer, {0, 1, 2}, 6, WeightForm::kCoded);
  const auto batch = run_layer<float>(*cpu, Op::kLayer, layer, weights, x, starts);
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const auto from = static_cast<ptrdiff_t>(starts[s]) * layer.shape.hidden;
    const auto to = static_cast<ptrdiff_t>(starts[s + 1]) * layer.shape.hidden;
    const std::vector<float> alone(x.begin() + from, x.begin() + to);
    const std::vector<float> slice(batch.begin() + from, batch.begin() + to);
    EXPECT_EQ(run_layer<float>(*cpu, Op::kLayer, layer, weights, alone, {0, starts[s + 1] - starts[s]}), slice) << s;
  }
  EXPECT_TRUE(close(batch, reference_layer(layer, weights, x, starts), kTolerance));
}

TEST(CpuBits, LongInputsInGroupsAndBlocksAreTheReferenceLayerToo) {
  const RandomLayer layer(8, 32, 128, ElementType::kF16);
  const auto x = layer.input(300);
  const Weights weights = weights_of(layer, all_slices(layer), 5, WeightForm::kCoded);
  EXPECT_TRUE(close(run_layer<float>(*make_cpu(2), Op::kLayer, layer, weights, x, {0, 300}),
                    reference_layer(layer, weights, x, {0, 300}), kTolerance));
}

TEST(CpuBits, ALayerMayReplaceItsInput) {
  const RandomLayer layer(2, 16, 32, ElementType::kF16);
  const auto cpu = make_cpu(2);
  const auto x = layer.input(20);
  const Weights weights = weights_of(layer, {0, 1}, 4, WeightForm::kCoded);
  const LayerResidents residents = layer.residents();
  const Block place(x);
  const std::vector<int32_t> starts = {0, 20};
  Operands operands;
  operands.shape = &layer.shape;
  operands.batch.starts = starts;
  operands.input = operands.output = place.ref();
  operands.weights = weights.refs;
  operands.residents = &residents;
  ASSERT_TRUE(run_task(*cpu, Op::kLayer, operands).ok());
  EXPECT_EQ(place.as<float>(), run_layer<float>(*cpu, Op::kLayer, layer, weights, x, starts));
}

TEST(CpuAccuracy, ActivationsFarFromZeroKeepTheirGelu) {
  RandomLayer layer(1, 16, 64, ElementType::kF32);
  for (size_t i = 0; i < layer.biases.up.size(); ++i) layer.biases.up[i] = (static_cast<float>(i) - 32.0f) / 4.0f;
  const auto x = layer.input(16);
  const Weights weights = weights_of(layer, {0}, kExact, WeightForm::kCoded);
  const auto parts = weights.parts();
  std::vector<double> want(x.size());
  reference::ffn_part(layer.shape, x, 16, parts, layer.biases, want);
  EXPECT_TRUE(close(run_layer<double>(*make_cpu(1), Op::kFfnPart, layer, weights, x, {0, 16}), want, 2e-6));
}

struct Exit {
  std::vector<std::byte> pooler, pooler_bias, classifier, classifier_bias;
  std::vector<float> plain[4];
};

Exit random_exit(const ModelShape& shape, ElementType type) {
  Exit exit;
  const size_t d = shape.hidden, labels = shape.labels;
  const size_t counts[] = {d * d, d, labels * d, labels};
  std::vector<std::byte>* stored[] = {&exit.pooler, &exit.pooler_bias, &exit.classifier, &exit.classifier_bias};
  for (int i = 0; i < 4; ++i) {
    exit.plain[i] = random_floats(counts[i], 50 + i, 0.1f);
    round_to(type, exit.plain[i]);
    stored[i]->resize(counts[i] * static_cast<size_t>(element_size(type)));
    encode_elements(type, exit.plain[i].data(), static_cast<int64_t>(counts[i]), stored[i]->data());
  }
  return exit;
}

class CpuEnds : public ::testing::TestWithParam<std::tuple<int, ElementType>> {};
INSTANTIATE_TEST_SUITE_P(EveryType, CpuEnds,
                         ::testing::Combine(::testing::Values(8, 24, 33, 384),
                                            ::testing::Values(ElementType::kF32, ElementType::kF16, ElementType::kBf16)));

TEST_P(CpuEnds, ExitReadsEachSequencesFirstToken) {
  const auto [hidden, type] = GetParam();
  RandomLayer layer(1, hidden, 16, type);
  const Exit exit = random_exit(layer.shape, type);
  const ExitRefs refs = {type, exit.pooler.data(), exit.pooler_bias.data(), exit.classifier.data(),
                         exit.classifier_bias.data()};
  const auto x = layer.input(9);
  const std::vector<int32_t> starts = {0, 4, 9};
  const Block input(x), output(2 * 3 * 4);
  Operands operands;
  operands.shape = &layer.shape;
  operands.batch.starts = starts;
  operands.input = input.ref();
  operands.output = output.ref();
  operands.exit = &refs;
  ASSERT_TRUE(run_task(*make_cpu(2), Op::kExit, operands).ok());
  std::vector<float> want(6);
  for (int s = 0; s < 2; ++s) {
    reference::exit_head(layer.shape, std::span(x).subspan(static_cast<size_t>(starts[s]) * hidden, hidden), exit.plain[0],
                         exit.plain[1], exit.plain[2], exit.plain[3], std::span(want).subspan(s * 3, 3));
  }
  EXPECT_TRUE(close(output.as<float>(), want, kTolerance));
}

TEST_P(CpuEnds, EmbedAddsThreeRowsAndNormalises) {
  const auto [hidden, type] = GetParam();
  const RandomLayer layer(1, hidden, 16, type);
  constexpr int kTokens = 11;
  const size_t values = static_cast<size_t>(kTokens) * hidden, element = static_cast<size_t>(element_size(type));
  std::vector<float> word = random_floats(values, 1, 0.1f), position = random_floats(values, 2, 0.1f);
  const std::vector<float> types = random_floats(values, 3, 0.1f);
  round_to(type, word);
  round_to(type, position);
  std::vector<std::byte> stored_word(values * element), stored_position(values * element);
  encode_elements(type, word.data(), static_cast<int64_t>(values), stored_word.data());
  encode_elements(type, position.data(), static_cast<int64_t>(values), stored_position.data());
  std::vector<const std::byte*> words, positions;
  std::vector<const float*> token_types;
  for (int t = 0; t < kTokens; ++t) {
    words.push_back(stored_word.data() + t * hidden * element);
    positions.push_back(stored_position.data() + t * hidden * element);
    token_types.push_back(types.data() + t * hidden);
  }
  const RowRefs rows = {type,
                        words,
                        positions,
                        token_types,
                        layer.biases.attention_norm_weight.data(),
                        layer.biases.attention_norm_bias.data()};
  const std::vector<int32_t> starts = {0, kTokens};
  const Block output(static_cast<int64_t>(values) * 4);
  Operands operands;
  operands.shape = &layer.shape;
  operands.batch.starts = starts;
  operands.output = output.ref();
  operands.rows = &rows;
  ASSERT_TRUE(run_task(*make_cpu(2), Op::kEmbed, operands).ok());
  std::vector<float> want(values);
  reference::embed(layer.shape, word, position, types, layer.biases.attention_norm_weight, layer.biases.attention_norm_bias,
                   kTokens, want);
  EXPECT_TRUE(close(output.as<float>(), want, kTolerance));
}

}  // namespace
}  // namespace tessera
