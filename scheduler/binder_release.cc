// Settles what a task or a request leaves: gives memory back, keeps it for the next request, or leaves it to a device.
#include <algorithm>

#include "scheduler/binder.h"

namespace tessera {

void RequestBinder::ended(const Task& task, TaskState state) {
  if (state == TaskState::kRunning) return keep_given(task);
  const bool done = state == TaskState::kDone;
  switch (task.cost.op) {
    case Op::kLoadShards:
      for_each_slice(task.slice_set, [&](int slice) {
        for (Piece* piece : {&shard(task.layer, slice), &staged(task.layer, slice)}) {
          piece->ready = piece->owned && done;
          if (!done) give_back(*piece);
        }
      });
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
    case Op::kTransfer:
      if (done && task.payload == Payload::kWeights)
        for_each_slice(task.slice_set, [&](int slice) {
          Piece& from = staged(task.layer, slice);
          if (!from.owned) drop_resident({task.layer, static_cast<int16_t>(slice)});
          give_back(from);
          shard(task.layer, slice).ready = true;
        });
      return;
    case Op::kLayer:
    case Op::kFfnPart:
      if (done) give_back_part(task);
      return;
    default:
      return;
  }
}

void RequestBinder::set_hidden(const std::vector<float>& hidden) {
  std::copy(hidden.begin(), hidden.end(), at(kHostSpace, Payload::kHidden).as<float>());
}

std::vector<float> RequestBinder::hidden() const {
  if (sizes_.host.hidden == 0) return {};
  const float* x = reinterpret_cast<const float*>(fixed_.buffer.host);
  return {x, x + ids_.size() * static_cast<size_t>(store_.shape().hidden)};
}

void RequestBinder::salvage(int layer) {
  for (int l = 0; l < plan_.depth; ++l)
    for (int j = 0; j < plan_.slices; ++j)
      for (Piece* piece : {&shard(l, j), &staged(l, j)}) {
        const bool wanted = l < layer ? kept_[index(l, j)] : piece->space == kHostSpace;
        if (!piece->owned || !piece->ready || !wanted) continue;
        const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
        residents_.hold(id, {piece->buffer, piece->space, plan_.bits_of(id), false, piece->bytes});
        piece->owned = false;
      }
}

Bytes RequestBinder::left_behind() const {
  int64_t bytes = 0;
  for (const std::vector<Piece>* pieces : {&shards_, &staged_})
    for (const Piece& piece : *pieces) bytes += piece.owned && piece.space == kHostSpace ? piece.bytes : 0;
  for (const Piece* piece : {&rows_, &exit_, &fixed_}) bytes += piece->owned ? piece->bytes : 0;
  return {bytes};
}

void RequestBinder::keep() {
  for (int l = 0; l < plan_.depth; ++l)
    for (int j = 0; j < plan_.slices; ++j) {
      Piece& piece = shard(l, j);
      if (!piece.owned) continue;
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(j)};
      residents_.hold(id, {piece.buffer, piece.space, plan_.bits_of(id), false, piece.bytes});
      piece.owned = false;
    }
  if (exit_.owned) residents_.hold_exit(plan_.depth, exit_.buffer.host, exit_.buffer.bytes.n);
  exit_.owned = false;
}

std::vector<float> RequestBinder::logits() const {
  const int64_t offset = sizes_.host.total() - sizes_.host.logits;
  const float* at = reinterpret_cast<const float*>(fixed_.buffer.host + offset);
  return {at, at + store_.shape().labels};
}

void RequestBinder::give_back(Piece& piece) {
  if (!piece.owned) return;
  if (piece.space == kHostSpace)
    arena_.release(piece.buffer.host, piece.bytes);
  else
    pool_.give(piece.space, piece.buffer);
  piece = {};
}

void RequestBinder::drop_resident(ShardId id) {
  const std::lock_guard lock(residents_mutex_);
  residents_.drop(id);
}

// Given up: its device may use what it was given for ever, so residents become the request's, and nobody drops them.
void RequestBinder::keep_given(const Task& task) {
  abandoned_ = true;
  const std::lock_guard lock(residents_mutex_);
  for_each_slice(task.slice_set, [&](int slice) {
    for (Piece* piece : {&shard(task.layer, slice), &staged(task.layer, slice)})
      if (!piece->owned && piece->bytes > 0) piece->owned = residents_.let_go({task.layer, static_cast<int16_t>(slice)});
  });
  if (task.cost.op != Op::kExit || exit_.owned) return;
  exit_.bytes = exit_.buffer.bytes.n;
  exit_.owned = residents_.let_go_exit(plan_.depth);
}

// The part was the last to need them; what the plan keeps stays, owned by the request or by the residents.
void RequestBinder::give_back_part(const Task& task) {
  for_each_slice(task.slice_set, [&](int slice) {
    if (kept_[index(task.layer, slice)]) return;
    Piece& piece = shard(task.layer, slice);
    if (piece.owned)
      give_back(piece);
    else if (piece.bytes > 0)
      drop_resident({task.layer, static_cast<int16_t>(slice)});
  });
}

}  // namespace tessera
