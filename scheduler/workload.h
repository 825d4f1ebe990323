// Describes a workload: which apps share a machine, when their requests arrive, and what becomes of what they keep.
// Read from configs/workloads/*.toml (configs/loader.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/plan.h"
#include "framework/result.h"

namespace tessera {

// Longest gap and step of arrivals, and most requests of a workload: their sum stays within the 292 years of a Duration.
inline constexpr Duration kLongestGap{int64_t{3600} * 1'000'000'000};
inline constexpr int kMostRequests = 100'000;

// When the requests of one app arrive, in virtual time since the sequence began.
struct Arrivals {
  enum class Kind : uint8_t {
    kRegular,  // every `interval`
    kPoisson,  // gaps drawn from the exponential distribution of mean `interval`
    kBursts,   // bursts of burst_least to burst_most requests (drawn evenly), each step_least to step_most after the one
               // before it (drawn evenly); from the last of a burst to the first of the next a gap of mean `interval`, as in
               // kPoisson
    kRecorded,  // at `times`
  };
  Kind kind = Kind::kRegular;
  int requests = 1;  // kRecorded: the first so many of `times`
  Duration first;    // of the first request (regular, bursts); nothing arrives before it (Poisson); added to `times`
  Duration interval;
  int burst_least = 1, burst_most = 1;
  Duration step_least, step_most;
  std::vector<Duration> times;  // ascending
};

// Arrivals of `requests` requests, ascending; equal for equal seeds on every machine (integers only).
std::vector<Duration> arrival_times(const Arrivals& arrivals, uint64_t seed);

// One app: one model, one task, one stream of requests.
struct WorkloadApp {
  std::string name;
  // Paths as written, made relative to the workload's file; at most one of `model` (a store or a Hugging Face folder) and
  // `shape` (a model without weights). Both empty: the experiment's own model. `data`: a TSV of the app's task; empty: the
  // experiment's, where the model is the experiment's.
  std::string model, shape, data;
  Arrivals arrivals;
  // Of a request: its own figure, or that much of the experiment's.
  std::optional<Duration> latency;
  int latency_percent = 100;
  std::optional<Bytes> preload;  // of this app's model; none: the experiment's
  int tokens = 128;              // of a request where there is no data set
  bool preloaded = true;         // Policy::preload has run before the first request arrives
  // The operating system takes the app's buffer (preload buffer and exit heads) back after it has been idle for so long;
  // zero: after every request.
  std::optional<Duration> reclaimed_after;
};

struct Workload {
  std::string name, source;
  std::vector<WorkloadApp> apps;
  std::optional<Bytes> memory;  // that all apps share; none: the experiment's
  // What is left of the latency budget of a request that has waited is rounded down to a multiple of this, so that plans are
  // used again.
  Duration latency_grid = milliseconds(1);
  // A request that has nothing left of its latency budget, or that no plan can answer within what is left: answered all the
  // same, with the plan that is least late, or not at all. A miss both ways.
  enum class Hopeless : uint8_t { kBestEffort, kDrop } hopeless = Hopeless::kBestEffort;
};

}  // namespace tessera
