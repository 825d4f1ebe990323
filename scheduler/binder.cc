// Binds a request's tasks to memory: loads get pieces of the arena as they start, computes find what the loads brought.
#include "scheduler/binder.h"

#include <algorithm>
#include <bit>
#include <map>
#include <string>
#include <utility>

namespace tessera {
namespace {

// In the order of its slices.
template <typename Visit>
void for_each_slice(SliceMask set, Visit visit) {
  for (; set != 0; set &= set - 1) visit(std::countr_zero(set));
}

}  // namespace

RequestBinder::RequestBinder(const BinderInputs& inputs)
    : store_(inputs.store),
      plan_(inputs.plan),
      graph_(inputs.graph),
      sizes_(inputs.buffers),
      arena_(inputs.arena),
      residents_(inputs.residents),
      ids_(inputs.ids),
      types_(inputs.types),
      bound_(inputs.graph.size()),
      shards_(inputs.plan.bits.size()),
      kept_(inputs.plan.bits.size()),
      starts_{0, static_cast<int32_t>(inputs.ids.size())} {
  for (const ShardId id : plan_.keep) kept_[static_cast<size_t>(id.layer) * plan_.slices + id.slice] = true;
  for (const ResidentShard& held : residents_.residency().shards) {
    if (held.id.layer >= plan_.depth || plan_.bits_of(held.id) != held.bits) continue;
    shard(held.id.layer, held.id.slice).buffer = residents_.find(held.id)->buffer;
  }
  if (const ResidencyBuffer::Held* held = residents_.find_exit(plan_.depth); held != nullptr) exit_.buffer = held->buffer;
  int part = 0;
  for (const Task& task : graph_.tasks()) {
    const bool is_part = task.cost.op == Op::kAttentionPart || task.cost.op == Op::kFfnPart;
    if (task.cost.op == Op::kCombine) part = 0;
    bound_[task.id].part = is_part ? part++ : 0;
  }
}

RequestBinder::~RequestBinder() {
  for (Piece& piece : shards_) give_back(piece);
  for (Piece* piece : {&rows_, &exit_, &fixed_}) give_back(*piece);
}

Status RequestBinder::prepare() {
  const int64_t bytes = sizes_.total().n;
  TESSERA_ASSIGN(fixed_.buffer.host, arena_.allocate(bytes));
  fixed_.buffer.bytes = {bytes};
  fixed_.owned = true;
  attended_at_ = sizes_.hidden;
  partials_at_ = attended_at_ + sizes_.attended;
  partial_bytes_ = align_up({static_cast<int64_t>(ids_.size()) * store_.shape().hidden * 8}, 64).n;
  logits_at_ = partials_at_ + sizes_.partials;
  int64_t at = logits_at_ + sizes_.logits;
  for (const int64_t workspace : sizes_.workspace) {
    workspace_at_.push_back(at);
    at += workspace;
  }
  return {};
}

Result<Operands> RequestBinder::bind(const Task& task) {
  Bound& bound = bound_[task.id];
  if (task.kind == TaskKind::kLoad) return bind_load(task, bound);
  Operands out;
  out.shape = &store_.shape();
  out.batch.starts = starts_;
  out.workspace = fixed_at(workspace_at_[task.cost.device]);
  out.workspace_bytes = sizes_.workspace[task.cost.device];
  out.input = out.output = fixed_at(0);
  if (task.layer >= 0) out.residents = &store_.layer_residents(task.layer);
  switch (task.cost.op) {
    case Op::kEmbed:
      return bind_embed(out);
    case Op::kExit:
      return bind_exit_head(out);
    case Op::kCombine:
      bind_combine(task, bound, out);
      return out;
    case Op::kLayer:
    case Op::kAttentionPart:
    case Op::kFfnPart:
      bind_layer(task, bound, out);
      return out;
    default:
      return Error{ErrorCode::kInternal, graph_.name(task.id) + ": no operands for such a task"};
  }
}

Result<Operands> RequestBinder::bind_load(const Task& task, Bound& bound) {
  if (task.cost.op == Op::kLoadShards) {
    TESSERA_TRY(bind_shards(task, bound));
  } else if (task.cost.op == Op::kLoadRows) {
    TESSERA_TRY(bind_rows(task, bound));
  } else {
    TESSERA_TRY(bind_exit(task, bound));
  }
  Operands out;
  out.shape = &store_.shape();
  out.reads = bound.reads;
  for (const ReadRequest& read : bound.reads) io_ += Bytes{read.length};
  return out;
}

// Adds the read of one extent to `piece` at `offset`; `room` is what the account reserved for it.
Status RequestBinder::read_into(Bound& bound, const Extent& extent, Piece& piece, int64_t offset, int64_t room) const {
  if (extent.length > room || extent.length <= 0)
    return Error{ErrorCode::kInternal, std::string(extent.file) + " at " + std::to_string(extent.offset) + ": extent of " +
                                           std::to_string(extent.length) + " bytes, the model's shape says " +
                                           std::to_string(room)};
  bound.reads.push_back({extent.fd, extent.offset, extent.length, {&piece.buffer, offset}, extent.checksum, extent.file});
  return {};
}

Status RequestBinder::bind_shards(const Task& task, Bound& bound) {
  TESSERA_ASSIGN(std::byte * at, arena_.allocate(task.reserve));
  Status status;
  for_each_slice(task.slice_set, [&](int slice) {
    const ShardId id{task.layer, static_cast<int16_t>(slice)};
    Piece& piece = shard(task.layer, slice);
    piece.buffer.host = at;
    piece.buffer.bytes = store_.shape().bytes_of(id, task.bits);
    piece.owned = true;
    at += piece.buffer.bytes.n;
    const Status added = read_into(bound, store_.shard(id, task.bits), piece, 0, piece.buffer.bytes.n);
    if (status.ok()) status = added;
  });
  return status;
}

// Distinct blocks are read once, in the order of the file.
Status RequestBinder::bind_rows(const Task& task, Bound& bound) {
  std::vector<RowLocation> rows;  // words, then positions
  for (const int32_t id : ids_) rows.push_back(store_.word_row(id));
  for (size_t t = 0; t < ids_.size(); ++t) rows.push_back(store_.position_row(static_cast<int>(t)));
  std::map<std::pair<int, int64_t>, std::pair<const Extent*, int64_t>> blocks;  // (fd, offset) -> extent, place in rows_
  for (const RowLocation& row : rows) blocks.try_emplace({row.block.fd, row.block.offset}, &row.block, 0);
  int64_t bytes = 0;
  for (auto& [where, block] : blocks) {
    block.second = bytes;
    bytes += block.first->length;
  }
  if (bytes > task.reserve)
    return Error{ErrorCode::kInternal, "rows: " + std::to_string(blocks.size()) + " blocks of " + std::to_string(bytes) +
                                           " bytes; " + std::to_string(task.reserve) + " were reserved"};
  TESSERA_ASSIGN(rows_.buffer.host, arena_.allocate(bytes));
  rows_.buffer.bytes = {bytes};
  rows_.owned = true;
  for (const auto& [where, block] : blocks) TESSERA_TRY(read_into(bound, *block.first, rows_, block.second, bytes));
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t at = blocks.at({rows[i].block.fd, rows[i].block.offset}).second + rows[i].offset;
    (i < ids_.size() ? word_ : position_).push_back(rows_.buffer.host + at);
  }
  return {};
}

Status RequestBinder::bind_exit(const Task& task, Bound& bound) {
  TESSERA_ASSIGN(exit_.buffer.host, arena_.allocate(task.reserve));
  exit_.buffer.bytes = {task.reserve};
  exit_.owned = true;
  return read_into(bound, store_.exit(plan_.depth), exit_, 0, task.reserve);
}

Operands RequestBinder::bind_embed(Operands out) {
  for (const int32_t type : types_) token_type_.push_back(store_.token_type(type));
  row_refs_ = {store_.exact_type(),         word_, position_, token_type_, store_.embedding_norm_weight(),
               store_.embedding_norm_bias()};
  out.rows = &row_refs_;
  out.input = {};
  return out;
}

Operands RequestBinder::bind_exit_head(Operands out) {
  exit_refs_ = store_.exit_refs(exit_.buffer.host);
  out.exit = &exit_refs_;
  out.output = fixed_at(logits_at_);
  return out;
}

void RequestBinder::bind_layer(const Task& task, Bound& bound, Operands& out) {
  for_each_slice(task.slice_set, [&](int slice) {
    const ShardId id{task.layer, static_cast<int16_t>(slice)};
    Piece& piece = shard(task.layer, slice);
    const ResidencyBuffer::Held* held = piece.owned ? nullptr : residents_.find(id);
    WeightRef weight;
    weight.slice = slice;
    weight.bits = plan_.bits_of(id);
    weight.form = held != nullptr && held->decoded ? WeightForm::kDecoded : WeightForm::kCoded;
    weight.exact_type = store_.exact_type();
    weight.data = {&piece.buffer, 0};
    weight.bytes = piece.buffer.bytes.n;
    bound.weights.push_back(weight);
  });
  out.weights = bound.weights;
  if (task.cost.op == Op::kLayer) return;
  if (task.cost.op == Op::kFfnPart) out.input = fixed_at(attended_at_);
  out.output = partial(bound.part);
}

void RequestBinder::bind_combine(const Task& task, Bound& bound, Operands& out) {
  const int parts = static_cast<int>(plan_.placement[task.layer].size());
  for (int k = 0; k < parts; ++k) bound.partials.push_back(partial(k));
  out.partials = bound.partials;
  const bool attention = task.cost.slices == 0;
  out.input = attention ? fixed_at(0) : fixed_at(attended_at_);
  out.output = attention ? fixed_at(attended_at_) : fixed_at(0);
}

void RequestBinder::ended(const Task& task, TaskState state) {
  if (state == TaskState::kRunning) abandoned_ = true;  // given up: what it was given stays as it is
  if (state == TaskState::kRunning) return;
  const bool done = state == TaskState::kDone;
  switch (task.cost.op) {
    case Op::kLoadShards:
      if (!done) for_each_slice(task.slice_set, [&](int slice) { give_back(shard(task.layer, slice)); });
      return;
    case Op::kLoadRows:
      if (!done) give_back(rows_);
      return;
    case Op::kLoadExit:
      if (!done) give_back(exit_);
      return;
    case Op::kEmbed:
      give_back(rows_);
      return;
    case Op::kLayer:
      if (done) give_back_layer(task.layer);
      return;
    case Op::kCombine:
      if (done && task.cost.slices == 1) give_back_layer(task.layer);
      return;
    default:
      return;
  }
}

void RequestBinder::keep() {
  for (int l = 0; l < plan_.depth; ++l)
    for (int j = 0; j < plan_.slices; ++j) {
      Piece& piece = shard(l, j);
      if (!piece.owned) continue;
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      residents_.hold(id, plan_.bits_of(id), false, piece.buffer.host, piece.buffer.bytes.n);
      piece.owned = false;
    }
  if (exit_.owned) residents_.hold_exit(plan_.depth, exit_.buffer.host, exit_.buffer.bytes.n);
  exit_.owned = false;
}

std::vector<float> RequestBinder::logits() const {
  const float* at = reinterpret_cast<const float*>(fixed_.buffer.host + logits_at_);
  return {at, at + store_.shape().labels};
}

void RequestBinder::give_back(Piece& piece) {
  if (!piece.owned) return;
  arena_.release(piece.buffer.host, piece.buffer.bytes.n);
  piece = {};
}

// The layer was the last to need them; what the plan keeps stays, owned by the request or by the residents.
void RequestBinder::give_back_layer(int layer) {
  for (int j = 0; j < plan_.slices; ++j) {
    if (kept_[static_cast<size_t>(layer) * plan_.slices + j]) continue;
    Piece& piece = shard(layer, j);
    if (piece.owned)
      give_back(piece);
    else if (piece.buffer.host != nullptr)
      residents_.drop({static_cast<int16_t>(layer), static_cast<int16_t>(j)});
  }
}

}  // namespace tessera
