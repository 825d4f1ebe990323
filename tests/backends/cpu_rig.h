// Builds random layers, weights in every form, and runs single tasks of the CPU backend on them.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "framework/clock.h"
#include "framework/reference_ops.h"
#include "framework/registry.h"
#include "shards/codec_elements.h"
#include "shards/flat_codec.h"
#include "tests/support/close.h"

namespace tessera {
void register_backends();
}

namespace tessera::testing {

inline std::unique_ptr<Backend> make_cpu(int threads) {
  register_backends();
  return backends().find("cpu")->make({.threads = threads});
}

// Zeroed host memory of exactly `bytes` (64 more behind are readable), 4096-aligned.
class Block {
 public:
  explicit Block(int64_t bytes)
      : memory_(static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<size_t>((bytes + 64 + 4095) / 4096 * 4096))),
                &std::free),
        buffer_(std::make_unique<Buffer>()) {
    std::memset(memory_.get(), 0, static_cast<size_t>(bytes) + 64);
    *buffer_ = {.host = memory_.get(), .bytes = Bytes{bytes}};
  }
  template <typename T>
  explicit Block(const std::vector<T>& values) : Block(static_cast<int64_t>(values.size() * sizeof(T))) {
    std::memcpy(memory_.get(), values.data(), values.size() * sizeof(T));
  }
  MemoryRef ref() const { return {buffer_.get(), 0}; }
  int64_t bytes() const { return buffer_->bytes.n; }
  template <typename T>
  std::vector<T> as() const {
    std::vector<T> values(static_cast<size_t>(bytes()) / sizeof(T));
    std::memcpy(values.data(), memory_.get(), values.size() * sizeof(T));
    return values;
  }

 private:
  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  std::unique_ptr<Buffer> buffer_;
};

inline std::vector<float> random_floats(size_t count, uint32_t seed, float sigma) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

inline void round_to(ElementType type, std::vector<float>& values) {
  std::vector<std::byte> stored(values.size() * static_cast<size_t>(element_size(type)));
  encode_elements(type, values.data(), static_cast<int64_t>(values.size()), stored.data());
  decode_elements(type, stored.data(), static_cast<int64_t>(values.size()), values.data());
}

// A layer of random weights. Weights are rounded to `type`, so that exact shards of it hold them as they are.
struct RandomLayer {
  ModelShape shape;
  ElementType type;
  std::vector<DenseShard> dense;
  reference::LayerBiases biases;

  RandomLayer(int slices, int head_width, int share, ElementType stored, uint32_t seed = 1) : type(stored) {
    shape.layers = 1;
    shape.slices = shape.heads = slices;
    shape.hidden = slices * head_width;
    shape.ffn = slices * share;
    shape.labels = 3;
    shape.max_tokens = 512;
    const float sigma = 1.0f / std::sqrt(static_cast<float>(shape.hidden));
    for (int j = 0; j < slices; ++j) {
      DenseShard shard;
      for (int i = 0; i < kMatrixCount; ++i) {
        const auto count = static_cast<size_t>(matrix_dims(shape, static_cast<MatrixKind>(i)).weights());
        shard[i] = random_floats(count, seed + 100 * j + i, sigma);
        shard[i][count / 2] = 1.75f;  // an outlier
        round_to(type, shard[i]);
      }
      dense.push_back(std::move(shard));
    }
    const size_t d = shape.hidden;
    const auto bias = [&](size_t count, uint32_t at) { return random_floats(count, seed + 7000 + at, 0.2f); };
    biases = {.query = bias(d, 0),
              .key = bias(d, 1),
              .value = bias(d, 2),
              .attention = bias(d, 3),
              .attention_norm_weight = bias(d, 4),
              .attention_norm_bias = bias(d, 5),
              .up = bias(shape.ffn, 6),
              .down = bias(d, 7),
              .ffn_norm_weight = bias(d, 8),
              .ffn_norm_bias = bias(d, 9)};
    for (auto* weight : {&biases.attention_norm_weight, &biases.ffn_norm_weight})
      for (float& w : *weight) w += 1;
  }
  LayerResidents residents() const {
    return {0,
            biases.query.data(),
            biases.key.data(),
            biases.value.data(),
            biases.attention.data(),
            biases.attention_norm_weight.data(),
            biases.attention_norm_bias.data(),
            biases.up.data(),
            biases.down.data(),
            biases.ffn_norm_weight.data(),
            biases.ffn_norm_bias.data()};
  }
  std::vector<float> input(int tokens) const {
    return random_floats(static_cast<size_t>(tokens) * shape.hidden, 99 + static_cast<uint32_t>(tokens), 1.0f);
  }
};

// Some slices of a layer as a task gets them, and as the reference does.
struct Weights {
  std::vector<Block> blocks;
  std::vector<WeightRef> refs;
  std::vector<reference::SliceWeights> plain;  // what the coded form means, decoded by the codec's own reference
  std::vector<int> slices;

  std::vector<reference::SlicePart> parts() const {
    std::vector<reference::SlicePart> parts;
    for (size_t i = 0; i < plain.size(); ++i) parts.push_back({slices[i], &plain[i]});
    return parts;
  }
};

inline Weights weights_of(const RandomLayer& layer, const std::vector<int>& slices, Bits bits, WeightForm form) {
  Weights out;
  out.slices = slices;
  for (const int j : slices) {
    const auto stored = bits == kExact ? encode_exact(layer.shape, layer.dense[j], layer.type)
                                       : encode_flat(layer.shape, layer.dense[j], bits, layer.type);
    const DenseShard meant =
        decode_shard(layer.shape, bits, layer.type, stored.data(), static_cast<int64_t>(stored.size())).take();
    out.plain.push_back({meant[0], meant[1], meant[2], meant[3], meant[4], meant[5]});
    out.blocks.push_back(form == WeightForm::kCoded ? Block(stored) : Block(to_panels(layer.shape, meant)));
    out.refs.push_back({j, bits, form, layer.type, out.blocks.back().ref(), out.blocks.back().bytes()});
  }
  return out;
}

inline std::vector<int> all_slices(const RandomLayer& layer) {
  std::vector<int> slices(layer.shape.slices);
  for (int j = 0; j < layer.shape.slices; ++j) slices[j] = j;
  return slices;
}

// Runs one task to its end with exactly the workspace that estimate() asks for.
inline Status run_task(Backend& cpu, Op op, Operands operands, int combine_of_ffn = 0) {
  Task task;
  task.cost.op = op;
  task.cost.batch = static_cast<uint16_t>(operands.batch.size());
  for (int s = 0; s < operands.batch.size(); ++s) {
    const int length = operands.batch.starts[s + 1] - operands.batch.starts[s];
    task.cost.tokens = std::max(task.cost.tokens, static_cast<uint16_t>(length));
  }
  task.cost.slices = static_cast<uint8_t>(op == Op::kCombine ? combine_of_ffn : static_cast<int>(operands.weights.size()));
  const Block workspace(cpu.estimate(0, task.cost, *operands.shape).workspace.n);
  operands.workspace = workspace.ref();
  operands.workspace_bytes = workspace.bytes();
  auto ticket = cpu.submit(0, task, operands);
  if (!ticket.ok()) return ticket.error();
  return cpu.wait(0, *ticket, kForever);
}

// A layer or part over `starts`; the output as T (float or double).
template <typename T>
std::vector<T> run_layer(Backend& cpu, Op op, const RandomLayer& layer, const Weights& weights, const std::vector<float>& x,
                         const std::vector<int32_t>& starts) {
  const LayerResidents residents = layer.residents();
  const Block input(x), output(static_cast<int64_t>(x.size() * sizeof(T)));
  Operands operands;
  operands.shape = &layer.shape;
  operands.batch.starts = starts;
  operands.input = input.ref();
  operands.output = output.ref();
  operands.weights = weights.refs;
  operands.residents = &residents;
  const Status status = run_task(cpu, op, operands);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return output.as<T>();
}

inline std::vector<float> run_combine(Backend& cpu, const RandomLayer& layer,
                                      const std::vector<std::vector<double>>& partials, const std::vector<float>& residual,
                                      bool ffn) {
  const LayerResidents residents = layer.residents();
  const std::vector<int32_t> starts = {0, static_cast<int32_t>(residual.size()) / layer.shape.hidden};
  std::vector<Block> blocks(partials.begin(), partials.end());
  std::vector<MemoryRef> refs;
  for (const Block& b : blocks) refs.push_back(b.ref());
  const Block input(residual), output(input.bytes());
  Operands operands;
  operands.shape = &layer.shape;
  operands.batch.starts = starts;
  operands.input = input.ref();
  operands.output = output.ref();
  operands.partials = refs;
  operands.residents = &residents;
  const Status status = run_task(cpu, Op::kCombine, operands, ffn ? 1 : 0);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return output.as<float>();
}

}  // namespace tessera::testing
