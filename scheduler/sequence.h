// Runs sequences of requests in virtual time: several models on one machine, under one memory budget, one request at a time.
//
//   arrivals of all apps ─► queue (by arrival; ties by app, then by index) ─► plan with what is left of
//                                                                            latency and memory ─► run
//   between requests each session holds its preload buffer; what it may keep is its policy's (Plan::keep, Policy::preload).
//
// Latency: a request may start when the machine is free. What it waited comes off its latency budget
// (Workload::latency_grid) and counts in its latency. Memory: a request's memory budget is the shared one minus what the
// other sessions hold (resident parts, buffers). Where that makes it infeasible, and without the others' buffers it would
// not be, these give way: the least recently used model first (ties: the higher app), in a model the top layers first and in
// a layer the last slice first, then its exit heads; as few as make the request feasible.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "scheduler/session.h"
#include "scheduler/workload.h"
#include "shards/plan_evaluator.h"

namespace tessera {

// What serves one app: by index of Workload::apps. Borrowed; the sessions were opened in virtual time on one platform (costs
// are by shape, so that each has a Machine of its own; their `simulation` is one), and serve nobody else meanwhile.
struct SequenceModel {
  Session* session = nullptr;
  // As app_options() gives them. Not used: budgets.memory, which is shared; best_effort, which is the workload's; starts_at
  // and draw, which are the request's.
  RequestOptions options;
  std::vector<int> tokens;  // of sentence s; request i carries sentence i mod N. Not empty
};

// The options of an app's requests from those of the experiment: its own latency and preload budgets where it has some.
RequestOptions app_options(const WorkloadApp& app, RequestOptions experiment);

struct Served {
  int app = 0, index = 0;  // index: of its app
  int sentence = 0;        // index mod N
  int tokens = 0;
  Duration arrival, start, end;
  Duration latency;         // end - arrival: what it waited, and what it took
  Duration budget;          // of its latency, before any waiting
  Duration planned_for;     // what was left of it, on the grid
  bool missed = false;      // later than its budget, infeasible, or not answered
  bool infeasible = false;  // no plan within what was left: answered with the least-late plan, or not at all
  bool answered = true;     // false: dropped, at `start`, taking no time
  std::string failure;      // of a device, where nothing could take over: not answered, a miss
  // What was decided; where it was not answered: what would have been needed, or null where no time was left.
  std::shared_ptr<const PlannedRequest> planned;
  // As it was run: `planned`, but for what was revised in flight; null where not answered.
  std::shared_ptr<const PlannedRequest> executed;
  int revisions = 0;  // in flight
  EffectivePlan ran;  // what it was computed with: of `executed`; empty where not answered
  Bytes io;
  Bytes memory;   // that it was planned with
  Bytes peak;     // most held and used at once by all models, while it ran
  Bytes evicted;  // that other models gave up for it
  bool reused = false;
  Duration planning;  // wall time; 0 where the plan was reused
};

struct SequenceReport {
  std::vector<Served> served;  // in the order of service
  int64_t missed = 0, infeasible = 0, dropped = 0;
  Bytes io;
  Bytes peak;  // over all requests and the time between them
  Bytes evicted;
  int64_t reclaimed = 0;  // times that the operating system took a buffer back
  Duration ended;         // of the last request
  Duration planning;      // wall time, of all
};

struct SequenceOptions {
  uint64_t seed = 0;            // of the arrivals; each app has a stream of its own
  Bytes memory = kUnlimited;    // shared; Workload::memory goes first
  bool count_planning = false;  // planning's wall time is part of virtual time: no longer repeatable
  const std::atomic<bool>* cancel = nullptr;
};

// kInvalid: what does not fit together; kInternal: a policy's illegal plan, named; kCancelled. One thread; the sessions stay
// as the last request left them.
Result<SequenceReport> run_sequence(const Workload& workload, std::span<const SequenceModel> models,
                                    const SequenceOptions& options);

// Share of right answers of one app's requests: request i is right where the plan that ran predicts its sentence's label.
struct SequenceAccuracy {
  int64_t examples = 0;  // requests whose sentence has a label
  int64_t right = 0;     // a request that was not answered is not right; a late answer may be
  // By index of the app's requests: 1 right, 0 wrong or not answered, -1 no label.
  std::vector<int8_t> outcome;
  double share() const { return examples == 0 ? 0 : static_cast<double>(right) / static_cast<double>(examples); }
};
// Measures what is not known yet, in batches: all plans of the sequence in one call.
Result<SequenceAccuracy> sequence_accuracy(std::span<const Served> served, int app, PlanEvaluator& evaluator);

}  // namespace tessera
