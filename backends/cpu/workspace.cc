// Sizes activations and per-thread scratch from the model's shape and the batch alone.
#include "backends/cpu/workspace.h"

#include <algorithm>

#include "backends/cpu/kernels.h"

namespace tessera::cpu {
namespace {

// Keys and values of one group of slices: what stays in a core's second-level cache beside the rest.
constexpr int64_t kGroupBytes = 512 << 10;

int64_t align64(int64_t n) { return (n + 63) & ~int64_t{63}; }
int64_t floats(int64_t n) { return align64(n * 4); }

int64_t lay_out_attention(const ModelShape& shape, const WorkSize& size, Workspace& w) {
  const int64_t width = round_up(shape.head_width(), kPanel);
  const int64_t padded_tokens = static_cast<int64_t>(size.batch) * round_up(size.longest, kPanel);
  w.key_slice = floats(padded_tokens * shape.head_width());
  w.value_slice = floats(size.tokens() * width);
  const int64_t fitting = kGroupBytes / std::max<int64_t>(w.key_slice + w.value_slice, 1);
  w.group = static_cast<int>(std::clamp<int64_t>(fitting, std::min(2 * size.threads, size.slices), size.slices));
  w.keys = size.slices * w.value_slice;
  w.values = w.keys + w.group * w.key_slice;
  return w.values + w.group * w.value_slice;
}

int64_t lay_out_ffn(const ModelShape& shape, const WorkSize& size, Workspace& w) {
  w.block_rows = static_cast<int>(std::min<int64_t>(size.tokens(), kMaxBlockRows));
  w.hidden_slice = floats(static_cast<int64_t>(w.block_rows) * round_up(shape.ffn_share(), kPanel));
  return size.slices * w.hidden_slice;
}

// Two decoded panels and an accumulator, or attention's scores.
void lay_out_scratch(const ModelShape& shape, const WorkSize& size, Workspace& w) {
  const int64_t longest_k = std::max({shape.hidden, shape.head_width(), shape.ffn_share()});
  w.acc = floats(kTileColumns * longest_k);
  const int64_t product = w.acc + int64_t{8} * std::min<int64_t>(size.tokens(), kMaxBlockRows) * kTileColumns;
  const int64_t scores = floats(int64_t{kMaxTileRows} * round_up(size.longest, kPanel));
  w.scratch_bytes = align64(std::max(product, scores));
}

}  // namespace

WorkSize work_size(const CostKey& key, int threads) {
  return {std::max<int>(key.batch, 1), std::max<int>(key.tokens, 1), key.slices, threads};
}

WorkSize work_size(const Operands& operands, int threads) {
  const auto starts = operands.batch.starts;
  int longest = 1;
  for (size_t s = 0; s + 1 < starts.size(); ++s) longest = std::max(longest, starts[s + 1] - starts[s]);
  return {std::max(operands.batch.size(), 1), longest, static_cast<int>(operands.weights.size()), threads};
}

Workspace lay_out(const ModelShape& shape, Op op, const WorkSize& size) {
  Workspace w;
  int64_t shared = 0;
  if (op == Op::kLayer || op == Op::kAttentionPart) shared = lay_out_attention(shape, size, w);
  if (op == Op::kLayer || op == Op::kFfnPart) shared = std::max(shared, lay_out_ffn(shape, size, w));
  if (op == Op::kExit) {
    w.bytes = floats(static_cast<int64_t>(size.batch) * shape.hidden);
    return w;
  }
  if (op == Op::kCombine) {  // one row of sums a thread
    w.scratch_bytes = align64(int64_t{8} * shape.hidden);
  } else if (shared > 0) {
    lay_out_scratch(shape, size, w);
  }
  w.scratch = align64(shared);
  w.bytes = w.scratch + size.threads * w.scratch_bytes;
  return w;
}

}  // namespace tessera::cpu
