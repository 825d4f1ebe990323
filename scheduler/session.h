// Executes requests against one store: asks the policy, checks and replays its plan, runs it, keeps the preload buffer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/executor.h"
#include "framework/policy.h"
#include "framework/replay.h"
#include "framework/trace.h"
#include "scheduler/cost_book.h"
#include "shards/store.h"

namespace tessera {

// The machine that a session runs on: real backends, or a described platform in virtual time.
struct Machine {
  Platform platform;
  std::vector<DeviceBinding> bindings;             // by device id; empty under the virtual clock
  std::vector<std::unique_ptr<Backend>> backends;  // owned
  std::shared_ptr<CostBook> costs;                 // cost models by device, from calibration or the platform file
  bool virtual_time = false;
};
// Creates the registered backends and lists their devices. `only`: device names that computes may use; empty: all available.
Result<Machine> local_machine(const BackendOptions& options, const std::vector<std::string>& only);

struct RequestOptions {
  Budgets budgets;
  std::string policy;                               // registered name
  Knobs knobs;
  std::optional<int> depth, width;
  std::optional<Bits> bits;
  double quantile = 0.95;
  bool best_effort = false;
  uint64_t seed = 0;
};

// One decision with all that explains it. `infeasible` is set where the budgets cannot be met (then `plan` is not).
struct PlannedRequest {
  std::string id;  // "p1", "p2", ... by first use in the session
  Plan plan;
  std::optional<Infeasible> infeasible;
  Timeline timeline;  // predicted
  TaskGraph graph;
  Duration planning;  // wall time that deciding took; 0 where the plan was reused
  bool reused = false;
};

struct Answer {
  std::shared_ptr<const PlannedRequest> planned;
  std::vector<float> logits;  // empty in virtual time and where infeasible
  int label = -1;
  Duration latency;  // arrival (tokenised) to logits, planning and loads included
  Bytes io;
  Bytes peak;  // most accounted at once: residents, preload buffer, request
  RunReport report;
};

// Not thread-safe: one request at a time.
class Session {
 public:
  // `store` null: a described shape in virtual time. The session borrows store, accuracy and machine.
  static Result<std::unique_ptr<Session>> open(const ModelShape& shape, const Store* store, const AccuracyModel& accuracy,
                                               Machine& machine, Bytes tokenizer_bytes);
  virtual ~Session() = default;

  // Decides for a request of `tokens` tokens; checks and replays. Plans are reused under their key: budgets, knobs,
  // residency, tokens, calibration version. Errors: kInternal (a policy's illegal plan, named), kInvalid.
  virtual Result<std::shared_ptr<const PlannedRequest>> plan(const RequestOptions& options, int tokens) = 0;
  // Loads the plan's preload buffer before a request arrives (STI: shards kept across requests); not in any latency.
  virtual Status preload(const PlannedRequest& planned) = 0;
  // Plans and runs one tokenised request. An infeasible request is an answer, not an error.
  virtual Result<Answer> run(const RequestOptions& options, const std::vector<int32_t>& ids,
                             const std::vector<int32_t>& types) = 0;
  virtual const Residency& residency() const = 0;
  // Bytes held between requests: residents, tokenizer, preload buffer.
  virtual Bytes held() const = 0;
  // Interrupts the running request (safe from a signal handler's thread).
  virtual void cancel() = 0;
};

}  // namespace tessera
