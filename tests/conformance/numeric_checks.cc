// Checks computed results against framework/reference_ops, and devices against themselves where bits must be equal.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "framework/reference_ops.h"
#include "tests/backends/cpu_rig.h"
#include "tests/conformance/contract_checks.h"
#include "tests/conformance/work.h"

namespace tessera::conformance {
namespace {

using testing::RandomLayer;
using testing::Weights;

// Panels of 16 exactly, and with a remainder in every matrix (head width 20, share 24: not multiples of 16).
std::vector<RandomLayer> layers() {
  std::vector<RandomLayer> all;
  all.emplace_back(4, 16, 32, ElementType::kF16, 1);
  all.emplace_back(3, 20, 24, ElementType::kF32, 2);
  return all;
}

constexpr int kTokens[] = {1, 7, 33};

template <typename T, typename U>
void expect_close(Finding& f, const std::vector<T>& got, const std::vector<U>& want, double tolerance,
                  const std::string& what) {
  double scale = 0, worst = 0;
  size_t at = 0;
  for (const U w : want) scale = std::max(scale, std::fabs(static_cast<double>(w)));
  for (size_t i = 0; i < want.size() && i < got.size(); ++i) {
    const double off = std::fabs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(off <= worst)) worst = off, at = i;
  }
  f.expect(got.size() == want.size() && worst <= tolerance * scale, what + ": off by " + std::to_string(worst) + " of " +
                                                                        std::to_string(scale) + " at " + std::to_string(at) +
                                                                        ", tolerance " + std::to_string(tolerance * scale));
}

template <typename T>
void expect_same_bits(Finding& f, const std::vector<T>& a, const std::vector<T>& b, const std::string& what) {
  size_t at = 0;
  while (at < a.size() && at < b.size() && std::memcmp(&a[at], &b[at], sizeof(T)) == 0) ++at;
  f.expect(a.size() == b.size() && at == a.size(), what + ": differs first at " + std::to_string(at));
}

// Runs single ops on one device and fetches what they wrote.
class Runner {
 public:
  Runner(const Subject& s, Finding& f, const RandomLayer& layer)
      : s_(s), f_(f), layer_(layer), residents_(layer.residents()), memory_(s) {}

  bool supports(Op op, int tokens, int slices, Bits bits, bool decoded) const {
    return s_.backend->supports(s_.device, key(op, {0, tokens}, slices, bits, decoded), layer_.shape).yes;
  }

  // T = double for parts, float for layers.
  template <typename T>
  std::vector<T> layer_op(Op op, const Weights& weights, Bits bits, const std::vector<float>& x,
                          const std::vector<int32_t>& starts) {
    std::vector<WeightRef> refs = weights.refs;
    for (size_t i = 0; i < refs.size(); ++i)
      refs[i].data = memory_.put(weights.blocks[i].ref().as<std::byte>(), weights.blocks[i].bytes());
    Operands operands;
    operands.weights = refs;
    const bool decoded = !refs.empty() && refs[0].form == WeightForm::kDecoded;
    const CostKey k = key(op, starts, static_cast<int>(refs.size()), bits, decoded);
    return run<T>(k, operands, x, starts, x.size());
  }

  std::vector<float> combine(const std::vector<std::vector<double>>& partials, const std::vector<float>& residual,
                             bool ffn) {
    std::vector<MemoryRef> refs;
    for (const auto& partial : partials) refs.push_back(memory_.put(partial));
    Operands operands;
    operands.partials = refs;
    const std::vector<int32_t> starts{0, static_cast<int32_t>(residual.size()) / layer_.shape.hidden};
    return run<float>(key(Op::kCombine, starts, ffn ? 1 : 0, kAbsent, false), operands, residual, starts, residual.size());
  }

  // embed (without an input) and exit.
  std::vector<float> small(Op op, Operands operands, const std::vector<float>& x, const std::vector<int32_t>& starts,
                           size_t outputs) {
    return run<float>(key(op, starts, 0, kAbsent, false), operands, x, starts, outputs);
  }

 private:
  CostKey key(Op op, const std::vector<int32_t>& starts, int slices, Bits bits, bool decoded) const {
    CostKey k;
    k.op = op;
    k.batch = static_cast<uint16_t>(starts.size() - 1);
    for (size_t s = 0; s + 1 < starts.size(); ++s)
      k.tokens = std::max(k.tokens, static_cast<uint16_t>(starts[s + 1] - starts[s]));
    k.slices = static_cast<uint8_t>(slices);
    k.decoded = decoded;
    if (bits != kAbsent) k.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
    return k;
  }

  template <typename T>
  std::vector<T> run(const CostKey& k, Operands operands, const std::vector<float>& x, const std::vector<int32_t>& starts,
                     size_t outputs) {
    Task task;
    task.layer = 0;
    task.cost = k;
    operands.shape = &layer_.shape;
    operands.batch.starts = starts;
    operands.residents = &residents_;
    if (!x.empty()) operands.input = memory_.put(x);
    operands.output = memory_.empty(static_cast<int64_t>(outputs * sizeof(T)));
    f_.expect(memory_.status(), "operands");
    if (!memory_.status().ok()) return {};
    f_.expect(perform(s_, task, operands), "op " + std::to_string(static_cast<int>(k.op)));
    return memory_.get<T>(operands.output, outputs);
  }

  const Subject& s_;
  Finding& f_;
  const RandomLayer& layer_;
  LayerResidents residents_;
  DeviceMemory memory_;
};

std::vector<std::vector<int>> slice_sets(const RandomLayer& layer) {
  return {testing::all_slices(layer), {0}, {1, layer.shape.slices - 1}};
}

std::string text(const RandomLayer& layer, int bits, int tokens, size_t slices, WeightForm form) {
  return std::to_string(layer.shape.hidden) + " hidden, " + std::to_string(bits) + " bits, " + std::to_string(tokens) +
         " tokens, " + std::to_string(slices) + " slices, " + (form == WeightForm::kCoded ? "coded" : "decoded");
}

// Visits every layer, bitwidth, form, slice set and token count that the device supports for `op`.
template <typename Visit>
Finding for_all_layers(const Subject& s, Op op, Visit visit) {
  Finding f;
  int visited = 0;
  for (const RandomLayer& layer : layers())
    for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, static_cast<int>(kExact)})
      for (const WeightForm form : {WeightForm::kCoded, WeightForm::kDecoded})
        for (const std::vector<int>& slices : slice_sets(layer)) {
          Runner runner(s, f, layer);
          const int count = static_cast<int>(slices.size());
          if (!runner.supports(op, 33, count, static_cast<Bits>(bits), form == WeightForm::kDecoded)) continue;
          const Weights weights = testing::weights_of(layer, slices, static_cast<Bits>(bits), form);
          for (const int tokens : kTokens)
            visit(f, runner, layer, weights, static_cast<Bits>(bits), tokens,
                  text(layer, bits, tokens, slices.size(), form));
          ++visited;
        }
  if (visited == 0) f.skipped = s.description.name + " supports this op for no bitwidth";
  return f;
}

Finding part(const Subject& s, Op op, decltype(reference::attention_part)* reference) {
  return for_all_layers(
      s, op,
      [&](Finding& f, Runner& runner, const RandomLayer& layer, const Weights& weights, Bits bits, int tokens,
          const std::string& what) {
        const std::vector<float> x = layer.input(tokens);
        std::vector<double> want(x.size());
        reference(layer.shape, x, tokens, weights.parts(), layer.biases, want);
        expect_close(f, runner.layer_op<double>(op, weights, bits, x, {0, tokens}), want, s.declaration->tolerance, what);
      });
}

bool cannot(const Subject& s, Op op, Finding& f) {
  const RandomLayer layer(4, 16, 32, ElementType::kF16);
  CostKey key;
  key.op = op;
  key.tokens = 16;
  const Support support = s.backend->supports(s.device, key, layer.shape);
  if (!support.yes) f.skipped = support.why;
  return !support.yes;
}

}  // namespace

Finding attends(const Subject& s) { return part(s, Op::kAttentionPart, reference::attention_part); }
Finding feeds_forward(const Subject& s) { return part(s, Op::kFfnPart, reference::ffn_part); }

Finding runs_fused_layers(const Subject& s) {
  return for_all_layers(s, Op::kLayer,
                        [&](Finding& f, Runner& runner, const RandomLayer& layer, const Weights& weights, Bits bits,
                            int tokens, const std::string& what) {
                          const std::vector<float> x = layer.input(tokens);
                          std::vector<float> want(x.size());
                          reference::layer(layer.shape, x, tokens, weights.parts(), layer.biases, want);
                          expect_close(f, runner.layer_op<float>(Op::kLayer, weights, bits, x, {0, tokens}), want,
                                       s.declaration->tolerance, what);
                        });
}

Finding combines(const Subject& s) {
  Finding f;
  if (cannot(s, Op::kCombine, f)) return f;
  for (const RandomLayer& layer : layers()) {
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
  }
  return f;
}

Finding embeds(const Subject& s) {
  Finding f;
  if (cannot(s, Op::kEmbed, f)) return f;
  for (const RandomLayer& layer : layers()) {
    for (const int tokens : kTokens) {
      const size_t d = layer.shape.hidden, count = tokens * d;
      std::vector<std::vector<float>> rows;  // word, position, type
      for (uint32_t i = 0; i < 3; ++i) rows.push_back(testing::random_floats(count, 50 + i, 1.0f));
      testing::round_to(layer.type, rows[0]), testing::round_to(layer.type, rows[1]);
      const int element = element_size(layer.type);
      std::vector<std::byte> word(count * element), position(count * element);
      encode_elements(layer.type, rows[0].data(), static_cast<int64_t>(count), word.data());
      encode_elements(layer.type, rows[1].data(), static_cast<int64_t>(count), position.data());
      std::vector<const std::byte*> word_at, position_at;
      std::vector<const float*> type_at;
      for (size_t t = 0; t < static_cast<size_t>(tokens); ++t) {
        word_at.push_back(word.data() + t * d * element);
        position_at.push_back(position.data() + t * d * element);
        type_at.push_back(rows[2].data() + t * d);
      }
      const auto& b = layer.biases;
      const RowRefs refs{layer.type, word_at, position_at, type_at, b.ffn_norm_weight.data(), b.ffn_norm_bias.data()};
      Operands operands;
      operands.rows = &refs;
      std::vector<float> want(count);
      reference::embed(layer.shape, rows[0], rows[1], rows[2], b.ffn_norm_weight, b.ffn_norm_bias, tokens, want);
      expect_close(f, Runner(s, f, layer).small(Op::kEmbed, operands, {}, {0, tokens}, count), want,
                   s.declaration->tolerance, std::to_string(tokens) + " tokens");
    }
  }
  return f;
}

Finding exits(const Subject& s) {
  Finding f;
  if (cannot(s, Op::kExit, f)) return f;
  for (const RandomLayer& layer : layers()) {
    const size_t d = layer.shape.hidden, labels = layer.shape.labels, element = element_size(layer.type);
    const size_t counts[] = {d * d, d, labels * d, labels};
    std::vector<std::vector<float>> plain;
    std::vector<std::vector<std::byte>> stored;
    for (uint32_t i = 0; i < 4; ++i) {
      plain.push_back(testing::random_floats(counts[i], 70 + i, 0.2f));
      testing::round_to(layer.type, plain[i]);
      stored.emplace_back(counts[i] * element);
      encode_elements(layer.type, plain[i].data(), static_cast<int64_t>(counts[i]), stored[i].data());
    }
    const ExitRefs refs{layer.type, stored[0].data(), stored[1].data(), stored[2].data(), stored[3].data()};
    Operands operands;
    operands.exit = &refs;
    // Two sequences of different lengths: each one's first token is classified.
    const std::vector<int32_t> starts{0, 5, 12};
    const std::vector<float> x = layer.input(12);
    std::vector<float> want(2 * labels);
    for (size_t b = 0; b < 2; ++b)
      reference::exit_head(layer.shape, std::span(x).subspan(starts[b] * d), plain[0], plain[1], plain[2], plain[3],
                           std::span(want).subspan(b * labels, labels));
    expect_close(f, Runner(s, f, layer).small(Op::kExit, operands, x, starts, want.size()), want, s.declaration->tolerance,
                 std::to_string(d) + " hidden");
  }
  return f;
}

Finding split_equals_fused(const Subject& s) {
  return for_all_layers(s, Op::kLayer,
                        [&](Finding& f, Runner& runner, const RandomLayer& layer, const Weights& all, Bits bits, int tokens,
                            const std::string& what) {
                          const std::vector<float> x = layer.input(tokens);
                          const std::vector<float> fused = runner.layer_op<float>(Op::kLayer, all, bits, x, {0, tokens});
                          // Every cut of the slices in two, and each slice on its own.
                          std::vector<std::vector<std::vector<int>>> partitions;
                          for (size_t cut = 1; cut < all.slices.size(); ++cut)
                            partitions.push_back({{all.slices.begin(), all.slices.begin() + cut},
                                                  {all.slices.begin() + cut, all.slices.end()}});
                          partitions.emplace_back();
                          for (const int j : all.slices) partitions.back().push_back({j});
                          const WeightForm form = all.refs[0].form;
                          for (const auto& partition : partitions) {
                            std::vector<std::vector<double>> attention, ffn;
                            for (const auto& slices : partition)
                              attention.push_back(runner.layer_op<double>(
                                  Op::kAttentionPart, testing::weights_of(layer, slices, bits, form), bits, x, {0, tokens}));
                            const std::vector<float> y = runner.combine(attention, x, false);
                            for (const auto& slices : partition)
                              ffn.push_back(runner.layer_op<double>(
                                  Op::kFfnPart, testing::weights_of(layer, slices, bits, form), bits, y, {0, tokens}));
                            expect_same_bits(f, runner.combine(ffn, y, true), fused,
                                             what + ", " + std::to_string(partition.size()) + " parts");
                          }
                        });
}

Finding batch_equals_singles(const Subject& s) {
  return for_all_layers(
      s, Op::kLayer,
      [&](Finding& f, Runner& runner, const RandomLayer& layer, const Weights& weights, Bits bits, int tokens,
          const std::string& what) {
        const std::vector<int32_t> starts{0, tokens, tokens + 1, 2 * tokens + 4};
        const std::vector<float> x = layer.input(starts.back());
        const std::vector<float> together = runner.layer_op<float>(Op::kLayer, weights, bits, x, starts);
        std::vector<float> singly;
        for (size_t b = 0; b + 1 < starts.size(); ++b) {
          const std::vector<float> one(x.begin() + starts[b] * layer.shape.hidden,
                                       x.begin() + starts[b + 1] * layer.shape.hidden);
          const auto y = runner.layer_op<float>(Op::kLayer, weights, bits, one, {0, starts[b + 1] - starts[b]});
          singly.insert(singly.end(), y.begin(), y.end());
        }
        expect_same_bits(f, together, singly, what + ", batch of 3");
      });
}

}  // namespace tessera::conformance
