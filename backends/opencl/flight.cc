// Waits for events with a deadline: clWaitForEvents has none, so a callback wakes who waits, and events are asked as well.
#include "backends/opencl/flight.h"

#include <algorithm>
#include <chrono>

#include "framework/clock.h"

namespace tessera::opencl {
namespace {

// How long to trust that the driver calls back, before its events are asked.
constexpr Duration kAskAfter = milliseconds(5);

void CL_CALLBACK on_end(cl_event, cl_int, void* data) {
  const std::unique_ptr<std::shared_ptr<Flight>> flight(static_cast<std::shared_ptr<Flight>*>(data));
  const std::lock_guard held((*flight)->lock);
  (*flight)->done = true;
  (*flight)->ended.notify_all();
}

}  // namespace

std::optional<Duration> credible(cl_ulong start, cl_ulong end, Duration wall) {
  if (start == 0 || end <= start || end - start > static_cast<cl_ulong>(INT64_MAX)) return std::nullopt;
  const Duration took{static_cast<int64_t>(end - start)};
  if (took > wall) return std::nullopt;
  return took;
}

Flights::~Flights() {
  for (auto& [ticket, flight] : flying_)
    for (const cl_event e : flight->events) api_.clReleaseEvent(e);
}

Ticket Flights::launch(std::shared_ptr<Flight> flight) {
  if (flight->events.empty()) return kDone;
  auto shared = std::make_unique<std::shared_ptr<Flight>>(flight);
  if (api_.clSetEventCallback(flight->events.back(), CL_COMPLETE, &on_end, shared.get()) == CL_SUCCESS) {
    (void)shared.release();  // on_end's now
  }
  const std::lock_guard held(lock_);
  flying_[++last_] = std::move(flight);
  return last_;
}

bool Flights::has_ended(const Flight& flight) const {
  cl_int state = CL_QUEUED;
  const cl_int code =
      api_.clGetEventInfo(flight.events.back(), CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, nullptr);
  return code != CL_SUCCESS || state <= CL_COMPLETE;  // negative: it failed
}

Status Flights::wait(Ticket ticket, Duration deadline) {
  if (ticket == kDone) return {};
  std::shared_ptr<Flight> flight;
  {
    const std::lock_guard held(lock_);
    const auto at = flying_.find(ticket);
    if (at == flying_.end()) return {};  // waited for before
    flight = at->second;
  }
  std::unique_lock held(flight->lock);
  while (!flight->done) {
    const Duration now = WallClock::instance().now();
    if (now >= deadline) {
      if (has_ended(*flight)) break;
      return Error{ErrorCode::kDeadline, flight->name + " is still running"};
    }
    const Duration patience = std::min(deadline - now, kAskAfter);
    flight->ended.wait_for(held, std::chrono::nanoseconds(patience.ns));
    if (!flight->done && has_ended(*flight)) break;
  }
  held.unlock();
  return land(ticket, *flight);
}

Status Flights::land(Ticket ticket, Flight& flight) {
  Status status;
  for (const cl_event e : flight.events) {
    cl_int state = CL_COMPLETE;
    const cl_int code = api_.clGetEventInfo(e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, nullptr);
    const cl_int bad = code != CL_SUCCESS ? code : state < 0 ? state : CL_SUCCESS;
    if (bad != CL_SUCCESS && status.ok()) status = Error{ErrorCode::kDevice, flight.name + " failed: " + error_name(bad)};
  }
  if (status.ok() && flight.refused > 0 && flight.refused <= static_cast<int>(flight.slices.size())) {
    status = Error{ErrorCode::kData, flight.name + ": " + flight.slices[flight.refused - 1] +
                                         " does not hold six coded matrices of this model; `tessera verify` names the file"};
  }
  const std::optional<Duration> took = device_time(flight);
  const std::lock_guard held(lock_);
  if (flying_.erase(ticket) == 0) return status;  // another thread landed it
  landed_ = ticket;
  landed_time_ = took;
  for (const cl_event e : flight.events) api_.clReleaseEvent(e);
  flight.events.clear();
  return status;
}

std::optional<Duration> Flights::device_time(const Flight& flight) const {
  cl_ulong start = 0, end = 0;
  const auto ask = [&](cl_event e, cl_profiling_info what, cl_ulong& to) {
    return api_.clGetEventProfilingInfo(e, what, sizeof to, &to, nullptr) == CL_SUCCESS;
  };
  if (!ask(flight.events.front(), CL_PROFILING_COMMAND_START, start) ||
      !ask(flight.events.back(), CL_PROFILING_COMMAND_END, end))
    return std::nullopt;
  return credible(start, end, WallClock::instance().now() - flight.submitted);
}

std::optional<Duration> Flights::measured(Ticket ticket) const {
  const std::lock_guard held(lock_);
  return ticket != kDone && ticket == landed_ ? landed_time_ : std::nullopt;
}

}  // namespace tessera::opencl
