// Computes start and end times by recurrence, in order of start.
#include "framework/replay.h"

#include <algorithm>
#include <queue>

#include "framework/saturating.h"

namespace tessera {
namespace {

// A moment: a time, and which round of it. What lasts no time ends one round after it started; all ends of a round come
// before its starts. Ordered as pairs.
struct Moment {
  Duration time;
  uint32_t round = 0;
  auto operator<=>(const Moment&) const = default;
  Moment after(Duration d) const {
    const Duration end = saturating_add(time, d);
    return end == time ? Moment{time, round + 1} : Moment{end, 0};
  }
};
constexpr Moment kNever{kForever, UINT32_MAX};

struct Release {
  Moment at;
  int64_t bytes;
  bool operator>(const Release& o) const { return at > o.at; }
};

struct Memory {
  int64_t capacity = kUnlimited.n, used = 0, peak = 0;
  size_t granted = 0;  // of graph.grants(memory), those that were revised to nothing included
  Moment last_grant;
  std::priority_queue<Release, std::vector<Release>, std::greater<>> releases;  // of resolved tasks, not yet applied

  void apply_until(Moment t) {
    for (; !releases.empty() && releases.top().at <= t; releases.pop())
      used = saturating_subtract(used, releases.top().bytes);
  }
  bool fits(int64_t bytes) const { return bytes <= saturating_subtract(capacity, used); }
};

// Tasks are resolved (given their start and end) in ascending order of start. Whatever is not resolved yet starts no earlier
// than the moment at hand and ends after it, so all that can influence that moment is known.
class Recurrence {
 public:
  Recurrence(const TaskGraph& graph, const std::vector<Bytes>& capacity, const std::vector<Bytes>& held)
      : graph_(graph),
        memories_(std::max({static_cast<size_t>(graph.memory_count()), capacity.size(), held.size()})),
        ready_(graph.size()),
        missing_(graph.size()),
        position_(graph.device_count()),
        free_(graph.device_count()) {
    for (size_t m = 0; m < capacity.size(); ++m) memories_[m].capacity = capacity[m].n;
    for (size_t m = 0; m < held.size(); ++m) memories_[m].used = memories_[m].peak = held[m].n;
    for (TaskId id = 0; id < graph.size(); ++id) missing_[id] = graph.predecessor_count(id);
    timeline_.start.resize(graph.size());
    timeline_.end.resize(graph.size());
    for (size_t m = 0; m < memories_.size(); ++m) pass_over(static_cast<MemoryId>(m));
  }

  // Resolves what has started as it was; nothing else starts before `now`.
  void resume(const RunProgress& progress) {
    const Moment now{progress.now, 0};
    std::fill(ready_.begin(), ready_.end(), now);
    for (TaskId id = 0; id < graph_.size(); ++id) {
      if (progress.start[id] == kForever) continue;
      const Task& task = graph_.task(id);
      const bool ended = progress.end[id] != kForever;
      if (task.reserve > 0) {
        Memory& memory = memories_[task.memory];
        memory.used = saturating_add(memory.used, task.reserve);
        ++memory.granted;
        pass_over(task.memory);
      }
      Moment end{progress.end[id], 0};
      if (!ended) end = std::max(Moment{saturating_add(progress.start[id], task.planned), 0}, Moment{progress.now, 1});
      settle(task, {progress.start[id], 0}, end, ended);
      ++resolved_;
    }
    for (Memory& memory : memories_) {
      memory.last_grant = now;
      memory.peak = memory.used;
    }
  }

  Result<Timeline> solve() {
    while (resolved_ < graph_.size()) {
      const auto [moment, id] = earliest();
      if (moment == kNever) return stuck();
      resolved_ += resolve(graph_.task(id), moment);
    }
    for (const Memory& memory : memories_) timeline_.peak.push_back({memory.peak});
    return std::move(timeline_);
  }

 private:
  struct Candidate {
    Moment moment = kNever;
    TaskId id = kNoTask;
  };

  Candidate earliest() {
    Candidate best;
    for (int d = 0; d < graph_.device_count(); ++d) {
      const std::span<const TaskId> lane = graph_.lane(static_cast<DeviceId>(d));
      if (position_[d] == lane.size()) continue;
      const TaskId id = lane[position_[d]];
      if (missing_[id] > 0) continue;
      const Moment moment = possible(graph_.task(id), std::max(ready_[id], free_[d]));
      if (moment < best.moment) best = {moment, id};
    }
    return best;
  }

  // When the task might start at the earliest, by what is known; kNever where that is not known yet.
  Moment possible(const Task& task, Moment ready) {
    if (task.reserve == 0) return ready;
    Memory& memory = memories_[task.memory];
    if (graph_.grants(task.memory)[memory.granted] != task.id) return kNever;
    const Moment turn = std::max(ready, memory.last_grant);
    memory.apply_until(turn);
    if (memory.fits(task.reserve)) return turn;
    return memory.releases.empty() ? kNever : memory.releases.top().at;
  }

  // True where the task starts at `moment`; false where its bytes do not suffice even then.
  bool resolve(const Task& task, Moment moment) {
    if (task.reserve > 0) {
      Memory& memory = memories_[task.memory];
      memory.apply_until(moment);
      memory.last_grant = moment;
      if (!memory.fits(task.reserve)) return false;
      memory.used = saturating_add(memory.used, task.reserve);
      memory.peak = std::max(memory.peak, memory.used);
      ++memory.granted;
      pass_over(task.memory);
    }
    settle(task, moment, moment.after(task.planned), false);
    return true;
  }

  // `released`: what the task gives back is back already.
  void settle(const Task& task, Moment start, Moment end, bool released) {
    if (task.release > 0) {
      Memory& memory = memories_[task.release_memory];
      if (released)
        memory.used = saturating_subtract(memory.used, task.release);
      else
        memory.releases.push({end, task.release});
    }
    for (const TaskId next : graph_.successors(task.id)) {
      ready_[next] = std::max(ready_[next], end);
      --missing_[next];
    }
    free_[task.cost.device] = end;
    ++position_[task.cost.device];
    timeline_.start[task.id] = start.time;
    timeline_.end[task.id] = end.time;
    timeline_.makespan = std::max(timeline_.makespan, end.time);
  }

  // Whose reservation was revised to nothing needs no turn.
  void pass_over(MemoryId m) {
    const std::span<const TaskId> order = graph_.grants(m);
    size_t& granted = memories_[m].granted;
    while (granted < order.size() && graph_.task(order[granted]).reserve == 0) ++granted;
  }

  // The least unresolved task heads its lane and has all its predecessors; only bytes can be missing.
  Error stuck() const {
    TaskId first = kNoTask;
    for (int d = 0; d < graph_.device_count(); ++d) {
      const std::span<const TaskId> lane = graph_.lane(static_cast<DeviceId>(d));
      if (position_[d] < lane.size()) first = std::min(first, lane[position_[d]]);
    }
    const Task& task = graph_.task(first);
    const Memory& memory = memories_[task.memory];
    return {ErrorCode::kInfeasible, "task " + std::to_string(first) + " '" + graph_.name(first) + "' needs " +
                                        to_string(Bytes{task.reserve}) + " of memory " + std::to_string(task.memory) + ", " +
                                        to_string(Bytes{saturating_subtract(memory.capacity, memory.used)}) + " free of " +
                                        to_string(Bytes{memory.capacity}) + "; raise --memory or lower the bits"};
  }

  const TaskGraph& graph_;
  std::vector<Memory> memories_;
  std::vector<Moment> ready_;      // by task: latest end of its resolved predecessors
  std::vector<uint32_t> missing_;  // by task: predecessors not resolved
  std::vector<size_t> position_;   // by device: head of its lane
  std::vector<Moment> free_;       // by device: end of the last resolved task
  size_t resolved_ = 0;
  Timeline timeline_;
};

}  // namespace

Result<Timeline> replay(const TaskGraph& graph, const std::vector<Bytes>& capacity, const std::vector<Bytes>& held) {
  return Recurrence(graph, capacity, held).solve();
}

Result<Timeline> replay_rest(const TaskGraph& graph, const std::vector<Bytes>& capacity, const std::vector<Bytes>& held,
                             const RunProgress& progress) {
  Recurrence rest(graph, capacity, held);
  rest.resume(progress);
  return rest.solve();
}

}  // namespace tessera
