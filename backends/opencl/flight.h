// Work that was submitted and has not been waited for: its commands, what they read from host memory, how it ended.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backends/opencl/api.h"
#include "framework/backend.h"

namespace tessera::opencl {

// The commands of one task, in an in-order queue: the last one's end is the task's.
struct Flight {
  std::string name;                           // "opencl0: task 7 (layer)", for messages
  std::vector<cl_event> events;               // in queue order
  std::deque<std::vector<std::byte>> staged;  // host memory that commands read; lives until they have
  int refused = 0;                            // written by the device: 1 + index of the slice that does not fit
  std::vector<std::string> slices;            // "slice 3@6", by that index
  uint64_t kept_residents = 0;                // the device's copy that this task fills; gone with it where it does not start
  Duration submitted;
  std::mutex lock;
  std::condition_variable ended;
  bool done = false;
};

// Tickets of one queue. submit's side and wait's side may be different threads.
class Flights {
 public:
  explicit Flights(const Api& api) : api_(api) {}
  ~Flights();
  // The commands are enqueued and flushed.
  Ticket launch(std::shared_ptr<Flight> flight);
  Status wait(Ticket ticket, Duration deadline);
  // Of the ticket that ended last, by the queue's events.
  std::optional<Duration> measured(Ticket ticket) const;

 private:
  Status land(Ticket ticket, Flight& flight);
  bool has_ended(const Flight& flight) const;
  std::optional<Duration> device_time(const Flight& flight) const;

  const Api& api_;
  mutable std::mutex lock_;
  std::map<Ticket, std::shared_ptr<Flight>> flying_;
  Ticket last_ = kDone;
  Ticket landed_ = kDone;  // the last one
  std::optional<Duration> landed_time_;
};

// Whether a device's own figure can be believed: some drivers give zero, or end before start.
std::optional<Duration> credible(cl_ulong start, cl_ulong end, Duration wall);

}  // namespace tessera::opencl
