// Builds small graphs for the framework's tests.
#pragma once

#include <initializer_list>
#include <random>

#include "framework/task_graph.h"

namespace tessera {

struct Node {
  int device = 0;
  int64_t ns = 0;
  std::initializer_list<TaskId> after = {};
  int64_t reserve = 0;
  int64_t release = 0;
  int memory = 0;
};

inline Task make_task(int device, int64_t ns) {
  Task task;
  task.cost.device = static_cast<DeviceId>(device);
  task.cost.op = Op::kLayer;
  task.planned = nanoseconds(ns);
  return task;
}

// Nodes in id order.
inline TaskGraph make_graph(std::initializer_list<Node> nodes) {
  TaskGraphBuilder builder;
  for (const Node& node : nodes) {
    Task task = make_task(node.device, node.ns);
    task.layer = 0;
    task.reserve = node.reserve;
    task.release = node.release;
    task.memory = task.release_memory = static_cast<MemoryId>(node.memory);
    const TaskId id = builder.add(task);
    for (const TaskId before : node.after) builder.depend(id, before);
  }
  return builder.build().take();
}

// What a random graph was made with, so that a failing one can be made again.
struct RandomGraph {
  TaskGraph graph;
  std::vector<Bytes> capacity, held;
};

// Devices 1 to 7, memories 1 to 3, up to 40 tasks, some without duration; reservations are given back by a later task that
// depends on the one that took them. `tight` capacities make some graphs infeasible.
inline RandomGraph random_graph(uint64_t seed, bool tight) {
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t n) { return random() % n; };
  const uint64_t devices = 1 + below(7), memories = 1 + below(3), size = 1 + below(40);
  TaskGraphBuilder builder;
  std::vector<Task> tasks;
  std::vector<std::pair<TaskId, TaskId>> edges;  // after, before
  for (TaskId id = 0; id < size; ++id) {
    Task task = make_task(static_cast<int>(below(devices)), below(4) == 0 ? 0 : static_cast<int64_t>(below(20)));
    for (uint64_t e = below(4); id > 0 && e > 0; --e) edges.push_back({id, static_cast<TaskId>(below(id))});
    tasks.push_back(task);
  }
  for (TaskId id = 0; id < size; ++id) {
    if (below(2) == 0) continue;
    tasks[id].memory = static_cast<MemoryId>(below(memories));
    tasks[id].reserve = 1 + static_cast<int64_t>(below(10));
    if (below(8) == 0) continue;  // never given back
    const TaskId last = static_cast<TaskId>(id + below(size - id));
    if (tasks[last].release > 0 && tasks[last].release_memory != tasks[id].memory) continue;
    tasks[last].release_memory = tasks[id].memory;
    tasks[last].release += tasks[id].reserve;
    if (last != id) edges.push_back({last, id});
  }
  for (const Task& task : tasks) builder.add(task);
  for (const auto& [after, before] : edges) builder.depend(after, before);
  RandomGraph result{builder.build().take(), {}, {}};
  for (uint64_t m = 0; m < memories; ++m) {
    result.held.push_back({static_cast<int64_t>(below(5))});
    result.capacity.push_back({result.held[m].n + static_cast<int64_t>(tight ? 8 + below(25) : 25 + below(80))});
  }
  return result;
}

}  // namespace tessera
