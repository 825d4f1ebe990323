// Plays sequences of requests: one session an app on the shared machine, and what all requests add up to.
#include <algorithm>
#include <map>

#include "framework/simulated_machine.h"
#include "scheduler/tournament.h"

namespace tessera {
namespace {

// Sums over answered requests.
struct Means {
  double accuracy = 0, loss = 0, bits = 0, predicted_ms = 0;
  bool accuracy_known = true, loss_known = true;
  int64_t n = 0;

  void add(const Stage& stage, const PlannedRequest& planned) {
    const Prediction& predicted = planned.plan.predicted;
    accuracy_known &= predicted.accuracy_known;
    loss_known &= stage.accuracy->knows(planned.plan.depth, planned.plan.bits);
    accuracy += predicted.accuracy.value();
    loss += predicted.loss.value();
    bits += planned.plan.mean_bits();
    predicted_ms += predicted.latency.ms();
    ++n;
  }

  void take(Played& played) const {
    if (n == 0) return;
    const auto count = static_cast<double>(n);
    if (accuracy_known) played.accuracy_predicted = accuracy / count;
    if (loss_known) played.loss_predicted = loss / count;
    played.mean_bits = bits / count;
    played.predicted_ms = predicted_ms / count;
  }
};

// The plan that answered most requests of the first app, the first of equals.
class Favourite {
 public:
  void add(const Served& served) {
    if (served.app != 0) return;
    auto& [count, order, planned] = seen_[served.planned->plan.bits];
    if (count++ > 0) return;
    order = static_cast<int64_t>(seen_.size());
    planned = served.planned;
  }
  std::shared_ptr<const PlannedRequest> take() const {
    const Entry* best = nullptr;
    for (const auto& [key, entry] : seen_)
      if (best == nullptr || entry.count > best->count || (entry.count == best->count && entry.order < best->order))
        best = &entry;
    return best == nullptr ? nullptr : best->planned;
  }

 private:
  struct Entry {
    int64_t count = 0, order = 0;
    std::shared_ptr<const PlannedRequest> planned;
  };
  std::map<std::vector<Bits>, Entry> seen_;
};

int number_of(const EffectivePlan& plan, std::map<EffectivePlan, int>& numbers, std::vector<EffectivePlan>& plans) {
  const auto [at, fresh] = numbers.try_emplace(plan, static_cast<int>(plans.size()));
  if (fresh) plans.push_back(plan);
  return at->second;
}

void add_up(const SequenceReport& report, const std::vector<Stage>& stages, Played& played) {
  played.apps.resize(stages.size());
  std::map<EffectivePlan, int> numbers;
  Means means;
  Favourite favourite;
  for (const Served& served : report.served) {
    PlayedApp& app = played.apps[static_cast<size_t>(served.app)];
    app.sentence_of.push_back(served.sentence);
    app.plan_of.push_back(served.answered ? number_of(served.ran, numbers, played.plans) : -1);
    ++played.requests;
    played.misses += served.missed;
    played.infeasible_requests += served.infeasible;
    if (served.planning.ns > 0) ++played.decisions;
    if (!served.answered) continue;
    played.latencies.push_back(served.latency);
    means.add(stages[static_cast<size_t>(served.app)], *served.planned);
    favourite.add(served);
  }
  means.take(played);
  played.planned = favourite.take();
  played.io = report.io;
  played.peak = report.peak;
  played.span = report.ended;
  if (played.decisions > 0) played.planning = {report.planning.ns / played.decisions};
}

}  // namespace

Result<Played> Tournament::play(const Workload& workload, const std::vector<Stage>& stages, const Cell& cell) {
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<SequenceModel> models;
  if (!stages.empty() && stages.front().machine->simulation != nullptr)
    stages.front().machine->simulation->restart(cell.seed);
  for (size_t a = 0; a < stages.size() && a < workload.apps.size(); ++a) {
    const Stage& stage = stages[a];
    stage.machine->simulation = stages.front().machine->simulation;  // one machine, costs by each one's model
    TESSERA_ASSIGN(auto session, Session::open(*stage.shape, nullptr, *stage.accuracy, *stage.machine, stage.tokenizer));
    RequestOptions options = app_options(workload.apps[a], options_of(experiment_, cell));
    options.policy = called(options.policy);
    models.push_back(
        {session.get(), options, stage.tokens.empty() ? std::vector<int>{workload.apps[a].tokens} : stage.tokens});
    sessions.push_back(std::move(session));
  }
  SequenceOptions options;
  options.seed = cell.seed;
  options.memory = cell.memory;
  const auto report = run_sequence(workload, models, options);
  Played played;
  if (report.ok())
    add_up(*report, stages, played);
  else if (blames_policy(report.error()))
    played.error = report.error().message;
  else
    return report.error();
  return played;
}

}  // namespace tessera
