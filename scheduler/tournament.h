// Plays cells of a tournament in virtual time: what a policy decides, how far that is from the proven bound, how it runs.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/experiment.h"
#include "scheduler/sequence.h"
#include "scheduler/session.h"
#include "shards/plan_evaluator.h"

namespace tessera {

// A model on a machine in virtual time. Borrowed.
struct Stage {
  const ModelShape* shape = nullptr;
  const AccuracyModel* accuracy = nullptr;
  Machine* machine = nullptr;
  Bytes tokenizer;
  std::vector<int> tokens;  // of the sentences of its data; empty: it has none
};

// What the reference proves for a request under the same residency; its own plan beside it.
struct ProvenBound {
  Micro loss, own_loss;
  std::optional<Micro> accuracy, own_accuracy;  // nothing where the model is not profiled
};

// What one app's requests computed with: indices into Played::plans, in the order of the app's requests; -1 not answered.
struct PlayedApp {
  std::vector<int> plan_of;      // by request
  std::vector<int> sentence_of;  // by request; empty: each plan is run over the whole data set
};

struct Played {
  std::string error;  // the policy's: an illegal plan, a knob that it cannot read; then nothing else is set
  std::optional<Infeasible> infeasible;
  std::shared_ptr<const PlannedRequest> planned;  // of a sequence: the plan that answered most requests, the first of equals
  std::optional<ProvenBound> bound;
  Duration planning;  // wall time of one decision with its check, the mean
  int64_t requests = 0, misses = 0, infeasible_requests = 0, decisions = 0;
  std::vector<Duration> latencies;  // of answered requests
  Duration span;                    // of virtual time that was simulated
  Bytes peak, io;                   // io: read by all requests
  // Means over answered requests; nothing where the model cannot tell.
  std::optional<double> accuracy_predicted, loss_predicted, mean_bits, predicted_ms;
  std::vector<EffectivePlan> plans;
  std::vector<PlayedApp> apps;
};

// Plays cells one after the other; keeps the reference's answers for cells that start alike. One thread.
class Tournament {
 public:
  // Contenders and the reference are called by watched_name() where `watched`. The experiment outlives the tournament.
  Tournament(const Experiment& experiment, bool watched) : experiment_(experiment), watched_(watched) {}

  // A cell without a workload. `with_bound`: asks the reference, too. Errors are not the policy's: kCancelled, kInvalid for
  // what the experiment asks of the model.
  Result<Played> play(const Stage& stage, const Cell& cell, bool with_bound);
  // Whether the contender's policy understands its knobs and what is given by hand, on this model: kInvalid says what not.
  // Asks it to decide under budgets that nothing meets; any other answer than "invalid" is fine.
  Status understands(const Stage& stage, const Cell& cell);
  // A cell with one: a stage for each app.
  Result<Played> play(const Workload& workload, const std::vector<Stage>& stages, const Cell& cell);

 private:
  std::string called(const std::string& policy) const;
  std::optional<ProvenBound> bound(const Stage& stage, const Cell& cell, Session& session);
  std::optional<ProvenBound> proven(const Stage& stage, RequestOptions options, Session& session) const;
  Status run_all(const Stage& stage, const RequestOptions& options, Session& session, Played& played);

  const Experiment& experiment_;
  bool watched_;
  std::map<std::string, std::optional<ProvenBound>> bounds_;  // of the last group
  size_t group_ = SIZE_MAX;
};

// Whether an error is the policy's own, and belongs into its row: an illegal plan, a knob that it cannot read.
bool blames_policy(const Error& error);

// Makes every load take 1/speed of its time.
void scale_loads(Machine& machine, double speed);

}  // namespace tessera
