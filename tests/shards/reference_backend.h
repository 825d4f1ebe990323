// Computes tasks with the reference operators, in submit: slow, exact, and needs no room above shards/.
#pragma once

#include <cstdlib>
#include <cstring>
#include <vector>

#include "framework/backend.h"
#include "framework/reference_ops.h"
#include "shards/codec_elements.h"
#include "shards/flat_codec.h"

namespace tessera::testing {

class ReferenceBackend final : public Backend {
 public:
  int64_t layers_run = 0;  // tasks
  std::function<void(int64_t)> on_layer = [](int64_t) {};

  std::vector<DeviceDescription> describe() const override { return std::vector<DeviceDescription>(1); }
  Support supports(int, const CostKey&, const ModelShape&) const override { return {}; }
  Estimate estimate(int, const CostKey&, const ModelShape&) const override { return {}; }
  Result<Buffer> allocate(int, Bytes bytes) override {
    Buffer buffer;
    buffer.host = static_cast<std::byte*>(std::aligned_alloc(4096, static_cast<size_t>(align_up(bytes, 4096).n)));
    buffer.bytes = bytes;
    return buffer;
  }
  void release(Buffer& buffer) override { std::free(buffer.host); }
  Status wait(int, Ticket, Duration) override { return {}; }
  Status transfer(int, MemoryRef to, MemoryRef from, Bytes bytes) override {
    std::memcpy(to.as<std::byte>(), from.as<std::byte>(), static_cast<size_t>(bytes.n));
    return {};
  }
  Result<Ticket> submit(int, const Task& task, const Operands& o) override {
    for (int s = 0; s < o.batch.size(); ++s) {
      const size_t begin = static_cast<size_t>(o.batch.starts[static_cast<size_t>(s)]);
      const int tokens = o.batch.starts[static_cast<size_t>(s) + 1] - static_cast<int>(begin);
      if (task.cost.op == Op::kEmbed) embed(o, begin, tokens);
      if (task.cost.op == Op::kLayer) layer(o, begin, tokens);
      if (task.cost.op == Op::kExit) exit(o, begin, tokens, static_cast<size_t>(s));
    }
    if (task.cost.op == Op::kLayer) on_layer(++layers_run);
    return kDone;
  }

 private:
  using Floats = std::vector<float>;
  static Floats stored(ElementType type, const std::byte* from, size_t count) {
    Floats out(count);
    decode_elements(type, from, static_cast<int64_t>(count), out.data());
    return out;
  }
  static std::span<float> rows(const MemoryRef& ref, const Operands& o, size_t begin, int tokens) {
    const size_t d = static_cast<size_t>(o.shape->hidden);
    return {ref.as<float>() + begin * d, static_cast<size_t>(tokens) * d};
  }
  static Floats copy(const float* from, int count) { return {from, from + count}; }

  static void embed(const Operands& o, size_t begin, int tokens) {
    const size_t d = static_cast<size_t>(o.shape->hidden);
    Floats word, position, type;
    for (size_t t = begin; t < begin + static_cast<size_t>(tokens); ++t) {
      const Floats w = stored(o.rows->type, o.rows->word[t], d), p = stored(o.rows->type, o.rows->position[t], d);
      word.insert(word.end(), w.begin(), w.end());
      position.insert(position.end(), p.begin(), p.end());
      type.insert(type.end(), o.rows->token_type[t], o.rows->token_type[t] + d);
    }
    reference::embed(*o.shape, word, position, type, {o.rows->norm_weight, d}, {o.rows->norm_bias, d}, tokens,
                     rows(o.output, o, begin, tokens));
  }
  static void layer(const Operands& o, size_t begin, int tokens) {
    const ModelShape& shape = *o.shape;
    const LayerResidents& r = *o.residents;
    const int d = shape.hidden;
    const reference::LayerBiases biases{copy(r.query_bias, d),
                                        copy(r.key_bias, d),
                                        copy(r.value_bias, d),
                                        copy(r.attention_bias, d),
                                        copy(r.attention_norm_weight, d),
                                        copy(r.attention_norm_bias, d),
                                        copy(r.ffn_up_bias, shape.ffn),
                                        copy(r.ffn_down_bias, d),
                                        copy(r.ffn_norm_weight, d),
                                        copy(r.ffn_norm_bias, d)};
    std::vector<reference::SliceWeights> weights;
    weights.reserve(o.weights.size());
    std::vector<reference::SlicePart> parts;
    for (const WeightRef& w : o.weights) {
      DenseShard m = decode_shard(shape, w.bits, w.exact_type, w.data.as<std::byte>(), w.bytes).take();
      weights.push_back({m[0], m[1], m[2], m[3], m[4], m[5]});
      parts.push_back({w.slice, &weights.back()});
    }
    const auto x = rows(o.input, o, begin, tokens);
    reference::layer(shape, x, tokens, parts, biases, rows(o.output, o, begin, tokens));
  }
  static void exit(const Operands& o, size_t begin, int tokens, size_t sequence) {
    const size_t d = static_cast<size_t>(o.shape->hidden), labels = static_cast<size_t>(o.shape->labels);
    const ExitRefs& e = *o.exit;
    reference::exit_head(*o.shape, rows(o.input, o, begin, tokens), stored(e.type, e.pooler_weight, d * d),
                         stored(e.type, e.pooler_bias, d), stored(e.type, e.classifier_weight, labels * d),
                         stored(e.type, e.classifier_bias, labels), {o.output.as<float>() + sequence * labels, labels});
  }
};

}  // namespace tessera::testing
