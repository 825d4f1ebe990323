// Executes requests against one store: asks the policy, checks and replays its plan, runs it, keeps the preload buffer.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/executor.h"
#include "framework/policy.h"
#include "framework/registry.h"
#include "framework/replay.h"
#include "framework/trace.h"
#include "scheduler/cost_book.h"
#include "scheduler/takeover.h"
#include "shards/graph_builder.h"
#include "shards/store.h"

namespace tessera {

// The machine that a session runs on: real backends, or a described platform in virtual time.
struct Machine {
  Platform platform;
  std::vector<DeviceBinding> bindings;             // by device id; empty under the virtual clock
  std::vector<std::unique_ptr<Backend>> backends;  // owned
  std::shared_ptr<CostBook> costs;                 // cost models by device, from calibration or the platform file
  bool virtual_time = false;
  // In virtual time: what the machine does beyond its cost models, shared by all sessions on it; set before they open. Null:
  // nothing, and tasks last as planned (their quantile); with it they last as the cost models' means say, times what it
  // draws.
  std::shared_ptr<SimulatedMachine> simulation;
};
// Creates registered backends and lists their devices. `only` names the devices that may compute; empty: those that need no
// vendor's library (Registry::Entry::on_demand); {"all"}: every one. Links come with their devices.
Result<Machine> local_machine(const BackendOptions& options, const std::vector<std::string>& only);

// Other budgets from some moment of a request on.
struct BudgetChange {
  Duration after;  // since its arrival
  Budgets budgets;
};

struct RequestOptions {
  Budgets budgets;
  std::string policy;  // registered name
  Knobs knobs;
  std::optional<int> depth, width;
  std::optional<Bits> bits;
  double quantile = 0.95;
  bool best_effort = false;
  uint64_t seed = 0;
  // A task that runs this much longer than its 95 % quantile (or ten times that, if more) makes its device suspect, where
  // another could take over.
  Duration suspect_after = milliseconds(50);
  // Budgets that change while the request runs, in any order; at equal times the last counts. Policies that re-plan learn of
  // them (Event::kBudgetChanged): in virtual time at that instant, under the wall clock when the next task ends.
  std::vector<BudgetChange> budget_changes = {};
  // In virtual time, where the machine has a simulation: when the request arrives, since the machine began (before the end
  // of the last one: the machine begins anew), and its number: equal numbers have equal luck.
  Duration starts_at;
  uint64_t draw = 0;
};

// One decision with all that explains it. `infeasible` is set where the budgets cannot be met (then `plan` is not).
struct PlannedRequest {
  std::string id;  // "p1", "p2", ... by first use in the session
  Plan plan;
  std::optional<Infeasible> infeasible;
  Margin margin;                   // that the prediction holds
  bool refused_by_margin = false;  // infeasible, but not without it
  Timeline timeline;               // predicted
  std::vector<Duration> expected;  // by task: its end at the middle of the cost models
  TaskGraph graph;
  RequestBuffers buffers;        // of the request
  std::vector<Bytes> fixed;      // by memory: of the buffers
  std::vector<Bytes> residents;  // by memory: resident shards and exit heads that the run starts with
  bool drops_residents = false;  // feasible only without what is resident now: all of it is dropped before the run
  Duration planning;             // wall time that deciding, checking and replaying took, once
};

// What happened where a device failed in the middle of a request and others went on with it.
struct TakenOver {
  std::vector<DeviceFault> faults;
  std::optional<int> layer;                       // where the others went on; nothing: from the start
  Duration at;                                    // since the arrival
  std::shared_ptr<const PlannedRequest> planned;  // what was given up, and how far it came
  RunReport report;
};

// Shards that a policy gave other bits while the request ran. Of one layer, from and to the same bits.
struct Revision {
  Duration at;  // since the arrival
  int layer = 0;
  SliceMask slices = 0;
  Bits from = kAbsent, to = kAbsent;  // kAbsent: left out
  std::string why;                    // as the policy said
};

struct Answer {
  std::shared_ptr<const PlannedRequest> planned;  // as decided
  // As it was run (null where infeasible), of the last attempt: `planned` itself where nothing was revised; else with the
  // bits, loads, graph, and the prediction and timeline that the plan would have had, had it been decided so. Its graph goes
  // with `report`.
  std::shared_ptr<const PlannedRequest> executed;
  std::vector<Revision> revisions;  // in order, of all attempts
  Budgets budgets;                  // in force at the end
  bool reused = false;              // the plan was decided for an earlier request
  std::vector<float> logits;        // empty in virtual time and where infeasible
  int label = -1;
  Duration latency;  // arrival (tokenised) to logits, planning and loads included
  Bytes io;
  Bytes peak;                // most accounted at once in the host's memory: residents, preload buffer, request
  std::vector<Bytes> peaks;  // the same by memory of the platform
  RunReport report;
  // Before `planned` and `report`, which then are of the last attempt, in order.
  std::vector<TakenOver> taken_over;
  // Beyond the latency budget in force at the end; 0 where it was kept.
  Duration late;
};

// Not thread-safe: one request at a time. Between requests the session holds the resident parts, the tokenizer, the preload
// buffer (what the last plan kept, or what preload() loaded) and the exit head that was used last.
class Session {
 public:
  // `store` null: a described shape; plans, and runs in virtual time only. The session borrows store, accuracy and machine.
  static Result<std::unique_ptr<Session>> open(const ModelShape& shape, const Store* store, const AccuracyModel& accuracy,
                                               Machine& machine, Bytes tokenizer_bytes);
  virtual ~Session() = default;

  // Makes resident what the policy wants in memory before such a request arrives (Policy::preload): bottom layers first,
  // outside any request's latency; and touches the memory that the request will use. In virtual time, or without a store, it
  // is resident at once. What is resident and not wanted is dropped. Optional: without it the preload buffer fills with what
  // plans keep, and the first request pays for page faults.
  virtual Status preload(const RequestOptions& options, int tokens) = 0;
  // Decides for a request of `tokens` tokens; checks and replays. Plans are reused under their key: policy, budgets, knobs,
  // residency, tokens, calibration version. Where the preload budget has shrunk, top layers leave the buffer first.
  // An infeasible request is an answer, not an error. Errors: kInternal (a policy's illegal plan, named), kInvalid.
  virtual Result<std::shared_ptr<const PlannedRequest>> plan(const RequestOptions& options, int tokens) = 0;
  // Plans and runs one tokenised request. After any error the session is usable. In virtual time without a store, only the
  // number of `ids` matters.
  virtual Result<Answer> run(const RequestOptions& options, const std::vector<int32_t>& ids,
                             const std::vector<int32_t>& types) = 0;
  virtual const Residency& residency() const = 0;
  // Bytes held between requests: resident parts, tokenizer, preload buffer, exit heads.
  virtual Bytes held() const = 0;
  // Between requests: drops residents until the host's memory has at least `bytes` more room (kUnlimited: all of them).
  // Shards go first, of the top layer first and in a layer the last slice first, then exit heads, deepest first. Returns
  // what was freed.
  virtual Bytes give_way(Bytes bytes) = 0;
  // Gives the running request other budgets. Policies that re-plan learn of it at once, on this thread or a lane's; whatever
  // the policy, the answer is held against them. More memory is there at once; less, as soon as what is still to be loaded
  // can do with it (a policy may see to that), else not at all. Safe from any thread, and blocks only while the policy is
  // asked; not from a policy. kInvalid: nothing runs, or budgets that are negative.
  virtual Status change_budgets(const Budgets& budgets) = 0;
  // Interrupts the running request: it ends with kCancelled. Safe from any thread and from a signal handler.
  virtual void cancel() = 0;
};

}  // namespace tessera
