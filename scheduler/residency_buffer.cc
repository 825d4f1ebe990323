// Holds and drops resident shards and exit heads; keeps the snapshot that policies see.
#include "scheduler/residency_buffer.h"

#include <utility>
#include <vector>

namespace tessera {

ResidencyBuffer::~ResidencyBuffer() { clear(); }

void ResidencyBuffer::hold(ShardId id, const Held& held) {
  drop(id);
  shards_.insert_or_assign(id, held);
  stale_ = true;
}

void ResidencyBuffer::hold_exit(int depth, std::byte* at, int64_t bytes) {
  drop_exit(depth);
  Held held;
  held.buffer.host = at;
  held.buffer.bytes = {bytes};
  held.bytes = bytes;
  exits_.insert_or_assign(depth, held);
  stale_ = true;
}

void ResidencyBuffer::drop(ShardId id) {
  const auto it = shards_.find(id);
  if (it == shards_.end()) return;
  const Held& held = it->second;
  if (held.space == kHostSpace)
    arena_.release(held.buffer.host, held.bytes);
  else if (held.buffer.bytes.n > 0)
    pool_.give(held.space, held.buffer);
  shards_.erase(it);
  stale_ = true;
}

void ResidencyBuffer::drop_exit(int depth) {
  const auto it = exits_.find(depth);
  if (it == exits_.end()) return;
  arena_.release(it->second.buffer.host, it->second.bytes);
  exits_.erase(it);
  stale_ = true;
}

void ResidencyBuffer::clear() {
  while (!shards_.empty()) drop(shards_.rbegin()->first);
  while (!exits_.empty()) drop_exit(exits_.rbegin()->first);
}

bool ResidencyBuffer::let_go(ShardId id) {
  const bool held = shards_.erase(id) > 0;
  stale_ = stale_ || held;
  return held;
}

bool ResidencyBuffer::let_go_exit(int depth) {
  const bool held = exits_.erase(depth) > 0;
  stale_ = stale_ || held;
  return held;
}

void ResidencyBuffer::drop_space(SpaceId space) {
  std::vector<ShardId> there;
  for (const auto& [id, held] : shards_)
    if (held.space == space) there.push_back(id);
  for (const ShardId id : there) drop(id);
}

void ResidencyBuffer::shrink_to(const Platform& platform, Bytes budget) {
  std::vector<ShardId> charged;
  for (const auto& [id, held] : shards_)
    if (platform.memory(held.space) == 0) charged.push_back(id);
  while (!charged.empty() && residency().charged_to(platform, 0) > budget) {
    drop(charged.back());
    charged.pop_back();
  }
}

Bytes ResidencyBuffer::give_way(const Platform& platform, Bytes bytes) {
  const Bytes before = residency().charged_to(platform, 0) + exit_bytes();
  if (bytes == kUnlimited) {
    clear();
    return before;
  }
  std::vector<std::pair<ShardId, int64_t>> charged;
  for (const auto& [id, held] : shards_)
    if (platform.memory(held.space) == 0) charged.emplace_back(id, held.bytes);
  Bytes freed;
  for (; !charged.empty() && freed < bytes; charged.pop_back()) {
    freed += Bytes{charged.back().second};
    drop(charged.back().first);
  }
  while (!exits_.empty() && freed < bytes) {
    freed += Bytes{exits_.rbegin()->second.bytes};
    drop_exit(exits_.rbegin()->first);
  }
  return freed;
}

const Residency& ResidencyBuffer::residency() const {
  refresh();
  return residency_;
}

const std::string& ResidencyBuffer::fingerprint() const {
  refresh();
  return fingerprint_;
}

ResidencyBuffer::Held* ResidencyBuffer::find(ShardId id) {
  const auto it = shards_.find(id);
  return it == shards_.end() ? nullptr : &it->second;
}

ResidencyBuffer::Held* ResidencyBuffer::find_exit(int depth) {
  const auto it = exits_.find(depth);
  return it == exits_.end() ? nullptr : &it->second;
}

Bytes ResidencyBuffer::exit_bytes() const {
  Bytes sum;
  for (const auto& [depth, held] : exits_) sum += Bytes{held.bytes};
  return sum;
}

void ResidencyBuffer::refresh() const {
  if (!stale_) return;
  stale_ = false;
  residency_ = {};
  fingerprint_.clear();
  for (const auto& [id, held] : shards_) {
    residency_.shards.push_back({id, held.bits, held.decoded, {held.bytes}, held.space});
    for (const int part : {static_cast<int>(id.layer), static_cast<int>(id.slice), static_cast<int>(held.bits)})
      fingerprint_ += std::to_string(part) + '.';
    fingerprint_ += held.decoded ? 'd' : 'c';
    if (held.space != kHostSpace) fingerprint_ += '@' + std::to_string(held.space);
  }
  for (const auto& [depth, held] : exits_) {
    residency_.exits.push_back(depth);
    fingerprint_ += 'e' + std::to_string(depth);
  }
}

}  // namespace tessera
