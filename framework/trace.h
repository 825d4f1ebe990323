// Records what was predicted and what happened, task by task. Plain structs; rendering is the tools' business.
#pragma once

#include <string>
#include <vector>

#include "framework/executor.h"
#include "framework/platform.h"

namespace tessera {

struct TraceEvent {
  TaskId id = kNoTask;
  std::string name;
  DeviceId device = 0;
  Op op = Op::kLayer;
  int layer = -1;
  Bits bits = 0;
  SliceMask slices = 0;
  int64_t bytes = 0;
  Duration predicted_start, predicted_end;
  Duration measured_start, measured_end;
  TaskState state = TaskState::kWaiting;
};

struct Trace {
  std::vector<std::string> devices;  // names by id
  std::vector<TraceEvent> events;    // by task id
};

Trace make_trace(const TaskGraph& graph, const Platform& platform, const std::vector<Duration>& predicted_start,
                 const std::vector<Duration>& predicted_end, const RunReport& report);

}  // namespace tessera
