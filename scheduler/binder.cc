// Binds a request's tasks to memory: loads get pieces of the arena as they start, computes find what the loads brought.
#include "scheduler/binder.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace tessera {
RequestBinder::RequestBinder(const BinderInputs& inputs)
    : store_(inputs.store),
      platform_(inputs.platform),
      plan_(inputs.plan),
      graph_(inputs.graph),
      sizes_(inputs.buffers),
      arena_(inputs.arena),
      pool_(inputs.pool),
      residents_(inputs.residents),
      ids_(inputs.ids),
      types_(inputs.types),
      bound_(inputs.graph.size()),
      shards_(inputs.plan.bits.size()),
      staged_(inputs.plan.bits.size()),
      kept_(inputs.plan.bits.size()),
      staged_by_host_(inputs.plan.bits.size()),
      starts_{0, static_cast<int32_t>(inputs.ids.size())} {
  for (size_t i = 0; i < plan_.bits.size(); ++i) {
    const ShardId id{static_cast<int16_t>(i / plan_.slices), static_cast<int16_t>(i % plan_.slices)};
    if (plan_.bits[i] != kAbsent) staged_by_host_[i] = plan_.space_of(platform_, id) != kHostSpace;
  }
  for (const ShardId id : plan_.keep) kept_[index(id.layer, id.slice)] = true;
  for (const ResidentShard& held : residents_.residency().shards) {
    if (!plan_.uses(platform_, held)) continue;
    const bool in_place = held.space == plan_.space_of(platform_, held.id);
    Piece& piece = in_place ? shard(held.id.layer, held.id.slice) : staged(held.id.layer, held.id.slice);
    piece.buffer = residents_.find(held.id)->buffer;
    piece.bytes = held.bytes.n;
    piece.space = held.space;
    piece.decoded = held.decoded;
  }
  if (const ResidencyBuffer::Held* held = residents_.find_exit(plan_.depth); held != nullptr) exit_.buffer = held->buffer;
}

RequestBinder::~RequestBinder() {
  for (std::vector<Piece>* pieces : {&shards_, &staged_})
    for (Piece& piece : *pieces) give_back(piece);
  for (Piece* piece : {&rows_, &exit_, &fixed_}) give_back(*piece);
  for (auto& [device, piece] : own_fixed_) give_back(piece);
}

Status RequestBinder::prepare() {
  const int64_t bytes = sizes_.host_total().n;
  TESSERA_ASSIGN(fixed_.buffer.host, arena_.allocate(bytes));
  fixed_.buffer.bytes = {bytes};
  fixed_.bytes = bytes;
  fixed_.owned = true;
  int64_t host_at = sizes_.host.total();
  for (size_t d = 0; d < sizes_.workspace.size(); ++d) {
    const auto own = sizes_.own.find(static_cast<DeviceId>(d));
    workspace_at_.push_back(own == sizes_.own.end() ? host_at : own->second.total());
    if (own == sizes_.own.end()) host_at += sizes_.workspace[d];
  }
  for (const auto& [device, buffers] : sizes_.own) {
    const Status taken = take_device_piece(own_fixed_[device], device, sizes_.own_total(device).n);
    if (!taken.ok()) refused_by_ = device;
    TESSERA_TRY(taken);
  }
  return {};
}

Status RequestBinder::take_device_piece(Piece& piece, DeviceId device, int64_t bytes) {
  TESSERA_ASSIGN(piece.buffer, pool_.take(device, bytes));
  piece.bytes = bytes;
  piece.space = device;
  piece.owned = true;
  return {};
}

MemoryRef RequestBinder::at(SpaceId space, Payload payload, int part) {
  const SpaceBuffers& sizes = space == kHostSpace ? sizes_.host : sizes_.own.at(space);
  int64_t offset = 0;
  if (payload >= Payload::kAttended) offset += sizes.hidden;
  if (payload >= Payload::kPartial) offset += sizes.attended;
  if (payload == Payload::kPartial)
    offset += part * align_up({static_cast<int64_t>(ids_.size()) * store_.shape().hidden * 8}, 64).n;
  if (payload == Payload::kLogits) offset += sizes.partials;
  return {space == kHostSpace ? &fixed_.buffer : &own_fixed_.at(space).buffer, offset};
}

MemoryRef RequestBinder::workspace(DeviceId device) {
  const SpaceId space = platform_.space(device);
  return {space == kHostSpace ? &fixed_.buffer : &own_fixed_.at(space).buffer, workspace_at_[device]};
}

Result<Operands> RequestBinder::bind(const Task& task) {
  Bound& bound = bound_[task.id];
  if (task.kind == TaskKind::kLoad) return bind_load(task, bound);
  if (task.kind == TaskKind::kCompute) return bind_compute(task, bound);
  Operands out;
  out.shape = &store_.shape();
  TESSERA_TRY(bind_transfer(task, bound, out));
  return out;
}

Result<Operands> RequestBinder::bind_compute(const Task& task, Bound& bound) {
  const SpaceId space = platform_.space(task.cost.device);
  Operands out;
  out.shape = &store_.shape();
  out.batch.starts = starts_;
  out.workspace = workspace(task.cost.device);
  out.workspace_bytes = sizes_.workspace[task.cost.device];
  out.input = out.output = at(space, Payload::kHidden);
  if (task.layer >= 0) out.residents = &store_.layer_residents(task.layer);
  switch (task.cost.op) {
    case Op::kEmbed:
      bind_embed(out);
      return out;
    case Op::kExit:
      exit_refs_ = store_.exit_refs(exit_.buffer.host);
      out.exit = &exit_refs_;
      out.output = at(space, Payload::kLogits);
      return out;
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

Status RequestBinder::bind_transfer(const Task& task, Bound& bound, Operands& out) {
  if (task.payload == Payload::kWeights) {
    TESSERA_TRY(bind_weights(task, bound));
  } else {
    const MemoryRef host = at(kHostSpace, task.payload, task.part), device = at(task.space, task.payload, task.part);
    bound.moves.push_back({task.cost.to_host ? host : device, task.cost.to_host ? device : host, {task.cost.bytes}});
  }
  out.moves = bound.moves;
  return {};
}

// Coded shards go from host memory, staged there or resident, into buffers of their device.
Status RequestBinder::bind_weights(const Task& task, Bound& bound) {
  Status status;
  for_each_slice(task.slice_set, [&](int slice) {
    Piece& from = staged(task.layer, slice);
    Piece& to = shard(task.layer, slice);
    if (status.ok()) status = take_device_piece(to, task.space, from.bytes);
    if (status.ok()) bound.moves.push_back({{&to.buffer, 0}, {&from.buffer, 0}, {from.bytes}});
  });
  return status;
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
  std::byte* host = nullptr;
  if (task.space == kHostSpace) { TESSERA_ASSIGN(host, arena_.allocate(task.reserve)); }
  Status status;
  for_each_slice(task.slice_set, [&](int slice) {
    const ShardId id{task.layer, static_cast<int16_t>(slice)};
    const Bits bits = plan_.bits_of(id);  // one load's may differ, after a revision
    const int64_t bytes = store_.shape().bytes_of(id, bits).n;
    const bool stage = host != nullptr && staged_by_host_[index(task.layer, slice)];
    Piece& piece = stage ? staged(task.layer, slice) : shard(task.layer, slice);
    if (host != nullptr) {
      piece.buffer.host = host;
      piece.buffer.bytes = {bytes};
      piece.bytes = bytes;
      piece.owned = true;
      host += bytes;
    } else if (status.ok()) {
      status = take_device_piece(piece, task.space, bytes);
    }
    const Status added = status.ok() ? read_into(bound, store_.shard(id, bits), piece, 0, bytes) : status;
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
  rows_.bytes = bytes;
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
  exit_.bytes = task.reserve;
  exit_.owned = true;
  return read_into(bound, store_.exit(plan_.depth), exit_, 0, task.reserve);
}

void RequestBinder::bind_embed(Operands& out) {
  for (const int32_t type : types_) token_type_.push_back(store_.token_type(type));
  row_refs_ = {store_.exact_type(),         word_, position_, token_type_, store_.embedding_norm_weight(),
               store_.embedding_norm_bias()};
  out.rows = &row_refs_;
  out.input = {};
}

void RequestBinder::bind_layer(const Task& task, Bound& bound, Operands& out) {
  for_each_slice(task.slice_set, [&](int slice) {
    Piece& piece = shard(task.layer, slice);
    WeightRef weight;
    weight.slice = slice;
    weight.bits = plan_.bits_of({task.layer, static_cast<int16_t>(slice)});
    weight.form = piece.decoded ? WeightForm::kDecoded : WeightForm::kCoded;
    weight.exact_type = store_.exact_type();
    weight.data = {&piece.buffer, 0};
    weight.bytes = piece.bytes;
    bound.weights.push_back(weight);
  });
  out.weights = bound.weights;
  if (task.cost.op == Op::kLayer) return;
  const SpaceId space = platform_.space(task.cost.device);
  if (task.cost.op == Op::kFfnPart) out.input = at(space, Payload::kAttended);
  out.output = at(space, Payload::kPartial, task.part);
}

void RequestBinder::bind_combine(const Task& task, Bound& bound, Operands& out) {
  const SpaceId space = platform_.space(task.cost.device);
  const int parts = static_cast<int>(plan_.placement[task.layer].size());
  for (int k = 0; k < parts; ++k) bound.partials.push_back(at(space, Payload::kPartial, k));
  out.partials = bound.partials;
  const bool attention = task.cost.slices == 0;
  out.input = at(space, attention ? Payload::kHidden : Payload::kAttended);
  out.output = at(space, attention ? Payload::kAttended : Payload::kHidden);
}

}  // namespace tessera
