// Plays one-shot requests: preload, plan, bound, runs.
#include "scheduler/tournament.h"

#include <algorithm>

#include "framework/dynamics.h"
#include "framework/simulated_machine.h"
#include "scheduler/watched_policy.h"

namespace tessera {
namespace {

// One-shot requests arrive at any moment of so much virtual time: swings and bursts of others are met in all their phases.
constexpr Duration kArrivalWindow = milliseconds(60'000);
constexpr uint64_t kArrivalWord = 0x6172726976616c73;  // keeps these draws apart from others of the same seed

std::string residency_key(const Residency& residency) {
  std::string key;
  for (const ResidentShard& s : residency.shards)
    key += std::to_string(s.id.layer) + '.' + std::to_string(s.id.slice) + '@' + std::to_string(s.bits) +
           (s.decoded ? 'd' : 'c') + std::to_string(s.space) + ' ';
  for (const int depth : residency.exits) key += 'e' + std::to_string(depth) + ' ';
  return key;
}

void take_prediction(const AccuracyModel& accuracy, Played& played) {
  const Prediction& predicted = played.planned->plan.predicted;
  if (predicted.accuracy_known) played.accuracy_predicted = predicted.accuracy.value();
  if (accuracy.knows(played.planned->plan.depth, played.planned->plan.bits)) played.loss_predicted = predicted.loss.value();
  played.mean_bits = played.planned->plan.mean_bits();
  played.predicted_ms = predicted.latency.ms();
}

// One number for each plan that computed.
int number_of(const EffectivePlan& plan, std::vector<EffectivePlan>& plans) {
  const auto at = std::find(plans.begin(), plans.end(), plan);
  if (at != plans.end()) return static_cast<int>(at - plans.begin());
  plans.push_back(plan);
  return static_cast<int>(plans.size()) - 1;
}

class ScaledLoads final : public CostModel {
 public:
  ScaledLoads(std::shared_ptr<CostBook> costs, double speed) : costs_(std::move(costs)), speed_(speed) {}
  std::string_view kind() const override { return "scaled"; }
  Estimate estimate(const CostKey& key) const override {
    Estimate e = costs_->estimate(key);
    e.mean = from_seconds(e.mean.seconds() / speed_);
    e.p95 = from_seconds(e.p95.seconds() / speed_);
    e.variance_ns2 /= speed_ * speed_;
    return e;
  }
  bool observe(const CostKey&, Duration) override { return false; }

 private:
  std::shared_ptr<CostBook> costs_;
  double speed_;
};

}  // namespace

bool blames_policy(const Error& error) {
  return error.code == ErrorCode::kInternal || error.code == ErrorCode::kInvalid || error.code == ErrorCode::kInfeasible;
}

void scale_loads(Machine& machine, double speed) {
  if (speed == 1) return;
  const std::shared_ptr<CostBook> plain = machine.costs;
  auto scaled = std::make_shared<CostBook>();
  for (size_t d = 0; d < machine.platform.devices.size(); ++d) {
    const auto device = static_cast<DeviceId>(d);
    if (machine.platform.devices[d].kind == DeviceKind::kStorage)
      scaled->set(device, std::make_unique<ScaledLoads>(plain, speed));
    else
      scaled->set_guess(device, [plain](const CostKey& key) { return plain->estimate(key); });
  }
  machine.costs = std::move(scaled);
}

std::string Tournament::called(const std::string& policy) const { return watched_ ? watched_name(policy) : policy; }

// What the reference proves where `session` stands. Where memory is so tight that it proves nothing, what it proves without
// a memory budget holds all the more: more memory never makes a plan worse (PlanReplay::replay_if).
std::optional<ProvenBound> Tournament::proven(const Stage& stage, RequestOptions options, Session& session) const {
  const auto own = session.plan(options, experiment_.tokens);
  if (!own.ok() || (*own)->infeasible) return std::nullopt;
  const Plan& plan = (*own)->plan;
  std::optional<Micro> loss = (*own)->drops_residents ? std::nullopt : plan.loss_bound;
  if (!loss) {
    options.budgets.memory = kUnlimited;
    const auto wide = session.plan(options, experiment_.tokens);
    if (!wide.ok() || (*wide)->infeasible || (*wide)->drops_residents || !(*wide)->plan.loss_bound) return std::nullopt;
    loss = std::min(*(*wide)->plan.loss_bound, plan.predicted.loss);
  }
  ProvenBound out{*loss, plan.predicted.loss, {}, {}};
  if (!stage.accuracy->profiled()) return out;
  out.accuracy = stage.accuracy->accuracy(*loss);
  out.own_accuracy = plan.predicted.accuracy;
  return out;
}

// Nothing where nobody proves one. `session` holds what the plan starts from.
std::optional<ProvenBound> Tournament::bound(const Stage& stage, const Cell& cell, Session& session) {
  if (cell.group != group_) bounds_.clear();
  group_ = cell.group;
  RequestOptions options = options_of(experiment_, cell);
  const std::string key = residency_key(session.residency()) + std::to_string(options.quantile) + ' ' +
                          std::to_string(options.budgets.preload.n) + (options.best_effort ? "b" : "");
  if (const auto known = bounds_.find(key); known != bounds_.end()) return known->second;
  options.policy = called(experiment_.reference);
  options.knobs.clear();
  options.depth = options.width = {};
  options.bits = {};
  return bounds_[key] = proven(stage, std::move(options), session);
}

Status Tournament::understands(const Stage& stage, const Cell& cell) {
  TESSERA_ASSIGN(const auto session, Session::open(*stage.shape, nullptr, *stage.accuracy, *stage.machine, stage.tokenizer));
  RequestOptions options = options_of(experiment_, cell);
  options.policy = called(options.policy);
  options.budgets = {Duration{}, Bytes{0}, Bytes{0}};
  options.best_effort = false;
  const auto answer = session->plan(options, std::min(experiment_.tokens, stage.shape->max_tokens));
  if (answer.ok() || answer.error().code != ErrorCode::kInvalid) return {};
  return answer.error();
}

// Every run starts from what the policy preloads, at a moment of its own.
Status Tournament::run_all(const Stage& stage, const RequestOptions& options, Session& session, Played& played) {
  const std::vector<int32_t> ids(static_cast<size_t>(experiment_.tokens), 0);
  PlayedApp& app = played.apps.emplace_back();
  for (int r = 0; r < experiment_.repetitions; ++r) {
    RequestOptions mine = options;
    mine.draw = static_cast<uint64_t>(r);
    if (stage.machine->simulation != nullptr)
      mine.starts_at = {static_cast<int64_t>(hash_draw({options.seed, kArrivalWord, mine.draw}) %
                                             static_cast<uint64_t>(kArrivalWindow.ns))};
    if (r > 0) TESSERA_TRY(session.preload(mine, experiment_.tokens));
    const Result<Answer> answer = session.run(mine, ids, ids);
    ++played.requests;
    if (!answer.ok() && (answer.error().code != ErrorCode::kDevice)) return answer.error();
    const bool answered = answer.ok() && !answer->planned->infeasible;
    if (answered) {
      played.latencies.push_back(answer->latency);
      played.io += answer->io;
      played.peak = std::max(played.peak, answer->peak);
      played.span += answer->latency;
    }
    app.plan_of.push_back(answered ? number_of(effective_plan(answer->executed->plan), played.plans) : -1);
    played.misses += !answered || answer->latency > options.budgets.latency;
  }
  return {};
}

Result<Played> Tournament::play(const Stage& stage, const Cell& cell, bool with_bound) {
  Played played;
  Machine& machine = *stage.machine;
  if (machine.simulation != nullptr) machine.simulation->restart(cell.seed);
  TESSERA_ASSIGN(const auto session, Session::open(*stage.shape, nullptr, *stage.accuracy, machine, stage.tokenizer));
  RequestOptions options = options_of(experiment_, cell);
  options.policy = called(options.policy);
  const auto blame = [&](const Error& error) -> Result<Played> {
    if (!blames_policy(error)) return error;
    played.error = error.message;
    return std::move(played);
  };
  if (const Status status = session->preload(options, experiment_.tokens); !status.ok()) return blame(status.error());
  auto planned = session->plan(options, experiment_.tokens);
  if (!planned.ok()) return blame(planned.error());
  played.planned = planned.take();
  played.planning = played.planned->planning;
  played.decisions = 1;
  if (played.planned->infeasible) {
    played.infeasible = played.planned->infeasible;
    return played;
  }
  take_prediction(*stage.accuracy, played);
  if (with_bound && !experiment_.reference.empty()) {
    std::unique_ptr<Session> empty;  // where the plan starts without what was preloaded
    if (played.planned->drops_residents) {
      TESSERA_ASSIGN(empty, Session::open(*stage.shape, nullptr, *stage.accuracy, machine, stage.tokenizer));
    }
    played.bound = bound(stage, cell, empty ? *empty : *session);
  }
  if (const Status status = run_all(stage, options, *session, played); !status.ok()) {
    const std::string text = status.error().message;
    if (!blames_policy(status.error())) return status.error();
    played = {};
    played.error = text;
  }
  return played;
}

}  // namespace tessera
