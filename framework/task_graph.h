// Holds an immutable graph of tasks: flat arrays, built once, run many times, shared by threads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "framework/result.h"
#include "framework/task.h"

namespace tessera {

// Immutable after build(), and safe to read from any thread; but for a run's own copy, which revise() rewrites.
class TaskGraph {
 public:
  size_t size() const { return tasks_.size(); }
  const Task& task(TaskId id) const { return tasks_[id]; }
  std::span<const Task> tasks() const { return tasks_; }
  std::span<const TaskId> successors(TaskId id) const;
  uint32_t predecessor_count(TaskId id) const { return predecessors_[id]; }
  // Tasks of a device in id order: each device runs its tasks in exactly this order.
  std::span<const TaskId> lane(DeviceId device) const;
  int device_count() const { return static_cast<int>(lane_offset_.size()) - 1; }
  // Tasks with reserve > 0 in a memory, in id order: the order in which reservations are granted.
  std::span<const TaskId> grants(MemoryId memory) const;
  int memory_count() const { return static_cast<int>(grant_offset_.size()) - 1; }

  // What a task must wait for beyond its own lane's order: the last predecessor on each other device, without those that an
  // earlier task of its lane already waited for. Since every lane ends its tasks in id order, these imply all predecessors.
  std::span<const TaskId> joins(TaskId id) const;

  // Level of each task: 0 without predecessors, else 1 + the largest of its predecessors'.
  std::vector<uint32_t> levels() const;
  // Longest path by `planned`: a lower bound on the makespan.
  Duration critical_path() const;
  // Gives the task of this id other bits, slices, cost, estimate, duration and bytes. Device, kind, memories, edges and
  // order stay; a reservation may become nothing, not begin. Writes those members alone, so that others can be read
  // meanwhile.
  void revise(const Task& revised);
  // Bytes that the graph holds, all arrays included, per node.
  double bytes_per_node() const;
  // "load L3 6b [0-5]", "rows", "layer L3", "attention L3 [0-3]": names a task in messages and traces.
  std::string name(TaskId id) const;

 private:
  friend class TaskGraphBuilder;
  std::vector<Task> tasks_;
  std::vector<uint32_t> predecessors_;    // count per task
  std::vector<uint32_t> edge_offset_{0};  // [size + 1] into edges_
  std::vector<TaskId> edges_;             // successors
  std::vector<uint32_t> join_offset_{0};  // [size + 1] into joins_
  std::vector<TaskId> joins_;
  std::vector<uint32_t> lane_offset_{0};  // [devices + 1] into lanes_
  std::vector<TaskId> lanes_;
  std::vector<uint32_t> grant_offset_{0};  // [memories + 1] into grants_
  std::vector<TaskId> grants_;
};

// Not thread-safe. Add tasks in plan order, then edges, then build.
class TaskGraphBuilder {
 public:
  void reserve(size_t tasks, size_t edges);
  // Takes the task, assigns and returns its id.
  TaskId add(Task task);
  // `before` must end before `after` starts. Needs before < after (checked by build).
  void depend(TaskId after, TaskId before) { edges_.push_back({before, after}); }
  // kInvalid where an edge points backwards or to a task that does not exist, or where a reservation, a release or a planned
  // duration is negative. Leaves the builder empty.
  Result<TaskGraph> build();

 private:
  struct Edge {
    TaskId from, to;
  };
  static Status group(TaskGraph& graph);
  static void join(TaskGraph& graph, const std::vector<Edge>& edges);
  std::vector<Task> tasks_;
  std::vector<Edge> edges_;
};

}  // namespace tessera
