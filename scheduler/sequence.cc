// Serves queued requests one by one: reclaims, plans with what is left, makes room, runs, counts.
#include "scheduler/sequence.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace tessera {
namespace {

struct Queued {
  Duration arrival;
  int app = 0, index = 0;
  auto operator<=>(const Queued&) const = default;
};

// What of the shared memory is taken, and when the app was last at work.
struct AppState {
  std::vector<Duration> arrivals;
  size_t next = 0;     // of `arrivals`, not served yet
  Bytes base;          // held whatever is in the buffer
  Duration last_used;  // end of its last request
};

class SequenceRun {
 public:
  SequenceRun(const Workload& workload, std::span<const SequenceModel> models, const SequenceOptions& options)
      : workload_(workload),
        models_(models),
        options_(options),
        memory_(workload.memory.value_or(options.memory)),
        apps_(models.size()) {}
  Result<SequenceReport> run();

 private:
  Bytes held_by_others(size_t app) const;
  Bytes room(size_t app) const;
  Status begin();
  std::vector<Queued> queue();
  void reclaim(Duration now);
  Result<Bytes> make_room(size_t app, RequestOptions options, int tokens, const Infeasible& why);
  Result<Answer> attempt(Served& served, RequestOptions& options);
  Status ask(Served& served, RequestOptions& options, std::optional<Answer>& got);
  Status serve(const Queued& queued);
  Status answer(RequestOptions& options, Served& served);
  void count(Served served);

  const Workload& workload_;
  std::span<const SequenceModel> models_;
  const SequenceOptions& options_;
  const Bytes memory_;
  std::vector<AppState> apps_;
  Duration free_;  // the machine, from then on
  SequenceReport report_;
};

Bytes SequenceRun::held_by_others(size_t app) const {
  Bytes sum;
  for (size_t a = 0; a < models_.size(); ++a)
    if (a != app) sum += models_[a].session->held();
  return sum;
}

// The memory budget of a request.
Bytes SequenceRun::room(size_t app) const {
  return memory_ == kUnlimited ? kUnlimited : std::max(Bytes{}, memory_ - held_by_others(app));
}

// Buffers are empty, but for what is preloaded: app by app, each within what those before it leave.
Status SequenceRun::begin() {
  for (size_t a = 0; a < models_.size(); ++a) {
    models_[a].session->give_way(kUnlimited);
    apps_[a].base = models_[a].session->held();
  }
  for (size_t a = 0; a < models_.size(); ++a) {
    if (!workload_.apps[a].preloaded) continue;
    RequestOptions options = models_[a].options;
    options.budgets.memory = room(a);
    TESSERA_TRY(models_[a].session->preload(options, models_[a].tokens.front()));
  }
  report_.peak = held_by_others(models_.size());
  return {};
}

std::vector<Queued> SequenceRun::queue() {
  std::vector<Queued> queue;
  for (size_t a = 0; a < models_.size(); ++a) {
    // Streams of neighbouring seeds and apps have nothing in common: the generator scrambles its state.
    const uint64_t stream = options_.seed * 0x9e3779b97f4a7c15u + (uint64_t{a} << 32);
    apps_[a].arrivals = arrival_times(workload_.apps[a].arrivals, stream);
    for (size_t i = 0; i < apps_[a].arrivals.size(); ++i)
      queue.push_back({apps_[a].arrivals[i], static_cast<int>(a), static_cast<int>(i)});
  }
  std::sort(queue.begin(), queue.end());
  return queue;
}

// An app is idle from the end of its last request to the arrival of its next one.
void SequenceRun::reclaim(Duration now) {
  for (size_t a = 0; a < apps_.size(); ++a) {
    const AppState& app = apps_[a];
    const std::optional<Duration> after = workload_.apps[a].reclaimed_after;
    if (!after) continue;
    const Duration until = app.next < app.arrivals.size() ? std::min(now, app.arrivals[app.next]) : now;
    if (until - app.last_used < *after) continue;
    if (models_[a].session->give_way(kUnlimited) > Bytes{}) ++report_.reclaimed;
  }
}

// What other models gave up, so that it is worth asking again; nothing where the request could not be answered without their
// buffers either.
Result<Bytes> SequenceRun::make_room(size_t app, RequestOptions options, int tokens, const Infeasible& why) {
  if (memory_ == kUnlimited) return Bytes{};
  Bytes others;
  for (size_t a = 0; a < apps_.size(); ++a)
    if (a != app) others += apps_[a].base;
  const Bytes now = room(app), most = std::max(Bytes{}, memory_ - others);
  if (most <= now) return Bytes{};
  options.budgets.memory = most;
  TESSERA_ASSIGN(const auto alone, models_[app].session->plan(options, tokens));
  if (alone->infeasible) return Bytes{};
  const bool known = why.memory && *why.memory > now && *why.memory <= most;
  Bytes wanted = known ? *why.memory - now : kUnlimited;
  std::vector<size_t> order;
  for (size_t a = apps_.size(); a-- > 0;)
    if (a != app) order.push_back(a);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return apps_[a].last_used < apps_[b].last_used; });
  Bytes freed;
  for (const size_t a : order) {
    const Bytes most_of_it = models_[a].session->held() - apps_[a].base;
    const Bytes given = models_[a].session->give_way(std::min(wanted, most_of_it));
    freed += given;
    if (known) wanted = std::max(Bytes{}, wanted - given);
    if (given > Bytes{} && (!known || wanted == Bytes{})) break;
  }
  report_.evicted += freed;
  return freed;
}

// Plans and runs with what memory there is, and with what others give up where that is not enough.
Result<Answer> SequenceRun::attempt(Served& served, RequestOptions& options) {
  const size_t app = static_cast<size_t>(served.app);
  const std::vector<int32_t> ids(static_cast<size_t>(served.tokens), 0);
  for (;;) {
    options.budgets.memory = room(app);
    TESSERA_ASSIGN(Answer answer, models_[app].session->run(options, ids, ids));
    if (!answer.reused) served.planning += answer.planned->planning;
    if (!answer.planned->infeasible) return answer;
    TESSERA_ASSIGN(const Bytes freed, make_room(app, options, served.tokens, *answer.planned->infeasible));
    if (freed == Bytes{}) return answer;
    served.evicted += freed;
  }
}

// What is left of the latency budget of a request that has waited.
Duration left_of(Duration budget, Duration waited, Duration grid) {
  if (waited == Duration{} || budget == kForever) return budget;
  const int64_t step = std::max<int64_t>(1, grid.ns);
  return {std::max<int64_t>(0, (budget - waited).ns) / step * step};
}

// A device that failed, where nothing could take over, fails this request and not the sequence.
Status SequenceRun::ask(Served& served, RequestOptions& options, std::optional<Answer>& got) {
  Result<Answer> answer = attempt(served, options);
  if (answer.ok()) {
    got = answer.take();
    return {};
  }
  if (answer.error().code != ErrorCode::kDevice) return answer.error();
  served.failure = answer.error().message;
  return {};
}

Status SequenceRun::answer(RequestOptions& options, Served& served) {
  served.end = served.start;
  served.answered = false;
  const bool nothing_left = served.start > served.arrival && served.planned_for == Duration{};
  std::optional<Answer> got;
  if (!nothing_left) TESSERA_TRY(ask(served, options, got));
  if (!served.failure.empty()) return {};
  served.infeasible = nothing_left || got->planned->infeasible.has_value();
  if (served.infeasible && workload_.hopeless == Workload::Hopeless::kBestEffort) {
    options.best_effort = true;
    TESSERA_TRY(ask(served, options, got));
  }
  if (!got || !served.failure.empty()) return {};
  served.answered = !got->planned->infeasible;
  served.planned = got->planned;
  served.reused = got->reused;
  if (!served.answered) return {};
  if (options_.count_planning) served.end += served.planning;
  served.end += got->latency;
  served.executed = got->executed != nullptr ? got->executed : got->planned;
  served.revisions = static_cast<int>(got->revisions.size());
  served.ran = effective_plan(served.executed->plan);
  served.io = got->io;
  served.peak = held_by_others(static_cast<size_t>(served.app)) + got->peak;
  return {};
}

Status SequenceRun::serve(const Queued& queued) {
  const size_t app = static_cast<size_t>(queued.app);
  const SequenceModel& model = models_[app];
  Served served;
  served.app = queued.app;
  served.index = queued.index;
  served.sentence = static_cast<int>(static_cast<size_t>(queued.index) % model.tokens.size());
  served.tokens = model.tokens[static_cast<size_t>(served.sentence)];
  served.arrival = queued.arrival;
  served.start = std::max(queued.arrival, free_);
  reclaim(served.start);
  RequestOptions options = model.options;
  served.budget = options.budgets.latency;
  served.planned_for = left_of(served.budget, served.start - served.arrival, workload_.latency_grid);
  options.budgets.latency = served.planned_for;
  options.best_effort = false;
  options.starts_at = served.start;
  options.draw = (static_cast<uint64_t>(queued.app) << 32) | static_cast<uint64_t>(queued.index);
  report_.peak = std::max(report_.peak, held_by_others(models_.size()));
  TESSERA_TRY(answer(options, served));
  served.memory = options.budgets.memory;
  served.latency = served.end - served.arrival;
  served.missed = served.infeasible || !served.answered || served.latency > served.budget;
  ++apps_[app].next;
  apps_[app].last_used = served.end;
  free_ = served.end;
  count(std::move(served));
  return {};
}

void SequenceRun::count(Served served) {
  report_.missed += served.missed;
  report_.infeasible += served.infeasible;
  report_.dropped += !served.answered;
  report_.io += served.io;
  report_.peak = std::max({report_.peak, served.peak, held_by_others(models_.size())});
  report_.planning += served.planning;
  report_.ended = std::max(report_.ended, served.end);
  report_.served.push_back(std::move(served));
}

Result<SequenceReport> SequenceRun::run() {
  TESSERA_TRY(begin());
  const std::vector<Queued> queued = queue();
  report_.served.reserve(queued.size());
  for (const Queued& next : queued) {
    if (options_.cancel && options_.cancel->load())
      return Error{ErrorCode::kCancelled, "interrupted after " + std::to_string(report_.served.size()) + " of " +
                                              std::to_string(queued.size()) + " requests"};
    TESSERA_TRY(serve(next));
  }
  return std::move(report_);
}

Status check_sequence(const Workload& workload, std::span<const SequenceModel> models) {
  const auto invalid = [&](const std::string& what) {
    return Error{ErrorCode::kInvalid, "workload " + workload.name + ": " + what};
  };
  if (workload.apps.empty()) return invalid("has no app");
  if (models.size() != workload.apps.size())
    return invalid(std::to_string(models.size()) + " models for " + std::to_string(workload.apps.size()) + " apps");
  for (size_t a = 0; a < models.size(); ++a) {
    const std::string name = "app " + workload.apps[a].name + ": ";
    const Arrivals& arrivals = workload.apps[a].arrivals;
    if (models[a].session == nullptr) return invalid(name + "has no session");
    if (models[a].tokens.empty()) return invalid(name + "no sentence: neither a data set nor a number of tokens");
    for (size_t b = 0; b < a; ++b)
      if (models[b].session == models[a].session)
        return invalid(name + "shares its session with app " + workload.apps[b].name + "; open one for each");
    const bool sensible = arrivals.requests >= 0 && arrivals.requests <= kMostRequests && arrivals.burst_least >= 1 &&
                          arrivals.burst_most >= arrivals.burst_least && arrivals.step_most >= arrivals.step_least &&
                          arrivals.first.ns >= 0 && arrivals.interval.ns >= 0 && arrivals.step_least.ns >= 0;
    if (!sensible) return invalid(name + "arrivals run backwards, or there are more than " + std::to_string(kMostRequests));
  }
  return {};
}

}  // namespace

RequestOptions app_options(const WorkloadApp& app, RequestOptions experiment) {
  Budgets& budgets = experiment.budgets;
  const int64_t percent = app.latency_percent;
  if (app.latency)
    budgets.latency = *app.latency;
  else if (percent > 0 && budgets.latency.ns < INT64_MAX / percent)
    budgets.latency = {budgets.latency.ns * percent / 100};
  if (app.preload) budgets.preload = *app.preload;
  return experiment;
}

Result<SequenceReport> run_sequence(const Workload& workload, std::span<const SequenceModel> models,
                                    const SequenceOptions& options) {
  TESSERA_TRY(check_sequence(workload, models));
  return SequenceRun(workload, models, options).run();
}

Result<SequenceAccuracy> sequence_accuracy(std::span<const Served> served, int app, PlanEvaluator& evaluator) {
  const std::vector<int>& given = evaluator.labels();
  SequenceAccuracy out;
  std::map<EffectivePlan, std::vector<int32_t>> sentences;
  for (const Served& request : served) {
    if (request.app != app) continue;
    if (request.sentence < 0 || static_cast<size_t>(request.sentence) >= given.size())
      return Error{ErrorCode::kInvalid, "accuracy of a sequence: sentence " + std::to_string(request.sentence) +
                                            " of a set of " + std::to_string(given.size()) +
                                            "; use the data set that it ran on"};
    out.outcome.resize(std::max(out.outcome.size(), static_cast<size_t>(request.index) + 1), int8_t{-1});
    if (request.answered && given[static_cast<size_t>(request.sentence)] >= 0)
      sentences[request.ran].push_back(request.sentence);
  }
  std::vector<EvaluationWanted> wanted;
  for (auto& [plan, list] : sentences) wanted.push_back({plan, std::move(list)});
  TESSERA_ASSIGN(const auto found, evaluator.evaluate(wanted));
  std::map<EffectivePlan, const Evaluation*> by_plan;
  for (size_t w = 0; w < wanted.size(); ++w) by_plan[wanted[w].plan] = found[w].get();
  for (const Served& request : served) {
    const int label = request.app == app ? given[static_cast<size_t>(request.sentence)] : -1;
    if (label < 0) continue;
    const bool right = request.answered && by_plan.at(request.ran)->labels[static_cast<size_t>(request.sentence)] == label;
    ++out.examples;
    out.right += right;
    out.outcome[static_cast<size_t>(request.index)] = right;
  }
  return out;
}

}  // namespace tessera
