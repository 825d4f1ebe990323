// Turns traces into Chrome's trace events.
#include "tools/chrome_trace.h"

#include "tools/atomic_file.h"
#include "tools/commands.h"

namespace tessera {
namespace {

constexpr int kPredicted = 1, kMeasured = 2;

const char* category(Op op) {
  switch (op) {
    case Op::kLoadShards:
    case Op::kLoadRows:
    case Op::kLoadExit:
      return "load";
    case Op::kTransfer:
      return "transfer";
    default:
      return "compute";
  }
}

Json metadata(const char* what, int process, int thread, const std::string& name) {
  return {{"name", what}, {"ph", "M"}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}};
}

Json complete(const std::string& name, const char* kind, int process, int thread, Duration start, Duration end,
              Json arguments) {
  return {{"name", name},
          {"cat", kind},
          {"ph", "X"},
          {"pid", process},
          {"tid", thread},
          {"ts", start.us()},
          {"dur", (end - start).us()},
          {"args", std::move(arguments)}};
}

Json arguments_of(const TraceEvent& event) {
  Json arguments = Json::object();
  if (event.layer >= 0) arguments["layer"] = event.layer;
  if (event.bits != kAbsent) arguments["bits"] = event.bits;
  if (event.slices != 0) arguments["slices"] = slice_count(event.slices);
  if (event.bytes != 0) arguments["bytes"] = event.bytes;
  return arguments;
}

void add_request(const TracedRequest& request, Json& events) {
  for (const TraceEvent& event : request.trace.events) {
    const int thread = event.device + 1;
    events.push_back(complete(event.name, category(event.op), kPredicted, thread, request.arrival + event.predicted_start,
                              request.arrival + event.predicted_end, arguments_of(event)));
    if (!request.measured || event.state != TaskState::kDone) continue;
    const Duration start = request.arrival + request.planning;
    events.push_back(complete(event.name, category(event.op), kMeasured, thread, start + event.measured_start,
                              start + event.measured_end, arguments_of(event)));
  }
}

}  // namespace

Status write_chrome_trace(const std::string& path, const std::vector<TracedRequest>& requests) {
  Json events = Json::array();
  for (const int process : {kPredicted, kMeasured}) {
    if (requests.empty()) break;
    events.push_back(metadata("process_name", process, 0, process == kPredicted ? "predicted" : "measured"));
    const std::vector<std::string>& devices = requests.front().trace.devices;
    for (size_t d = 0; d < devices.size(); ++d)
      events.push_back(metadata("thread_name", process, static_cast<int>(d) + 1, devices[d]));
  }
  for (const TracedRequest& request : requests) {
    add_request(request, events);
    Json instant = {{"name", request.text}, {"ph", "i"}, {"s", "g"},
                    {"pid", kPredicted},    {"tid", 1},  {"ts", request.arrival.us()}};
    events.push_back(std::move(instant));
  }
  const Json document = {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
  return write_file(path, document.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace tessera
