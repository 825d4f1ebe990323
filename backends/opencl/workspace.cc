// Sizes a task's regions from the model's shape, tokens and slices alone.
#include "backends/opencl/workspace.h"

#include <algorithm>

#include "shards/shard_format.h"

namespace tessera::opencl {
namespace {

// Hands out regions one behind the other.
class Regions {
 public:
  int64_t take(int64_t bytes) {
    const int64_t at = end_;
    end_ = round_up(end_ + bytes, 64);
    return at;
  }
  int64_t end() const { return end_; }
  void restart(int64_t at) { end_ = at; }

 private:
  int64_t end_ = 0;
};

void lay_out_layer(const ModelShape& shape, Op op, const WorkSize& size, Regions& r, Workspace& w) {
  const int64_t slices = size.slices, hidden = shape.hidden;
  w.refused = r.take(4);
  w.slices = r.take(slices * static_cast<int64_t>(sizeof(SliceEntry)));
  w.blocks = r.take(op == Op::kFfnPart ? 0 : size.tokens * static_cast<int64_t>(sizeof(QueryBlock)));
  w.tables = r.end();
  w.matrices = r.take(slices * kMatrixCount * kMatrixEntryBytes);
  w.residents = r.take(packed_residents(shape).floats * 4);
  w.row_stride = size.tokens + kPanel;
  const int64_t shared = r.end();
  int64_t end = shared;
  if (op != Op::kFfnPart) {
    const int64_t plain = slices * size.tokens * round_up(shape.head_width(), kPanel) * 4;
    w.transposed = r.take(slices * 2 * shape.head_width() * w.row_stride * 4 + 64);
    w.values = r.take(plain);
    w.context = r.take(plain);
    end = r.end();
  }
  if (op != Op::kAttentionPart) {
    r.restart(shared);
    w.hidden = r.take(slices * size.tokens * round_up(shape.ffn_share(), kPanel) * 4);
    r.restart(std::max(end, r.end()));
  }
  if (op == Op::kLayer) {
    w.sums = r.take(size.tokens * hidden * 8);
    w.attended = r.take(size.tokens * hidden * 4);
  }
}

}  // namespace

WorkSize work_size(const CostKey& key) {
  const int64_t batch = std::max<int>(key.batch, 1);
  return {batch, batch * std::max<int>(key.tokens, 1), key.slices};
}

WorkSize work_size(const Operands& operands) {
  return {operands.batch.size(), operands.batch.tokens(), static_cast<int>(operands.weights.size())};
}

PackedResidents packed_residents(const ModelShape& shape) {
  const int64_t d = shape.hidden;
  return {3 * d, 6 * d, 6 * d + shape.ffn, 9 * d + shape.ffn};
}

Workspace lay_out(const ModelShape& shape, Op op, const WorkSize& size, int element_bytes) {
  Workspace w;
  Regions r;
  const int64_t hidden = shape.hidden, rows = size.tokens * hidden;
  switch (op) {
    case Op::kLayer:
    case Op::kAttentionPart:
    case Op::kFfnPart:
      lay_out_layer(shape, op, size, r, w);
      break;
    case Op::kCombine:
      w.residents = r.take(packed_residents(shape).floats * 4);
      w.sums = r.take(rows * 8);
      break;
    case Op::kEmbed:
      w.words = r.take(rows * element_bytes);
      w.positions = r.take(rows * element_bytes);
      w.types = r.take(rows * 4);
      w.norm = r.take(2 * hidden * 4);
      break;
    case Op::kExit:
      w.starts = r.take(size.batch * 4);
      w.pooler = r.take(hidden * hidden * element_bytes);
      w.pooler_bias = r.take(hidden * element_bytes);
      w.classifier = r.take(shape.labels * hidden * element_bytes);
      w.classifier_bias = r.take(shape.labels * element_bytes);
      w.pooled = r.take(size.batch * hidden * 4);
      break;
    default:
      break;
  }
  w.bytes = r.end();
  return w;
}

}  // namespace tessera::opencl
