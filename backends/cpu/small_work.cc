// Cuts embed, combine and exit into items; the arithmetic is in the kernels.
#include "backends/cpu/small_work.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tessera::cpu {
namespace {

constexpr int kRows = 8;      // tokens of one item
constexpr int kOutputs = 32;  // pooler outputs of one item

int pieces(int n, int size) { return (n + size - 1) / size; }

}  // namespace

int EmbedWork::items(int) const { return pieces(operands_.batch.tokens(), kRows); }

void EmbedWork::run(int, int item, int) {
  const RowRefs& rows = *operands_.rows;
  const int hidden = operands_.shape->hidden;
  const int first = item * kRows, end = std::min(first + kRows, operands_.batch.tokens());
  float* const out = operands_.output.as<float>();
  for (int t = first; t < end; ++t) {
    float* x = out + static_cast<size_t>(t) * hidden;
    load_elements(rows.type, rows.word[t], hidden, false, x);
    load_elements(rows.type, rows.position[t], hidden, true, x);
    load_elements(ElementType::kF32, reinterpret_cast<const std::byte*>(rows.token_type[t]), hidden, true, x);
  }
  layer_norm(out + static_cast<size_t>(first) * hidden, end - first,
             {rows.norm_weight, rows.norm_bias, hidden, static_cast<float>(operands_.shape->layer_norm_eps)});
}

CombineWork::CombineWork(const Task& task, const Operands& operands, int threads)
    : operands_(operands),
      ffn_(task.cost.slices != 0),
      space_(lay_out(*operands.shape, Op::kCombine, work_size(operands, threads))) {}

int CombineWork::items(int) const { return pieces(operands_.batch.tokens(), kRows); }

void CombineWork::run(int, int item, int thread) {
  const LayerResidents& r = *operands_.residents;
  const int hidden = operands_.shape->hidden;
  const int first = item * kRows, end = std::min(first + kRows, operands_.batch.tokens());
  auto* sum =
      reinterpret_cast<double*>(operands_.workspace.as<std::byte>() + space_.scratch + thread * space_.scratch_bytes);
  float* const out = operands_.output.as<float>();
  const float* const residual = operands_.input.as<float>();
  for (int t = first; t < end; ++t) {
    const size_t at = static_cast<size_t>(t) * hidden;
    std::memset(sum, 0, sizeof(double) * hidden);
    for (const MemoryRef& partial : operands_.partials) {
      const double* p = partial.as<double>() + at;
      for (int i = 0; i < hidden; ++i) sum[i] += p[i];
    }
    finish({.acc = sum,
            .rows = 1,
            .columns = hidden,
            .bias = ffn_ ? r.ffn_down_bias : r.attention_bias,
            .residual = residual + at,
            .out = out + at,
            .ld = static_cast<size_t>(hidden)});
  }
  layer_norm(out + static_cast<size_t>(first) * hidden, end - first,
             {ffn_ ? r.ffn_norm_weight : r.attention_norm_weight, ffn_ ? r.ffn_norm_bias : r.attention_norm_bias, hidden,
              static_cast<float>(operands_.shape->layer_norm_eps)});
}

int ExitWork::items(int stage) const {
  return stage == 0 ? operands_.batch.size() * pieces(operands_.shape->hidden, kOutputs) : operands_.batch.size();
}

void ExitWork::run(int stage, int item, int) {
  if (stage == 0) {
    pool(item);
  } else {
    classify(item);
  }
}

void ExitWork::pool(int item) const {
  const ExitRefs& exit = *operands_.exit;
  const int hidden = operands_.shape->hidden, blocks = pieces(hidden, kOutputs);
  const int sequence = item / blocks, first = item % blocks * kOutputs, end = std::min(first + kOutputs, hidden);
  const float* x = operands_.input.as<float>() + static_cast<size_t>(operands_.batch.starts[sequence]) * hidden;
  float* pooled = operands_.workspace.as<float>() + static_cast<size_t>(sequence) * hidden;
  const size_t element = static_cast<size_t>(element_size(exit.type));
  load_elements(exit.type, exit.pooler_bias + first * element, end - first, false, pooled + first);
  for (int o = first; o < end; ++o) {
    const float dot = dot_elements(exit.type, exit.pooler_weight + static_cast<size_t>(o) * hidden * element, x, hidden);
    pooled[o] = std::tanh(dot + pooled[o]);
  }
}

void ExitWork::classify(int sequence) const {
  const ExitRefs& exit = *operands_.exit;
  const int hidden = operands_.shape->hidden, labels = operands_.shape->labels;
  const float* pooled = operands_.workspace.as<float>() + static_cast<size_t>(sequence) * hidden;
  float* logits = operands_.output.as<float>() + static_cast<size_t>(sequence) * labels;
  const size_t row = static_cast<size_t>(hidden) * element_size(exit.type);
  load_elements(exit.type, exit.classifier_bias, labels, false, logits);
  for (int l = 0; l < labels; ++l) logits[l] += dot_elements(exit.type, exit.classifier_weight + l * row, pooled, hidden);
}

}  // namespace tessera::cpu
