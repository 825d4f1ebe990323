// Judges alternatives: illegal, no room, late, or what they would gain or lose.
#include "scheduler/explain_trial.h"

#include <cstdio>
#include <utility>

#include "framework/saturating.h"
#include "scheduler/plan_check.h"

namespace tessera {
namespace {

// The amount of memory that an alternative lacks is told to this.
constexpr Bytes kMemoryGrain = kib(1);

Duration apart(Duration a, Duration b) { return a < b ? b - a : a - b; }

void widen(std::optional<TimeSpan>& span, Duration start, Duration end) {
  if (!span) span = TimeSpan{start, end};
  span->start = std::min(span->start, start);
  span->end = std::max(span->end, end);
}

// Loads, and transfers of weights, count until the slices are where they are computed.
void find_windows(const TaskGraph& graph, const Timeline& timeline, const Trial::Subject& subject, Outcome& out) {
  if (subject.slices == 0) return;
  for (const Task& task : graph.tasks()) {
    if (task.layer != subject.layer) continue;
    const Duration start = timeline.start[task.id], end = timeline.end[task.id];
    const bool ours = (task.slice_set & subject.slices) != 0;
    const bool brings = task.cost.op == Op::kLoadShards || task.payload == Payload::kWeights;
    if (brings && ours) widen(out.load, start, end);
    const bool joins = task.cost.op == Op::kCombine || (task.kind == TaskKind::kCompute && ours);
    if (joins && task.cost.op != Op::kExit) widen(out.compute, start, end);
  }
}

// To a ten-thousandth, or what is less than ten of them to a millionth, the least that the model counts in.
std::string format_loss(double nats, std::optional<double> points) {
  char text[64];
  std::snprintf(text, sizeof(text), nats >= 0.001 || nats == 0 ? "%.4f nats" : "%.6f nats", nats);
  std::string out = text;
  if (!points) return out;
  std::snprintf(text, sizeof(text), " (%.2f points)", *points);
  return out + text;
}

// "policy x: illegal plan: " is what check_plan puts before its reason.
std::string reason_of(const Error& error) { return error.message.substr(illegal_plan("", {}).message.size()); }

}  // namespace

const char* to_string(Verdict verdict) {
  static constexpr const char* kWords[] = {"chosen", "illegal", "memory", "late", "unknown", "worse", "equal", "better"};
  return kWords[static_cast<size_t>(verdict)];
}

Trial::Trial(const SessionPlanner::Bench& bench, const PlannedRequest& planned, std::string policy)
    : bench_(bench), planned_(planned), policy_(std::move(policy)), unhurried_(bench.view) {
  unhurried_.best_effort = true;
  const Prediction& predicted = planned.plan.predicted;
  late_ = predicted.latency > bench.view.budgets.latency;
  limit_ = late_ ? predicted.latency : bench.view.budgets.latency;
  const AccuracyModel& accuracy = bench.view.accuracy;
  losses_known_ = accuracy.layers == bench.view.shape.layers && accuracy.slices == bench.view.shape.slices;
}

Outcome Trial::illegal(std::string why) {
  Outcome out;
  out.why = "not legal: " + std::move(why);
  return out;
}

std::string Trial::loss_text(const Outcome& outcome) {
  const double nats = std::abs(outcome.loss_change.value());
  if (!outcome.accuracy_change) return format_loss(nats, std::nullopt);
  return format_loss(nats, std::abs(outcome.accuracy_change->value()) * 100);
}

void Trial::fill(const Prediction& predicted, Outcome& out) const {
  const Prediction& own = planned_.plan.predicted;
  out.replayed = true;
  out.latency = predicted.latency;
  out.peak = predicted.peak;
  out.io = predicted.io;
  out.loss = predicted.loss;
  out.loss_change = predicted.loss - own.loss;
  if (predicted.accuracy_known && own.accuracy_known) out.accuracy_change = predicted.accuracy - own.accuracy;
}

Outcome Trial::chosen(const Subject& subject) const {
  Outcome out;
  out.verdict = Verdict::kChosen;
  out.why = "chosen";
  fill(planned_.plan.predicted, out);
  find_windows(planned_.graph, planned_.timeline, subject, out);
  return out;
}

Outcome Trial::tried(const Plan& alternative, const Subject& subject, bool& keeps_budgets) const {
  keeps_budgets = false;
  const Result<ReplayedPlan> replayed = bench_.replay.replay_fully(alternative);
  if (!replayed.ok() && replayed.error().code != ErrorCode::kInfeasible) return illegal(replayed.error().message);
  Outcome out;
  bool fits = replayed.ok();
  if (replayed.ok()) {
    fill(replayed->prediction, out);
    find_windows(replayed->lowered.graph, replayed->timeline, subject, out);
    fits = out.peak <= bench_.view.budgets.memory;
    if (fits) {
      const Status legal = check_plan(unhurried_, "", alternative, *replayed, bench_.bindings);
      if (!legal.ok()) return illegal(reason_of(legal.error()));
    }
  }
  keeps_budgets = fits && out.latency <= limit_;
  if (!keeps_budgets) judge_memory(alternative, out);
  return out;
}

// The alternative is late or has no room: which of the two would help?
void Trial::judge_memory(const Plan& alternative, Outcome& out) const {
  const Result<Prediction> roomy = bench_.replay.replay_if(alternative, kUnlimited, bench_.view.residency);
  if (!roomy.ok()) {
    out.verdict = Verdict::kMemory;
    out.why = "no room: " + roomy.error().message;
  } else if (roomy->latency > limit_) {
    judge_late(*roomy, out);
  } else {
    out.verdict = Verdict::kMemory;
    out.short_by = shortage(alternative, roomy->peak);
    out.why = "needs " + to_string(*out.short_by) + " more than --memory leaves";
    if (out.replayed && out.latency > limit_) out.why += ", or is late by " + to_string(out.latency - limit_);
  }
}

void Trial::judge_late(const Prediction& roomy, Outcome& out) const {
  out.verdict = Verdict::kLate;
  const bool waits = out.replayed && out.latency > roomy.latency;
  out.late_by = (out.replayed ? out.latency : roomy.latency) - limit_;
  const std::string by = to_string(out.late_by);
  out.why = late_ ? "later by " + by + " than the plan, which is late itself" : "late by " + by;
  if (waits) out.why += "; by " + to_string(roomy.latency - limit_) + " with all the memory";
  if (!out.replayed) out.why += " with all the memory; does not fit what --memory leaves";
}

// More memory never makes a plan later, so halving finds the least that does.
Bytes Trial::shortage(const Plan& alternative, Bytes enough) const {
  Bytes too_little = bench_.view.budgets.memory;
  const Bytes budget = too_little;
  while (enough - too_little > kMemoryGrain) {
    const Bytes middle{too_little.n + (enough - too_little).n / 2};
    const Result<Prediction> predicted = bench_.replay.replay_if(alternative, middle, bench_.view.residency);
    const bool does = predicted.ok() && predicted->latency <= limit_ && predicted->peak <= middle;
    (does ? enough : too_little) = middle;
  }
  return enough - budget;
}

void Trial::judge_loss(const Plan& alternative, Outcome& out) const {
  const Plan& plan = planned_.plan;
  const AccuracyModel& accuracy = bench_.view.accuracy;
  if (late_ && out.latency < limit_) {
    out.verdict = Verdict::kBetter;
    out.why = "would end " + to_string(limit_ - out.latency) + " sooner" + passed_over();
  } else if (!losses_known_) {
    out.verdict = Verdict::kUnknown;
    out.why = "fits; nothing is known of what it loses";
  } else if (!accuracy.knows(alternative.depth, alternative.bits) || !accuracy.knows(plan.depth, plan.bits)) {
    out.verdict = Verdict::kUnknown;
    out.why = "fits; what it loses is not known: profiled with the first slices of each layer only";
  } else if (out.loss_change.n > 0) {
    out.verdict = Verdict::kWorse;
    out.why = "fits, but loses " + loss_text(out) + " more";
  } else if (out.loss_change.n < 0) {
    out.verdict = Verdict::kBetter;
    out.why = "fits, and would lose " + loss_text(out) + " less" + passed_over();
  } else {
    out.verdict = Verdict::kEqual;
    const int64_t more = out.io.n - plan.predicted.io.n;
    out.why = "fits, and loses the same";
    if (more != 0) out.why += ", reading " + to_string(Bytes{std::abs(more)}) + (more > 0 ? " more" : " less");
  }
}

Outcome Trial::of(const Plan& alternative, const Subject& subject) const {
  bool keeps_budgets = false;
  Outcome out = tried(alternative, subject, keeps_budgets);
  if (keeps_budgets) judge_loss(alternative, out);
  return out;
}

Outcome Trial::of_placement(const Plan& alternative, const Subject& subject) const {
  bool keeps_budgets = false;
  Outcome out = tried(alternative, subject, keeps_budgets);
  if (!keeps_budgets) return out;
  const Duration own = planned_.plan.predicted.latency;
  const std::string difference = to_string(apart(out.latency, own));
  if (out.latency < own) {
    out.verdict = Verdict::kBetter;
    out.why = "the request would end " + difference + " sooner" + passed_over();
  } else if (out.latency > own) {
    out.verdict = Verdict::kWorse;
    out.why = "the request would end " + difference + " later";
  } else {
    out.verdict = Verdict::kEqual;
    out.why = "the request would end as early";
  }
  return out;
}

}  // namespace tessera
