// Cuts a layer into stages and items; the arithmetic is in the kernels.
#include "backends/cpu/layer_work.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace tessera::cpu {
namespace {

constexpr int kNormRows = 8;    // rows of one item of a norm
constexpr int kQueryRows = 28;  // queries of one item of attention: two tiles of AVX-512's 14 rows
constexpr int kLeastRows = 32;  // a weight panel is decoded for no fewer rows while there are more

int pairs_of(int columns) { return (columns + kTileColumns - 1) / kTileColumns; }

// `count` <= kTileColumns of a bias, zeros behind.
struct PaddedBias {
  alignas(64) float values[kTileColumns] = {};
  PaddedBias(const float* from, int count) { std::copy_n(from, count, values); }
};

PanelBlock block_of_panels(const MatrixView& m, int first, int panels, std::byte* scratch) {
  const float* b = fp32_panels(m, first, panels, reinterpret_cast<float*>(scratch));
  return {b, kPanel, static_cast<size_t>(m.dims.in) * kPanel, panels, m.dims.in};
}

}  // namespace

void LayerWork::bind(Op op, const Operands& operands, int threads) {
  op_ = op;
  operands_ = &operands;
  shape_ = operands.shape;
  threads_ = threads;
  space_ = lay_out(*shape_, op, work_size(operands, threads));
  space_at_ = operands.workspace.as<std::byte>();
  x_ = operands.input.as<float>();
  out_ = operands.output.as<std::byte>();
  tokens_ = operands.batch.tokens();
  slices_ = static_cast<int>(operands.weights.size());
  groups_ = op == Op::kFfnPart ? 0 : (slices_ + space_.group - 1) / space_.group;
  blocks_ = op == Op::kAttentionPart ? 0 : (tokens_ + space_.block_rows - 1) / space_.block_rows;
  failed_.store(false, std::memory_order_relaxed);
  status_ = {};
}

int LayerWork::stages() const {
  if (op_ == Op::kAttentionPart) return 1 + 2 * groups_ + 1;
  if (op_ == Op::kFfnPart) return 1 + 2 * blocks_;
  return 1 + 2 * groups_ + 2 + 2 * blocks_ + 1;
}

LayerWork::Step LayerWork::step(int stage) const {
  if (stage == 0) return {Kind::kOpen, 0};
  int at = stage - 1;
  if (at < 2 * groups_) return {at % 2 == 0 ? Kind::kProject : Kind::kAttend, at / 2};
  at -= 2 * groups_;
  if (op_ != Op::kFfnPart) {
    if (at == 0) return {Kind::kAttentionOut, 0};
    if (at == 1) return {Kind::kAttentionNorm, 0};
    at -= 2;
  }
  if (at < 2 * blocks_) return {at % 2 == 0 ? Kind::kUp : Kind::kDown, at / 2};
  return {Kind::kFfnNorm, 0};
}

// Into how many pieces rows are cut so that `items` a piece keep the threads busy: a panel is decoded anew for each.
int LayerWork::splits(int rows, int items) const {
  int parts = (rows + kMaxBlockRows - 1) / kMaxBlockRows;
  while (threads_ > 1 && parts * items < 2 * threads_ && rows / (parts + 1) >= kLeastRows) ++parts;
  return parts;
}

LayerWork::Rows LayerWork::split(Rows rows, int parts, int part) {
  const int size = rows.count / parts, larger = rows.count % parts;
  return {rows.first + part * size + std::min(part, larger), size + (part < larger ? 1 : 0)};
}

LayerWork::Rows LayerWork::block_of(int block) const { return split({0, tokens_}, blocks_, block); }

int LayerWork::query_blocks() const {
  int count = 0;
  const auto starts = operands_->batch.starts;
  for (size_t s = 0; s + 1 < starts.size(); ++s) count += (starts[s + 1] - starts[s] + kQueryRows - 1) / kQueryRows;
  return count;
}

int LayerWork::items(int stage) const {
  const Step s = step(stage);
  const int out_pairs = pairs_of(shape_->hidden);
  const int head_pairs = pairs_of(shape_->head_width());
  const int share_pairs = pairs_of(shape_->ffn_share());
  switch (s.kind) {
    case Kind::kOpen:
      return slices_;
    case Kind::kProject: {
      const int products = slices_of(s.part) * 3 * head_pairs;
      return products * splits(tokens_, products);
    }
    case Kind::kAttend:
      return slices_of(s.part) * query_blocks();
    case Kind::kAttentionOut:
      return out_pairs * splits(tokens_, out_pairs);
    case Kind::kUp:
      return slices_ * share_pairs * splits(block_of(s.part).count, slices_ * share_pairs);
    case Kind::kDown:
      return out_pairs * splits(block_of(s.part).count, out_pairs);
    case Kind::kAttentionNorm:
    case Kind::kFfnNorm:
      return (tokens_ + kNormRows - 1) / kNormRows;
  }
  return 0;
}

void LayerWork::run(int stage, int item, int thread) {
  if (failed_.load(std::memory_order_relaxed)) return;
  const LayerResidents& r = *operands_->residents;
  const float* attended = op_ == Op::kLayer ? reinterpret_cast<const float*>(out_) : x_;
  const int width = round_up(shape_->head_width(), kPanel), share = round_up(shape_->ffn_share(), kPanel);
  const Step s = step(stage);
  switch (s.kind) {
    case Kind::kOpen:
      return open(item);
    case Kind::kProject:
      return project(s.part, item, thread);
    case Kind::kAttend:
      return attend_block(s.part, item, thread);
    case Kind::kAttentionOut:
      return reduce({MatrixKind::kOutput, floats_at(space_.q), space_.value_slice, width, r.attention_bias, x_},
                    {0, tokens_}, item, thread);
    case Kind::kAttentionNorm:
      return norm(r.attention_norm_weight, r.attention_norm_bias, item);
    case Kind::kUp:
      return up(s.part, item, thread);
    case Kind::kDown:
      return reduce({MatrixKind::kDown, floats_at(space_.hidden), space_.hidden_slice, share, r.ffn_down_bias, attended},
                    block_of(s.part), item, thread);
    case Kind::kFfnNorm:
      return norm(r.ffn_norm_weight, r.ffn_norm_bias, item);
  }
}

void LayerWork::open(int item) {
  auto views = view_slice(*shape_, operands_->weights[item]);
  if (views.ok()) {
    views_[item] = *views;
    return;
  }
  const std::lock_guard lock(failure_);
  if (!failed_.exchange(true)) status_ = views.error();
}

// Item: slice of the group, then Q, K or V, then a pair of panels, then a piece of the rows.
void LayerWork::project(int group, int item, int thread) {
  const int width = shape_->head_width(), padded = round_up(width, kPanel), pairs = pairs_of(width);
  const int pieces = splits(tokens_, slices_of(group) * 3 * pairs);
  const Rows rows = split({0, tokens_}, pieces, item % pieces);
  const int pair = item / pieces % pairs, which = item / pieces / pairs % 3, member = item / pieces / pairs / 3;
  const int slice = first_slice(group) + member;
  const MatrixView& m = views_[slice][which];
  const int column = pair * kTileColumns;
  const int panels = std::min(2, m.dims.panels() - 2 * pair);
  const LayerResidents& r = *operands_->residents;
  const float* biases[] = {r.query_bias, r.key_bias, r.value_bias};
  const int valid = std::min(kTileColumns, width - column);
  const PaddedBias bias(biases[which] + operands_->weights[slice].slice * width + column, valid);
  const size_t hidden = static_cast<size_t>(shape_->hidden);
  const Product product = {x_ + rows.first * hidden, hidden, rows.count,
                           block_of_panels(m, 2 * pair, panels, scratch(thread))};
  if (which == static_cast<int>(MatrixKind::kKey)) {
    float* keys = floats_at(space_.keys + member * space_.key_slice);
    if (item % pieces == 0) fill_key_padding(keys, column, valid);
    return product_bias_keys(product, bias.values, {keys, width, column, operands_->batch.starts.data(), rows.first});
  }
  const bool query = which == static_cast<int>(MatrixKind::kQuery);
  float* to =
      query ? floats_at(space_.q + slice * space_.value_slice) : floats_at(space_.values + member * space_.value_slice);
  product_bias(product, bias.values, to + static_cast<size_t>(rows.first) * padded + column, padded);
}

// Keys behind a sequence's last token take part in no score that is kept, but must be finite.
void LayerWork::fill_key_padding(float* keys, int first_column, int columns) const {
  const auto starts = operands_->batch.starts;
  const size_t panel = static_cast<size_t>(shape_->head_width()) * kPanel;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const int length = starts[s + 1] - starts[s], panels = (length + kPanel - 1) / kPanel;
    keys += panel * panels;
    for (int c = first_column; c < first_column + columns; ++c) {
      for (int lane = length - (panels - 1) * kPanel; lane < kPanel; ++lane) {
        *(keys - panel + static_cast<size_t>(c) * kPanel + lane) = 0;
      }
    }
  }
}

// Item: slice of the group, then a block of queries of one sequence.
void LayerWork::attend_block(int group, int item, int thread) {
  const int blocks = query_blocks();
  assert(blocks > 0);  // an empty batch has no items
  const int member = item / blocks;
  const int width = shape_->head_width(), padded = round_up(width, kPanel);
  const auto starts = operands_->batch.starts;
  int block = item % blocks;
  size_t s = 0;
  int64_t panels_before = 0;
  for (;; ++s) {
    const int length = starts[s + 1] - starts[s], own = (length + kQueryRows - 1) / kQueryRows;
    if (block < own) break;
    block -= own;
    panels_before += (length + kPanel - 1) / kPanel;
  }
  const int first = starts[s], tokens = starts[s + 1] - first;
  const Rows rows = split({first, tokens}, (tokens + kQueryRows - 1) / kQueryRows, block);
  attend({.q = floats_at(space_.q + (first_slice(group) + member) * space_.value_slice) +
               static_cast<size_t>(rows.first) * padded,
          .rows = rows.count,
          .keys = floats_at(space_.keys + member * space_.key_slice) + panels_before * width * kPanel,
          .values = floats_at(space_.values + member * space_.value_slice) + static_cast<size_t>(first) * padded,
          .tokens = tokens,
          .width = width,
          .padded_width = padded,
          .scores = reinterpret_cast<float*>(scratch(thread))});
}

// Item: slice, then a pair of panels, then a piece of the block's rows.
void LayerWork::up(int block, int item, int thread) {
  const int share = shape_->ffn_share(), padded = round_up(share, kPanel), pairs = pairs_of(share);
  const Rows all = block_of(block);
  const int pieces = splits(all.count, slices_ * pairs);
  const Rows rows = split(all, pieces, item % pieces);
  const int pair = item / pieces % pairs, slice = item / pieces / pairs, column = pair * kTileColumns;
  const MatrixView& m = views_[slice][static_cast<int>(MatrixKind::kUp)];
  const int panels = std::min(2, m.dims.panels() - 2 * pair);
  const PaddedBias bias(operands_->residents->ffn_up_bias + operands_->weights[slice].slice * share + column,
                        std::min(kTileColumns, share - column));
  const size_t hidden = static_cast<size_t>(shape_->hidden);
  const float* y = op_ == Op::kLayer ? reinterpret_cast<const float*>(out_) : x_;
  const Product product = {y + rows.first * hidden, hidden, rows.count,
                           block_of_panels(m, 2 * pair, panels, scratch(thread))};
  float* to = floats_at(space_.hidden + slice * space_.hidden_slice) + static_cast<size_t>(rows.first - all.first) * padded;
  product_bias_gelu(product, bias.values, to + column, padded);
}

// Item: a pair of output panels, then a piece of the rows. The slices are summed inside, on the grid.
void LayerWork::reduce(const Reduction& reduction, Rows all, int item, int thread) {
  const int pairs = pairs_of(shape_->hidden), pieces = splits(all.count, pairs), pair = item / pieces;
  const Rows rows = split(all, pieces, item % pieces);
  auto* acc = reinterpret_cast<double*>(scratch(thread) + space_.acc);
  const int column = pair * kTileColumns;
  for (int slice = 0; slice < slices_; ++slice) {
    const MatrixView& m = views_[slice][static_cast<int>(reduction.kind)];
    const auto* a =
        reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(reduction.a) + slice * reduction.slice_bytes);
    const int panels = std::min(2, m.dims.panels() - 2 * pair);
    product_grid({a + static_cast<size_t>(rows.first - all.first) * reduction.lda, static_cast<size_t>(reduction.lda),
                  rows.count, block_of_panels(m, 2 * pair, panels, scratch(thread))},
                 acc, slice == 0);
  }
  leave(reduction, rows, column, std::min(kTileColumns, shape_->hidden - column), acc);
}

// The sums leave: as they are from a part, with bias and residual in a fused layer.
void LayerWork::leave(const Reduction& reduction, Rows rows, int column, int columns, const double* acc) const {
  const size_t hidden = static_cast<size_t>(shape_->hidden), at = rows.first * hidden + column;
  if (op_ == Op::kLayer) {
    return finish({.acc = acc,
                   .rows = rows.count,
                   .columns = columns,
                   .bias = reduction.bias + column,
                   .residual = reduction.residual + at,
                   .out = reinterpret_cast<float*>(out_) + at,
                   .ld = hidden});
  }
  double* to = reinterpret_cast<double*>(out_) + at;
  for (int r = 0; r < rows.count; ++r) std::copy_n(acc + r * kTileColumns, columns, to + r * hidden);
}

void LayerWork::norm(const float* weight, const float* bias, int item) const {
  const int first = item * kNormRows;
  layer_norm(reinterpret_cast<float*>(out_) + static_cast<size_t>(first) * shape_->hidden,
             std::min(kNormRows, tokens_ - first),
             {weight, bias, shape_->hidden, static_cast<float>(shape_->layer_norm_eps)});
}

}  // namespace tessera::cpu
