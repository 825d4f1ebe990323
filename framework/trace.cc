// Joins a graph, its prediction and its measurement into one record.
#include "framework/trace.h"

namespace tessera {
namespace {

TraceEvent make_event(const TaskGraph& graph, TaskId id) {
  const Task& task = graph.task(id);
  TraceEvent event;
  event.id = id;
  event.name = graph.name(id);
  event.device = task.cost.device;
  event.op = task.cost.op;
  event.layer = task.layer;
  event.bits = task.bits;
  event.slices = task.slice_set;
  event.bytes = task.cost.bytes;
  return event;
}

}  // namespace

Trace make_trace(const TaskGraph& graph, const Platform& platform, const std::vector<Duration>& predicted_start,
                 const std::vector<Duration>& predicted_end, const RunReport& report) {
  Trace trace;
  for (const DeviceDescription& device : platform.devices) trace.devices.push_back(device.name);
  trace.events.reserve(graph.size());
  for (TaskId id = 0; id < graph.size(); ++id) {
    TraceEvent event = make_event(graph, id);
    if (id < predicted_start.size()) event.predicted_start = predicted_start[id];
    if (id < predicted_end.size()) event.predicted_end = predicted_end[id];
    if (id < report.tasks.size()) {
      event.measured_start = report.tasks[id].start;
      event.measured_end = report.tasks[id].end;
      event.state = report.tasks[id].state;
    }
    trace.events.push_back(std::move(event));
  }
  return trace;
}

}  // namespace tessera
