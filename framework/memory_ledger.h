// Accounts the bytes of a run: grants reservations in plan order, takes back releases, remembers the peaks.
#pragma once

#include <set>
#include <span>
#include <string>
#include <vector>

#include "framework/executor.h"

namespace tessera {

// One per run. Not thread-safe: the wall executor calls it under its lock.
//
// A cancelled task never took its reservation, but a task after it may release those bytes all the same. `phantom` counts
// them, and releases of cancelled tasks draw on it first. So what is accounted is never less than what is really held, and
// it is exact again once the cancelled tasks have ended.
class MemoryLedger {
 public:
  MemoryLedger(const TaskGraph& graph, const RunLimits& limits);

  // Whether the task's reservation is next in its memory's order and fits; false once granted. True without a reservation.
  bool grantable(const Task& task) const;
  // Takes the reservation; only where grantable().
  void grant(const Task& task);
  // A task that was granted has ended, well or not: gives back what it was the last to need.
  void end(const Task& task);
  // A task that was granted never ended: its device may still use its bytes, so they stay accounted for the whole run.
  void abandon(const Task& task);
  // A task that never started, whose predecessors have all ended: passes its turn on and settles its bytes.
  void skip(const Task& task);

  // Some of the graph's reservations have been rewritten: those that became nothing lose their turn.
  void revised();
  void set_capacity(MemoryId memory, Bytes capacity) { memories_[memory].capacity = capacity.n; }

  // "needs 2.1 MiB of memory 0, 1.4 MiB free of 8.0 MiB"
  std::string shortage(const Task& task) const;
  const std::vector<Bytes>& peaks() const { return peaks_; }

 private:
  struct Memory {
    int64_t capacity = 0, used = 0, phantom = 0;
    std::span<const TaskId> order;  // reservations still to be granted begin at `next`
    size_t next = 0;
    std::set<TaskId> skipped;  // cancelled before their turn
  };
  void advance(Memory& memory) const;
  const TaskGraph& graph_;
  std::vector<Memory> memories_;
  std::vector<Bytes> peaks_;
};

}  // namespace tessera
