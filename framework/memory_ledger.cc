// Grants reservations in plan order.
#include "framework/memory_ledger.h"

#include <algorithm>

#include "framework/saturating.h"

namespace tessera {

MemoryLedger::MemoryLedger(const TaskGraph& graph, const RunLimits& limits) : graph_(graph) {
  const size_t count = std::max({static_cast<size_t>(graph.memory_count()), limits.capacity.size(), limits.held.size()});
  memories_.resize(count);
  peaks_.resize(count);
  for (size_t m = 0; m < count; ++m) {
    Memory& memory = memories_[m];
    memory.capacity = m < limits.capacity.size() ? limits.capacity[m].n : kUnlimited.n;
    memory.used = m < limits.held.size() ? limits.held[m].n : 0;
    if (m < static_cast<size_t>(graph.memory_count())) memory.order = graph.grants(static_cast<MemoryId>(m));
    peaks_[m] = {memory.used};
    advance(memory);
  }
}

bool MemoryLedger::grantable(const Task& task) const {
  if (task.reserve == 0) return true;
  const Memory& memory = memories_[task.memory];
  return memory.next < memory.order.size() && memory.order[memory.next] == task.id &&
         task.reserve <= saturating_subtract(memory.capacity, memory.used);
}

void MemoryLedger::grant(const Task& task) {
  if (task.reserve == 0) return;
  Memory& memory = memories_[task.memory];
  memory.used = saturating_add(memory.used, task.reserve);
  peaks_[task.memory].n = std::max(peaks_[task.memory].n, memory.used);
  ++memory.next;
  advance(memory);
}

void MemoryLedger::end(const Task& task) {
  if (task.release == 0) return;
  Memory& memory = memories_[task.release_memory];
  memory.used = saturating_subtract(memory.used, task.release);
}

void MemoryLedger::abandon(const Task& task) {
  if (task.reserve == 0) return;
  Memory& memory = memories_[task.memory];
  memory.phantom = saturating_add(memory.phantom, task.reserve);
}

void MemoryLedger::skip(const Task& task) {
  if (task.reserve > 0) {
    Memory& memory = memories_[task.memory];
    memory.phantom = saturating_add(memory.phantom, task.reserve);
    memory.skipped.insert(task.id);
    advance(memory);
  }
  if (task.release > 0) {
    Memory& memory = memories_[task.release_memory];
    const int64_t unreal = std::min(task.release, memory.phantom);
    memory.phantom -= unreal;
    memory.used = saturating_subtract(memory.used, task.release - unreal);
  }
}

void MemoryLedger::revised() {
  for (Memory& memory : memories_) advance(memory);
}

// Passes over who needs no turn any more.
void MemoryLedger::advance(Memory& memory) const {
  const auto gone = [&](TaskId id) { return graph_.task(id).reserve == 0 || memory.skipped.erase(id) > 0; };
  while (memory.next < memory.order.size() && gone(memory.order[memory.next])) ++memory.next;
}

std::string MemoryLedger::shortage(const Task& task) const {
  const Memory& memory = memories_[task.memory];
  return "needs " + to_string(Bytes{task.reserve}) + " of memory " + std::to_string(task.memory) + ", " +
         to_string(Bytes{saturating_subtract(memory.capacity, memory.used)}) + " free of " +
         to_string(Bytes{memory.capacity});
}

}  // namespace tessera
