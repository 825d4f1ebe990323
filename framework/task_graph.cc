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

// "6b", "2b+6b": the bits of a load's slices.
std::string bits_text(const Task& task) {
  if (task.bits != 0) return std::to_string(task.bits) + 'b';
  std::string text;
  for (int level = 1; level < kBitsLevels; ++level)
    if (task.cost.bits[level] > 0) text += (text.empty() ? "" : "+") + std::to_string(level_bits(level)) + 'b';
  return text.empty() ? (task.empty ? "nothing" : "mixed") : text;
}

std::string depth_text(const Task& task) { return task.layer < 0 ? "" : ' ' + std::to_string(task.layer + 1); }

// Groups values by key, keeping their order. `offset` comes as [keys + 1] counts (the last 0) and leaves as the groups'
// starts: counts become ends, and filling from the back moves each end to its start.
template <typename Items, typename KeyAndValue>
std::vector<TaskId> scatter(std::vector<uint32_t>& offset, const Items& items, KeyAndValue key_and_value) {
  for (size_t i = 1; i < offset.size(); ++i) offset[i] += offset[i - 1];
  std::vector<TaskId> values(items.size());
  for (auto it = items.rbegin(); it != items.rend(); ++it) {
    const auto [key, value] = key_and_value(*it);
    values[--offset[key]] = value;
  }
  return values;
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

// "take over L3 6b [0-5]", "x up L3", "partial down L3"
std::string transfer_text(const Task& t) {
  const std::string layer = t.layer < 0 ? "" : " L" + std::to_string(t.layer);
  const std::string way = t.cost.to_host ? " down" : " up";
  switch (t.payload) {
    case Payload::kWeights:
      return "take over" + layer + ' ' + bits_text(t) + ' ' + slices_text(t.slice_set);
    case Payload::kHidden:
      return "x" + way + layer;
    case Payload::kAttended:
      return "y" + way + layer;
    case Payload::kPartial:
      return "partial" + way + layer;
    case Payload::kLogits:
      return "logits" + way;
    case Payload::kNone:
      break;
  }
  return "transfer" + layer;
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

std::span<const TaskId> TaskGraph::joins(TaskId id) const {
  return {joins_.data() + join_offset_[id], join_offset_[id + 1] - join_offset_[id]};
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

void TaskGraph::revise(const Task& revised) {
  Task& task = tasks_[revised.id];
  task.bits = revised.bits;
  task.slice_set = revised.slice_set;
  task.empty = revised.empty;
  task.cost.slices = revised.cost.slices;
  task.cost.reads = revised.cost.reads;
  task.cost.decoded = revised.cost.decoded;
  task.cost.bits = revised.cost.bits;
  task.cost.bytes = revised.cost.bytes;
  task.estimate = revised.estimate;
  task.planned = revised.planned;
  task.reserve = revised.reserve;
  task.release = revised.release;
}

double TaskGraph::bytes_per_node() const {
  if (tasks_.empty()) return 0;
  const size_t total = bytes_of(tasks_) + bytes_of(predecessors_) + bytes_of(edge_offset_) + bytes_of(edges_) +
                       bytes_of(join_offset_) + bytes_of(joins_) + bytes_of(lane_offset_) + bytes_of(lanes_) +
                       bytes_of(grant_offset_) + bytes_of(grants_);
  return static_cast<double>(total) / static_cast<double>(size());
}

std::string TaskGraph::name(TaskId id) const {
  const Task& t = tasks_[id];
  const std::string layer = " L" + std::to_string(t.layer);
  switch (t.cost.op) {
    case Op::kLoadShards:
      return "load" + layer + ' ' + bits_text(t) + ' ' + slices_text(t.slice_set);
    case Op::kLoadRows:
      return "rows";
    case Op::kLoadExit:
      return "load exit" + depth_text(t);
    case Op::kTransfer:
      return transfer_text(t);
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
  if (n >= kNoTask || edges.size() >= UINT32_MAX)
    return Error{ErrorCode::kInvalid, "task graph: more than 2^32 - 2 nodes or edges"};

  graph.predecessors_.assign(n, 0);
  graph.edge_offset_.assign(n + 1, 0);
  for (const Edge& e : edges) {
    if (e.to >= n) return invalid(e.to, "is named by an edge but does not exist (" + std::to_string(n) + " tasks)");
    if (e.from >= e.to)
      return invalid(e.to, "waits for task " + std::to_string(e.from) + "; predecessors must have smaller ids");
    ++graph.predecessors_[e.to];
    ++graph.edge_offset_[e.from];
  }
  TESSERA_TRY(group(graph));
  graph.edges_ = scatter(graph.edge_offset_, edges, [](const Edge& e) { return std::pair(e.from, e.to); });
  join(graph, edges);
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
  std::vector<std::pair<MemoryId, TaskId>> grants;
  for (const Task& t : graph.tasks_) {
    ++graph.lane_offset_[t.cost.device];
    if (t.reserve == 0) continue;
    ++graph.grant_offset_[t.memory];
    grants.push_back({t.memory, t.id});
  }
  graph.lanes_ = scatter(graph.lane_offset_, graph.tasks_, [](const Task& t) { return std::pair(t.cost.device, t.id); });
  graph.grants_ = scatter(graph.grant_offset_, grants, [](const auto& grant) { return grant; });
  return {};
}

void TaskGraphBuilder::join(TaskGraph& graph, const std::vector<Edge>& edges) {
  const size_t n = graph.size(), devices = graph.device_count();
  std::vector<DeviceId> device(n);  // a byte a task: stays in cache where the tasks do not
  for (TaskId id = 0; id < n; ++id) device[id] = graph.tasks_[id].cost.device;
  std::vector<uint32_t> offset(n + 1, 0);
  std::copy(graph.predecessors_.begin(), graph.predecessors_.end(), offset.begin());
  const std::vector<TaskId> before = scatter(offset, edges, [](const Edge& e) { return std::pair(e.to, e.from); });

  // waited[own][other] - 1: the last task of `other` that lane `own` has waited for so far.
  std::vector<TaskId> waited(devices * devices, 0);
  graph.join_offset_.resize(n + 1);
  for (TaskId id = 0; id < n; ++id) {
    const uint32_t first = static_cast<uint32_t>(graph.joins_.size());
    graph.join_offset_[id] = first;
    TaskId* const seen = &waited[device[id] * devices];
    for (uint32_t e = offset[id]; e < offset[id + 1]; ++e) {
      const TaskId from = before[e];
      if (device[from] == device[id] || from + 1 <= seen[device[from]]) continue;
      seen[device[from]] = from + 1;
      const auto same = std::find_if(graph.joins_.begin() + first, graph.joins_.end(),
                                     [&](TaskId other) { return device[other] == device[from]; });
      if (same == graph.joins_.end())
        graph.joins_.push_back(from);
      else
        *same = from;
    }
  }
  graph.join_offset_[n] = static_cast<uint32_t>(graph.joins_.size());
}

}  // namespace tessera
