// Runs jobs in forked processes, which can be ended: a job that crashes, or whose policy never answers, costs only itself. A
// process that ends between two jobs costs nothing.
//
//   parent, one thread ──"17"──► worker: work(17) ──lines──► parent: heard(17, line)... ended(17, last line)
//                      ├─ polls each worker's pulse: a policy's call that lasts longer than `limit` ends the worker
//                      └─ polls each worker's resident memory: more than `memory` while it works ends it
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "framework/result.h"
#include "framework/units.h"
#include "scheduler/watched_policy.h"

namespace tessera {

// What became of a job.
struct JobEnd {
  uint64_t job = 0;
  std::string answer;  // of the work; empty where its process was lost
  std::string lost;    // "ended by signal 11 (Segmentation fault)"; empty: it answered
  bool overdue = false;
  Bytes took;          // more memory than it may, so much; 0: it did not
  bool first = false;  // of its process: what it took is its own, not left there by others
  std::string policy;  // whose call ran when it was lost; empty: nobody's
};

// What a worker does. Made and used in its process only.
struct Worker {
  // The answer of a job, one line; `tell` sends lines ahead of it.
  std::function<std::string(uint64_t job, const std::function<void(const std::string&)>& tell)> work;
};

struct PoolOptions {
  int workers = 1;
  Duration limit = kForever;  // of one call of a policy
  Bytes memory = kUnlimited;  // resident and swapped out, of each process while it works; looked at every 50 ms
  // Called in a new process, before its first job. `pulse` is shown by policies under their watched names.
  std::function<Worker(PolicyPulse& pulse)> make;
  // In the parent. An error ends all workers and run().
  std::function<Status(uint64_t job, const std::string& line)> heard;
  // `again`: jobs to be done before the others that wait.
  std::function<Status(const JobEnd& end, std::vector<uint64_t>& again)> ended;
};

// Runs the jobs in order, each in the first worker that is free. The caller has one thread; nothing that starts threads has
// run before. kCancelled after an interrupt; then, as after any error, all workers have ended.
Status run_jobs(const PoolOptions& options, std::vector<uint64_t> jobs);

}  // namespace tessera
