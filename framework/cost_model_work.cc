// Counts what a compute has to do.
#include "framework/cost_model_work.h"

namespace tessera {
namespace {

struct Terms {
  double tokens;       // B T
  double score_pairs;  // B T T
  double slices, hidden, head, share;
};

Terms terms_of(const ModelShape& shape, const CostKey& key) {
  const double batch = key.batch > 0 ? key.batch : 1;
  const double tokens = key.tokens > 0 ? key.tokens : 1;
  return {batch * tokens,
          batch * tokens * tokens,
          static_cast<double>(key.slices),
          static_cast<double>(shape.hidden),
          shape.heads > 0 ? static_cast<double>(shape.hidden) / shape.heads : 0,
          shape.slices > 0 ? static_cast<double>(shape.ffn) / shape.slices : 0};
}

double attention(const Terms& t) { return t.slices * t.head * (4 * t.hidden * t.tokens + 2 * t.score_pairs); }
double ffn(const Terms& t) { return t.slices * t.share * 2 * t.hidden * t.tokens; }
double elementwise(const Terms& t) { return 10 * t.tokens * t.hidden; }

}  // namespace

bool is_compute(Op op) {
  return op == Op::kEmbed || op == Op::kLayer || op == Op::kAttentionPart || op == Op::kFfnPart || op == Op::kCombine ||
         op == Op::kExit;
}

double multiply_adds(const ModelShape& shape, const CostKey& key) {
  const Terms t = terms_of(shape, key);
  switch (key.op) {
    case Op::kLayer:
      return attention(t) + ffn(t) + 2 * elementwise(t);
    case Op::kAttentionPart:
      return attention(t) + elementwise(t);
    case Op::kFfnPart:
      return ffn(t) + elementwise(t);
    case Op::kEmbed:
    case Op::kCombine:
      return elementwise(t);
    case Op::kExit:
      return (key.batch > 0 ? key.batch : 1) * t.hidden * (t.hidden + shape.labels);
    case Op::kLoadShards:
    case Op::kLoadRows:
    case Op::kLoadExit:
    case Op::kTransfer:
      break;
  }
  return 0;
}

double weights_read(const ModelShape& shape, const CostKey& key) {
  const Terms t = terms_of(shape, key);
  switch (key.op) {
    case Op::kLayer:
      return t.slices * t.hidden * (4 * t.head + 2 * t.share);
    case Op::kAttentionPart:
      return t.slices * t.hidden * 4 * t.head;
    case Op::kFfnPart:
      return t.slices * t.hidden * 2 * t.share;
    case Op::kExit:
      return t.hidden * (t.hidden + shape.labels);
    default:
      return 0;
  }
}

double weights_decoded(const ModelShape& shape, const CostKey& key) {
  if (key.decoded || key.slices == 0 || key.op == Op::kExit) return 0;
  int coded = 0, all = 0;
  for (int level = 1; level < kBitsLevels; ++level) {
    all += key.bits[level];
    if (level_bits(level) != kExact) coded += key.bits[level];
  }
  return all == 0 ? weights_read(shape, key) : weights_read(shape, key) * coded / all;
}

}  // namespace tessera
