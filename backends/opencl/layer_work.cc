// Launches the kernels of a layer or of a part of one.
//
//   tables, residents --upload--> locate
//   x --project Q K V--> attend --reduce O--> sums --combine(x)--> y --project Up, GELU--> hidden --reduce Down--> sums
//     --combine(y)--> output
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/opencl/work.h"
#include "shards/shard_format.h"

namespace tessera::opencl {
namespace {

// Consecutive slices whose weights lie in at most kSlots buffers.
struct SliceRange {
  int first = 0, count = 0;
  Slots slots{};
};

class LayerWork {
 public:
  LayerWork(Device& device, Commands& commands, Op op, const Operands& o)
      : device_(device),
        commands_(commands),
        op_(op),
        o_(o),
        shape_(*o.shape),
        space_(lay_out(shape_, op, work_size(o), stored_bytes(shape_))),
        workspace_(place_of(o.workspace)),
        tokens_(o.batch.tokens()),
        width_(shape_.head_width()),
        share_(shape_.ffn_share()),
        tile_(device.tile(tokens_)),
        kernels_(device.tile_kernels(tokens_)) {}

  void record() {
    upload_tables();
    residents_ = residents_on(device_, commands_, shape_, *o_.residents, at(space_.residents));
    locate();
    const Place out = place_of(o_.output);
    if (op_ != Op::kFfnPart) {
      project(place_of(o_.input), true);
      attend();
      reduce(true, op_ == Op::kLayer ? at(space_.sums) : out);
    }
    if (op_ == Op::kLayer) combine(place_of(o_.input), packed_residents(shape_).attention_bias, at(space_.attended));
    if (op_ != Op::kAttentionPart) {
      project(op_ == Op::kLayer ? at(space_.attended) : place_of(o_.input), false);
      reduce(false, op_ == Op::kLayer ? at(space_.sums) : out);
    }
    if (op_ == Op::kLayer) combine(at(space_.attended), packed_residents(shape_).ffn_bias, out);
    if (coded_) commands_.read(&commands_.flight()->refused, at(space_.refused), 4);
  }

 private:
  Place at(int64_t offset) const { return workspace_.plus(offset); }
  size_t blocks_of(int64_t n, int64_t size) const { return static_cast<size_t>((n + size - 1) / size); }
  void upload_tables();
  void add_slice(const WeightRef& weight, SliceEntry& entry);
  void add_blocks(QueryBlock* to);
  void locate();
  void project(Place x, bool attention);
  void attend();
  void reduce(bool attention, Place sums);
  void combine(Place residual, int64_t biases, Place out);

  Device& device_;
  Commands& commands_;
  const Op op_;
  const Operands& o_;
  const ModelShape& shape_;
  const Workspace space_;
  const Place workspace_;
  const int tokens_, width_, share_;
  const Tile tile_;
  const TileKernels kernels_;
  Place residents_;
  std::vector<SliceRange> ranges_;
  int query_blocks_ = 0, attend_rows_ = 1;
  bool coded_ = false;
};

void LayerWork::upload_tables() {
  std::byte* const to = commands_.keep(space_.tables);
  std::memset(to, 0, static_cast<size_t>(space_.tables));
  auto* const entries = reinterpret_cast<SliceEntry*>(to + space_.slices);
  for (size_t i = 0; i < o_.weights.size(); ++i) {
    add_slice(o_.weights[i], entries[i]);
    commands_.flight()->slices.push_back("slice " + std::to_string(o_.weights[i].slice) + "@" +
                                         std::to_string(o_.weights[i].bits));
  }
  if (op_ != Op::kFfnPart) add_blocks(reinterpret_cast<QueryBlock*>(to + space_.blocks));
  commands_.write(at(0), to, space_.tables);
}

void LayerWork::add_slice(const WeightRef& weight, SliceEntry& entry) {
  const Place data = place_of(weight.data);
  if (ranges_.empty()) ranges_.emplace_back().slots.fill(nullptr);
  SliceRange* range = &ranges_.back();
  auto slot =
      std::find_if(range->slots.begin(), range->slots.end(), [&](cl_mem m) { return m == data.memory || m == nullptr; });
  if (slot == range->slots.end()) {
    const int next = range->first + range->count;
    range = &ranges_.emplace_back();
    range->first = next;
    range->slots.fill(nullptr);
    slot = range->slots.begin();
  }
  *slot = data.memory;
  ++range->count;
  const bool decoded = weight.form == WeightForm::kDecoded;
  entry.offset = static_cast<uint64_t>(data.at);
  entry.bytes = static_cast<uint64_t>(weight.bytes);
  entry.slot = static_cast<uint32_t>(slot - range->slots.begin());
  entry.bits = decoded || weight.bits == kExact ? 0 : weight.bits;
  entry.type = static_cast<uint32_t>(decoded ? ElementType::kF32 : weight.exact_type);
  entry.slice = static_cast<uint32_t>(weight.slice);
  coded_ = coded_ || entry.bits != 0;
}

void LayerWork::add_blocks(QueryBlock* to) {
  attend_rows_ = device_.attend_rows(static_cast<int>(round_up(width_, kPanel)) / kPanel);
  const auto starts = o_.batch.starts;
  for (int s = 0; s < o_.batch.size(); ++s)
    for (int row = starts[s]; row < starts[s + 1]; row += attend_rows_)
      to[query_blocks_++] = {starts[s], starts[s + 1] - starts[s], row, 0};
}

void LayerWork::locate() {
  for (SliceRange& range : ranges_) {
    for (cl_mem& slot : range.slots)
      if (slot == nullptr) slot = range.slots[0];
    commands_.launch(device_.row_kernels().locate, {static_cast<size_t>(range.count), 1}, {1, 1}, range.slots,
                     workspace_.memory_only(), at(space_.slices).at, at(space_.matrices).at, at(space_.refused).at,
                     range.first, range.count, shape_.hidden, width_, share_);
  }
}

void LayerWork::project(Place x, bool attention) {
  const int out = attention ? width_ : share_, matrices = attention ? 3 : 1;
  const int padded = static_cast<int>(round_up(out, kPanel));
  for (const SliceRange& range : ranges_) {
    const Range groups = {blocks_of(tokens_, tile_.lanes * tile_.rows),
                          blocks_of(int64_t{padded} / kPanel * matrices * range.count, tile_.panels)};
    commands_.launch(kernels_.project, groups, {static_cast<size_t>(tile_.lanes), static_cast<size_t>(tile_.panels)}, x,
                     int64_t{0}, shape_.hidden, range.slots, at(space_.matrices), range.first, range.count,
                     static_cast<int>(attention ? MatrixKind::kQuery : MatrixKind::kUp), matrices, tokens_, shape_.hidden,
                     out, shape_.hidden, residents_, workspace_.memory_only(), at(space_.transposed).at,
                     at(attention ? space_.values : space_.hidden).at, padded, static_cast<int>(space_.row_stride));
  }
}

void LayerWork::attend() {
  const int padded = static_cast<int>(round_up(width_, kPanel)), chunks = padded / kPanel;
  const auto rows = static_cast<size_t>(attend_rows_);
  commands_.launch(device_.row_kernels().attend, {static_cast<size_t>(query_blocks_), o_.weights.size()},
                   {rows, static_cast<size_t>(chunks)}, workspace_.memory_only(), at(space_.blocks).at,
                   at(space_.transposed).at, at(space_.values).at, at(space_.context), tokens_, width_, padded,
                   static_cast<int>(space_.row_stride), 1.0f / std::sqrt(static_cast<float>(width_)),
                   Commands::LocalBytes{rows * static_cast<size_t>(padded) * 4});
}

void LayerWork::reduce(bool attention, Place sums) {
  const int in = attention ? width_ : share_, padded = static_cast<int>(round_up(in, kPanel));
  const Range groups = {blocks_of(tokens_, tile_.lanes * tile_.rows),
                        blocks_of(blocks_of(shape_.hidden, kPanel), tile_.panels)};
  for (const SliceRange& range : ranges_) {
    const int resume = range.first > 0, as_f64 = op_ != Op::kLayer && &range == &ranges_.back();
    commands_.launch(kernels_.reduce, groups, {static_cast<size_t>(tile_.lanes), static_cast<size_t>(tile_.panels)},
                     at(attention ? space_.context : space_.hidden), int64_t{tokens_} * padded, padded, range.slots,
                     at(space_.matrices), range.first, range.count,
                     static_cast<int>(attention ? MatrixKind::kOutput : MatrixKind::kDown), 1, tokens_, in, shape_.hidden,
                     shape_.hidden, sums, resume, as_f64);
  }
}

void LayerWork::combine(Place residual, int64_t biases, Place out) {
  commands_.launch(device_.row_kernels().combine, {static_cast<size_t>(tokens_), 1},
                   {static_cast<size_t>(device_.row_lanes()), 1}, at(space_.sums), residual, residents_.plus(biases * 4),
                   out, shape_.hidden, static_cast<float>(shape_.layer_norm_eps));
}

}  // namespace

void record_layer(Device& device, Commands& commands, Op op, const Operands& operands) {
  LayerWork(device, commands, op, operands).record();
}

}  // namespace tessera::opencl
