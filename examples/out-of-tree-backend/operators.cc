// Computes sequence by sequence and slice by slice with the reference operators.
#include "operators.h"

#include <cstring>
#include <vector>

#include "framework/reference_ops.h"
#include "shards/codec_elements.h"
#include "shards/flat_codec.h"

namespace slow {
namespace {

namespace reference = tessera::reference;
using tessera::Error;
using tessera::ErrorCode;
using tessera::Op;
using tessera::Operands;
using tessera::Status;
using Floats = std::vector<float>;

// Rounds to a multiple of 2^-32, so that sums over slices are exact in whatever order and partition (backends/README.md).
double on_grid(double p) {
  constexpr double kShift = 1.5 * (1 << 20);
  const volatile double shifted = p + kShift;  // must be rounded here
  return shifted - kShift;
}

Floats copy(const float* from, int count) { return {from, from + count}; }

Floats stored(tessera::ElementType type, const std::byte* from, size_t count) {
  Floats out(count);
  tessera::decode_elements(type, from, static_cast<int64_t>(count), out.data());
  return out;
}

reference::LayerBiases biases_of(const Operands& o) {
  const tessera::LayerResidents& r = *o.residents;
  const int d = o.shape->hidden;
  return {copy(r.query_bias, d),
          copy(r.key_bias, d),
          copy(r.value_bias, d),
          copy(r.attention_bias, d),
          copy(r.attention_norm_weight, d),
          copy(r.attention_norm_bias, d),
          copy(r.ffn_up_bias, o.shape->ffn),
          copy(r.ffn_down_bias, d),
          copy(r.ffn_norm_weight, d),
          copy(r.ffn_norm_bias, d)};
}

// Dense fp32 weights of one slice, from any form.
tessera::Result<reference::SliceWeights> dense(const Operands& o, const tessera::WeightRef& w) {
  const auto* data = w.data.as<std::byte>();
  tessera::DenseShard m;
  if (w.form == tessera::WeightForm::kCoded) {
    TESSERA_ASSIGN(m, decode_shard(*o.shape, w.bits, w.exact_type, data, w.bytes));
  } else {
    const tessera::DenseLayout layout = dense_layout(*o.shape, 4);
    for (size_t i = 0; i < m.size(); ++i) {
      const tessera::MatrixDims dims = matrix_dims(*o.shape, static_cast<tessera::MatrixKind>(i));
      m[i].resize(static_cast<size_t>(dims.weights()));
      decode_exact_matrix(dims, tessera::ElementType::kF32, data + layout.offset[i], m[i]);
    }
  }
  return reference::SliceWeights{m[0], m[1], m[2], m[3], m[4], m[5]};
}

// One sequence of a task: rows [begin, begin + tokens) of the batch.
struct Sequence {
  size_t begin = 0;
  int tokens = 0;
  size_t index = 0;
};

template <typename T>
std::span<T> rows(const tessera::MemoryRef& ref, const Operands& o, const Sequence& s) {
  const auto d = static_cast<size_t>(o.shape->hidden);
  return {ref.as<T>() + s.begin * d, static_cast<size_t>(s.tokens) * d};
}

// Sum over the task's slices of one half of a layer: x [T, D] -> partial f64 [T, D].
Status part(const Operands& o, bool ffn, std::span<const float> x, int tokens, const std::atomic<bool>& cancelled,
            std::span<double> partial) {
  const reference::LayerBiases biases = biases_of(o);
  std::vector<double> sum(partial.size()), one(partial.size());
  for (const tessera::WeightRef& w : o.weights) {
    if (cancelled) return Error{ErrorCode::kCancelled, "slow0: cancelled at slice " + std::to_string(w.slice)};
    TESSERA_ASSIGN(const reference::SliceWeights weights, dense(o, w));
    const reference::SlicePart slice[] = {{w.slice, &weights}};
    if (ffn)
      reference::ffn_part(*o.shape, x, tokens, slice, biases, one);
    else
      reference::attention_part(*o.shape, x, tokens, slice, biases, one);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += on_grid(one[i]);
  }
  std::copy(sum.begin(), sum.end(), partial.begin());
  return {};
}

void combine(const Operands& o, bool ffn, std::span<const std::span<const double>> partials, std::span<const float> residual,
             int tokens, std::span<float> y) {
  const reference::LayerBiases b = biases_of(o);
  reference::combine(*o.shape, partials, residual, ffn ? b.down : b.attention,
                     ffn ? b.ffn_norm_weight : b.attention_norm_weight, ffn ? b.ffn_norm_bias : b.attention_norm_bias,
                     tokens, y);
}

// x -> attention -> y -> FFN -> output.
Status layer(const Operands& o, const Sequence& s, const std::atomic<bool>& cancelled) {
  const auto x = rows<float>(o.input, o, s);
  std::vector<double> partial(x.size());
  const std::span<const double> partials[] = {partial};
  Floats y(x.size());
  TESSERA_TRY(part(o, false, x, s.tokens, cancelled, partial));
  combine(o, false, partials, x, s.tokens, y);
  TESSERA_TRY(part(o, true, y, s.tokens, cancelled, partial));
  combine(o, true, partials, y, s.tokens, rows<float>(o.output, o, s));
  return {};
}

void add_partials(const Operands& o, bool ffn, const Sequence& s) {
  std::vector<std::span<const double>> partials;
  for (const tessera::MemoryRef& p : o.partials) partials.push_back(rows<double>(p, o, s));
  combine(o, ffn, partials, rows<float>(o.input, o, s), s.tokens, rows<float>(o.output, o, s));
}

void embed(const Operands& o, const Sequence& s) {
  const auto d = static_cast<size_t>(o.shape->hidden);
  Floats word, position, type;
  for (size_t t = s.begin; t < s.begin + static_cast<size_t>(s.tokens); ++t) {
    const Floats w = stored(o.rows->type, o.rows->word[t], d), p = stored(o.rows->type, o.rows->position[t], d);
    word.insert(word.end(), w.begin(), w.end());
    position.insert(position.end(), p.begin(), p.end());
    type.insert(type.end(), o.rows->token_type[t], o.rows->token_type[t] + d);
  }
  reference::embed(*o.shape, word, position, type, {o.rows->norm_weight, d}, {o.rows->norm_bias, d}, s.tokens,
                   rows<float>(o.output, o, s));
}

void exit_head(const Operands& o, const Sequence& s) {
  const auto d = static_cast<size_t>(o.shape->hidden), labels = static_cast<size_t>(o.shape->labels);
  const tessera::ExitRefs& e = *o.exit;
  reference::exit_head(*o.shape, rows<float>(o.input, o, s), stored(e.type, e.pooler_weight, d * d),
                       stored(e.type, e.pooler_bias, d), stored(e.type, e.classifier_weight, labels * d),
                       stored(e.type, e.classifier_bias, labels), {o.output.as<float>() + s.index * labels, labels});
}

Status compute_sequence(const tessera::Task& task, const Operands& o, const Sequence& s,
                        const std::atomic<bool>& cancelled) {
  switch (task.cost.op) {
    case Op::kEmbed:
      embed(o, s);
      return {};
    case Op::kLayer:
      return layer(o, s, cancelled);
    case Op::kAttentionPart:
    case Op::kFfnPart:
      return part(o, task.cost.op == Op::kFfnPart, rows<float>(o.input, o, s), s.tokens, cancelled,
                  rows<double>(o.output, o, s));
    case Op::kCombine:
      add_partials(o, task.cost.slices == 1, s);
      return {};
    default:
      exit_head(o, s);
      return {};
  }
}

}  // namespace

bool computes_op(Op op) {
  return op == Op::kEmbed || op == Op::kLayer || op == Op::kAttentionPart || op == Op::kFfnPart || op == Op::kCombine ||
         op == Op::kExit;
}

Status compute(const tessera::Task& task, const Operands& o, const std::atomic<bool>& cancelled) {
  for (int s = 0; s < o.batch.size(); ++s) {
    if (cancelled) return Error{ErrorCode::kCancelled, "slow0: cancelled at sequence " + std::to_string(s)};
    const int begin = o.batch.starts[s];
    TESSERA_TRY(compute_sequence(
        task, o, {static_cast<size_t>(begin), o.batch.starts[s + 1] - begin, static_cast<size_t>(s)}, cancelled));
  }
  return {};
}

}  // namespace slow
