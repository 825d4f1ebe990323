// Builds task graphs into flat arrays and answers questions about them.
#include "framework/task_graph.h"

#include <algorithm>

namespace tessera {
namespace {

// "[0-3,7]": the slices of a set, runs folded.
std::string slices_text(SliceMask set) {
  std::string text = "[";
  for (int j = 0; j < kMaxSlices; ++j) {
    if (!(set >> j & 1)) continue;
    int last = j;
    while (last + 1 < kMaxSlices && (set >> (last + 1) & 1)) ++last;
    if (text.size() > 1) text += ',';
    text += std::to_string(j);
    if (last > j) text += '-' + std::to_string(last);
    j = last;
  }
  return text + ']';
}

std::string depth_text(const Task& task) { return task.layer < 0 ? "" : ' ' + std::to_string(task.layer + 1); }

// Turns counts at [i + 1] into offsets: offset[i] is where group i starts.
void accumulate(std::vector<uint32_t>& counts) {
  for (size_t i = 1; i < counts.size(); ++i) counts[i] += counts[i - 1];
}

template <typename T>
size_t bytes_of(const std::vector<T>& v) {
  return v.size() * sizeof(T);
}

Error invalid(TaskId id, const std::string& what) {
  return {ErrorCode::kInvalid, "task graph: task " + std::to_string(id) + ' ' + what};
}

Status check_task(const Task& task) {
  if (task.reserve < 0) return invalid(task.id, "reserves " + std::to_string(task.reserve) + " bytes; must be 0 or more");
  if (task.release < 0) return invalid(task.id, "releases " + std::to_string(task.release) + " bytes; must be 0 or more");
  if (task.planned < Duration{})
    return invalid(task.id, "is planned to last " + to_string(task.planned) + "; must be 0 or more");
  return {};
}

}  // namespace

std::span<const TaskId> TaskGraph::successors(TaskId id) const {
  return {edges_.data() + edge_offset_[id], edge_offset_[id + 1] - edge_offset_[id]};
}

std::span<const TaskId> TaskGraph::lane(DeviceId device) const {
  if (device >= device_count()) return {};
  return {lanes_.data() + lane_offset_[device], lane_offset_[device + 1] - lane_offset_[device]};
}

std::span<const TaskId> TaskGraph::grants(MemoryId memory) const {
  if (memory >= memory_count()) return {};
  return {grants_.data() + grant_offset_[memory], grant_offset_[memory + 1] - grant_offset_[memory]};
}

std::vector<uint32_t> TaskGraph::levels() const {
  std::vector<uint32_t> level(size(), 0);
  for (TaskId id = 0; id < size(); ++id)  // ids are a topological order
    for (const TaskId next : successors(id)) level[next] = std::max(level[next], level[id] + 1);
  return level;
}

Duration TaskGraph::critical_path() const {
  std::vector<Duration> ready(size());
  Duration longest;
  for (TaskId id = 0; id < size(); ++id) {
    const Duration planned = tasks_[id].planned;
    const Duration end = planned > kForever - ready[id] ? kForever : ready[id] + planned;
    longest = std::max(longest, end);
    for (const TaskId next : successors(id)) ready[next] = std::max(ready[next], end);
  }
  return longest;
}

double TaskGraph::bytes_per_node() const {
  if (tasks_.empty()) return 0;
  const size_t total = bytes_of(tasks_) + bytes_of(predecessors_) + bytes_of(edge_offset_) + bytes_of(edges_) +
                       bytes_of(lane_offset_) + bytes_of(lanes_) + bytes_of(grant_offset_) + bytes_of(grants_);
  return static_cast<double>(total) / static_cast<double>(size());
}

std::string TaskGraph::name(TaskId id) const {
  const Task& t = tasks_[id];
  const std::string layer = " L" + std::to_string(t.layer);
  switch (t.cost.op) {
    case Op::kLoadShards:
      return "load" + layer + ' ' + std::to_string(t.bits) + "b " + slices_text(t.slice_set);
    case Op::kLoadRows:
      return "rows";
    case Op::kLoadExit:
      return "load exit" + depth_text(t);
    case Op::kTransfer:
      return "transfer" + (t.layer < 0 ? "" : layer);
    case Op::kEmbed:
      return "embed";
    case Op::kLayer:
      return "layer" + layer;
    case Op::kAttentionPart:
      return "attention" + layer + ' ' + slices_text(t.slice_set);
    case Op::kFfnPart:
      return "ffn" + layer + ' ' + slices_text(t.slice_set);
    case Op::kCombine:
      return (t.cost.slices == 0 ? "combine attention" : "combine ffn") + layer;
    case Op::kExit:
      return "exit" + depth_text(t);
  }
  return "task " + std::to_string(id);
}

void TaskGraphBuilder::reserve(size_t tasks, size_t edges) {
  tasks_.reserve(tasks);
  edges_.reserve(edges);
}

TaskId TaskGraphBuilder::add(Task task) {
  task.id = static_cast<TaskId>(tasks_.size());
  tasks_.push_back(task);
  return task.id;
}

Result<TaskGraph> TaskGraphBuilder::build() {
  TaskGraph graph;
  graph.tasks_ = std::move(tasks_);
  const std::vector<Edge> edges = std::move(edges_);
  tasks_.clear();
  edges_.clear();
  const size_t n = graph.tasks_.size();
  if (n >= kNoTask) return Error{ErrorCode::kInvalid, "task graph: " + std::to_string(n) + " tasks; at most 2^32 - 2"};

  // Successors in CSR form, each list in the order in which its edges were added.
  graph.predecessors_.assign(n, 0);
  graph.edge_offset_.assign(n + 1, 0);
  for (const Edge& e : edges) {
    if (e.to >= n) return invalid(e.to, "is named by an edge but does not exist (" + std::to_string(n) + " tasks)");
    if (e.from >= e.to)
      return invalid(e.to, "waits for task " + std::to_string(e.from) + "; predecessors must have smaller ids");
    ++graph.predecessors_[e.to];
    ++graph.edge_offset_[e.from + 1];
  }
  accumulate(graph.edge_offset_);
  graph.edges_.resize(edges.size());
  // Fill with the offsets as cursors; each then stands at the next group's start, so shift them back.
  for (const Edge& e : edges) graph.edges_[graph.edge_offset_[e.from]++] = e.to;
  for (size_t i = n; i > 0; --i) graph.edge_offset_[i] = graph.edge_offset_[i - 1];
  graph.edge_offset_[0] = 0;

  TESSERA_TRY(TaskGraphBuilder::group(graph));
  return graph;
}

// Groups tasks by device and reservations by memory, both in id order.
Status TaskGraphBuilder::group(TaskGraph& graph) {
  size_t devices = 0, memories = 0;
  for (const Task& t : graph.tasks_) {
    TESSERA_TRY(check_task(t));
    devices = std::max<size_t>(devices, t.cost.device + 1);
    if (t.reserve > 0) memories = std::max<size_t>(memories, t.memory + 1);
    if (t.release > 0) memories = std::max<size_t>(memories, t.release_memory + 1);
  }
  graph.lane_offset_.assign(devices + 1, 0);
  graph.grant_offset_.assign(memories + 1, 0);
  for (const Task& t : graph.tasks_) {
    ++graph.lane_offset_[t.cost.device + 1];
    if (t.reserve > 0) ++graph.grant_offset_[t.memory + 1];
  }
  accumulate(graph.lane_offset_);
  accumulate(graph.grant_offset_);
  graph.lanes_.resize(graph.tasks_.size());
  graph.grants_.resize(graph.grant_offset_.back());
  std::vector<uint32_t> lane = graph.lane_offset_, grant = graph.grant_offset_;
  for (const Task& t : graph.tasks_) {
    graph.lanes_[lane[t.cost.device]++] = t.id;
    if (t.reserve > 0) graph.grants_[grant[t.memory]++] = t.id;
  }
  return {};
}

}  // namespace tessera
