// Collects what rows ran, evaluates it in one process a data set, and scores the rows.
#include "tools/compare_accuracy.h"

#include <algorithm>
#include <fstream>
#include <numeric>
#include <optional>

#include "scheduler/statistics.h"
#include "tools/compare_row.h"
#include "tools/interrupt.h"
#include "tools/process_facts.h"
#include "tools/terminal.h"
#include "tools/worker_pool.h"

namespace tessera {
namespace {

// Plans that are measured in one call: neighbours share their first layers, and what is done is heard of.
constexpr size_t kBatch = 24;
constexpr uint64_t kBootstrapSeed = 1;

// A one-shot row's app runs each plan over the whole data set.
void want(const Json& ran, size_t app, std::map<std::string, std::vector<int32_t>>& plans) {
  const Json& mine = ran["apps"][app];
  const bool whole = mine["sentence_of"].empty();
  for (size_t i = 0; i < mine["plan_of"].size(); ++i) {
    const int plan = mine["plan_of"][i].get<int>();
    if (plan < 0) continue;
    const auto [at, fresh] = plans.try_emplace(ran["plans"][static_cast<size_t>(plan)].get<std::string>());
    if (whole)
      at->second.clear();
    else if (fresh || !at->second.empty())
      at->second.push_back(mine["sentence_of"][i].get<int32_t>());
  }
}

void tidy(std::vector<int32_t>& sentences) {
  std::sort(sentences.begin(), sentences.end());
  sentences.erase(std::unique(sentences.begin(), sentences.end()), sentences.end());
}

// ---- in the worker

struct Evaluating {
  OpenedModel model;
  Machine machine;
  std::unique_ptr<PlanEvaluator> evaluator;
};

Result<std::unique_ptr<Evaluating>> open_evaluator(const Experiment& experiment, const AnswerSet& names) {
  auto out = std::make_unique<Evaluating>();
  ModelFlags flags;
  flags.model = names.model;
  TESSERA_ASSIGN(out->model, open_model(flags, 0));
  TESSERA_ASSIGN(out->machine, local_machine({}, {}));
  EvaluatorOptions options;
  if (experiment.sentences > 0) options.limit = experiment.sentences;
  options.cache = default_cache_directory();
  options.version = program_version();
  for (size_t d = 0; d < out->machine.bindings.size(); ++d) {
    const DeviceDescription& device = out->machine.platform.devices[d];
    if (!computes(device.kind) || !device.available) continue;
    TESSERA_ASSIGN(out->evaluator,
                   PlanEvaluator::create(*out->model.store, *out->model.tokenizer, names.data,
                                         *out->machine.bindings[d].backend, out->machine.bindings[d].device, options));
    return out;
  }
  return Error{ErrorCode::kDevice, "no device of this machine computes; accuracy cannot be measured"};
}

Status evaluate_all(const Experiment& experiment, const AnswerSet& names,
                    const std::map<std::string, std::vector<int32_t>>& plans,
                    const std::function<void(const std::string&)>& tell) {
  TESSERA_ASSIGN(const auto open, open_evaluator(experiment, names));
  const Json set{names.model, names.data};
  tell(Json{{"set", set}, {"given", open->evaluator->labels()}}.dump());
  for (auto at = plans.begin(); at != plans.end();) {
    std::vector<EvaluationWanted> batch;
    std::vector<std::string> patterns;
    for (; at != plans.end() && batch.size() < kBatch; ++at) {
      TESSERA_ASSIGN(EffectivePlan plan, plan_of_pattern(at->first, open->model.shape.slices));
      batch.push_back({std::move(plan), at->second});
      patterns.push_back(at->first);
    }
    TESSERA_ASSIGN(const auto found, open->evaluator->evaluate(batch));
    for (size_t i = 0; i < batch.size(); ++i)
      tell(Json{
          {"set", set}, {"plan", patterns[i]}, {"key", open->evaluator->key(batch[i].plan)}, {"labels", found[i]->labels}}
               .dump());
  }
  return {};
}

// ---- in the parent

// Whether all that is wanted of a plan has been measured.
bool complete(const MeasuredAnswers::Said& said, const std::string& pattern, const std::vector<int32_t>& sentences) {
  const auto at = said.plans.find(pattern);
  if (at == said.plans.end()) return false;
  const std::vector<int16_t>& labels = at->second.labels;
  const auto known = [&](int32_t s) {
    return static_cast<size_t>(s) < labels.size() && labels[static_cast<size_t>(s)] >= 0;
  };
  if (!sentences.empty()) return std::all_of(sentences.begin(), sentences.end(), known);
  return labels.size() == said.given.size() && std::all_of(labels.begin(), labels.end(), [](int16_t l) { return l >= 0; });
}

std::optional<AnswerSet> set_of(const Json& app) {
  const auto set = app.find("set");
  if (set == app.end() || !set->is_array()) return std::nullopt;
  return AnswerSet{set->at(0).get<std::string>(), set->at(1).get<std::string>()};
}

// Whether the plan answers the sentence right; nothing where that is not known.
std::optional<double> right(const MeasuredAnswers::Said& set, const MeasuredAnswers::Plan* plan, size_t sentence) {
  if (sentence >= set.given.size() || set.given[sentence] < 0) return std::nullopt;
  if (plan == nullptr) return 0;  // not answered
  if (sentence >= plan->labels.size() || plan->labels[sentence] < 0) return std::nullopt;
  return plan->labels[sentence] == set.given[sentence] ? 1 : 0;
}

const MeasuredAnswers::Plan* plan_at(const Json& ran, const MeasuredAnswers::Said& set, int plan) {
  if (plan < 0) return nullptr;
  const auto at = set.plans.find(ran["plans"][static_cast<size_t>(plan)].get<std::string>());
  return at == set.plans.end() ? nullptr : &at->second;
}

// Each sentence once: the share of the repetitions that answer it right.
Scores one_shot_scores(const Json& ran, const std::vector<int>& plan_of, const MeasuredAnswers::Said& set) {
  if (plan_of.empty()) return {};
  std::map<int, int> times;
  for (const int plan : plan_of) ++times[plan];
  Scores scores;
  for (size_t s = 0; s < set.given.size(); ++s) {
    double sum = 0;
    bool known = true;
    for (const auto& [plan, count] : times) {
      const auto one = right(set, plan_at(ran, set, plan), s);
      known = known && one;
      if (one) sum += *one * count;
    }
    if (known) scores.push_back(sum / static_cast<double>(plan_of.size()));
  }
  return scores;
}

Scores sequence_scores(const Json& ran, const Json& app, const MeasuredAnswers::Said& set) {
  Scores scores;
  for (size_t i = 0; i < app["plan_of"].size(); ++i) {
    const auto one = right(set, plan_at(ran, set, app["plan_of"][i].get<int>()), app["sentence_of"][i].get<size_t>());
    if (one) scores.push_back(*one);
  }
  return scores;
}

}  // namespace

Json answer_set_json(const AppModel& names) {
  if (names.data.empty() || !names.shape.empty()) return nullptr;
  return {names.model, names.data};
}

void MeasuredAnswers::hear(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("set")) return;
  try {
    Said& said = sets[{json.at("set").at(0).get<std::string>(), json.at("set").at(1).get<std::string>()}];
    if (json.contains("given")) {
      said.given = json.at("given").get<std::vector<int16_t>>();
      return;
    }
    const auto labels = json.at("labels").get<std::vector<int16_t>>();
    Plan& plan = said.plans[json.at("plan").get<std::string>()];
    plan.key = json.at("key").get<std::string>();
    plan.labels.resize(std::max(plan.labels.size(), labels.size()), -1);
    for (size_t s = 0; s < labels.size(); ++s)
      if (labels[s] >= 0) plan.labels[s] = labels[s];
  } catch (const Json::exception&) {}  // a damaged line of a file
}

void MeasuredAnswers::read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  for (std::string line; std::getline(in, line);) hear(line);
}

WantedAnswers wanted_answers(const std::vector<Json>& rows, const MeasuredAnswers& known) {
  WantedAnswers out;
  for (const Json& row : rows) {
    if (!row.contains("ran")) continue;
    for (size_t a = 0; a < row["ran"]["apps"].size(); ++a)
      if (const auto set = set_of(row["ran"]["apps"][a])) want(row["ran"], a, out[*set]);
  }
  for (auto& [names, plans] : out) {
    for (auto& [pattern, sentences] : plans) tidy(sentences);
    const auto said = known.sets.find(names);
    if (said != known.sets.end())
      std::erase_if(plans, [&](const auto& plan) { return complete(said->second, plan.first, plan.second); });
  }
  std::erase_if(out, [](const auto& set) { return set.second.empty(); });
  return out;
}

Status measure(const Experiment& experiment, const WantedAnswers& wanted,
               const std::function<Status(const std::string&)>& keep, MeasuredAnswers& answers) {
  std::vector<const WantedAnswers::value_type*> sets;
  int64_t total = 0, done = 0;
  for (const auto& set : wanted) {
    sets.push_back(&set);
    total += static_cast<int64_t>(set.second.size());
  }
  if (total == 0) return {};
  Progress progress("measure");
  PoolOptions options;
  options.make = [&](PolicyPulse&) {
    return Worker{[&](uint64_t job, const std::function<void(const std::string&)>& tell) {
      const Status status = evaluate_all(experiment, sets[job]->first, sets[job]->second, tell);
      if (status.ok()) return std::string("{}");
      return Json{{"code", static_cast<int>(status.error().code)}, {"message", status.error().message}}.dump();
    }};
  };
  options.heard = [&](uint64_t, const std::string& line) {
    answers.hear(line);
    progress.update(std::min(++done, total), total);
    return keep(line);
  };
  options.ended = [&](const JobEnd& end, std::vector<uint64_t>&) -> Status {
    if (!end.lost.empty()) return Error{ErrorCode::kInternal, "measuring accuracy: its process " + end.lost};
    const Json answer = Json::parse(end.answer, nullptr, false);
    if (!answer.contains("code")) return {};
    return Error{static_cast<ErrorCode>(answer["code"].get<int>()), answer["message"].get<std::string>()};
  };
  std::vector<uint64_t> jobs(sets.size());
  std::iota(jobs.begin(), jobs.end(), uint64_t{0});
  return run_jobs(options, jobs);
}

Scores fill_accuracy(const MeasuredAnswers& answers, Json& row) {
  Scores scores;
  for (const char* name : {"accuracy", "accuracy_low", "accuracy_high", "accuracy_examples", "accuracy_key"})
    row[name] = nullptr;
  if (!row.contains("ran")) return scores;
  const Json ran = row["ran"];
  for (const Json& app : ran["apps"]) {
    const auto names = set_of(app);
    const auto set = names ? answers.sets.find(*names) : answers.sets.end();
    if (set == answers.sets.end()) continue;
    const auto plan_of = app["plan_of"].get<std::vector<int>>();
    const Scores mine =
        app["sentence_of"].empty() ? one_shot_scores(ran, plan_of, set->second) : sequence_scores(ran, app, set->second);
    scores.insert(scores.end(), mine.begin(), mine.end());
    for (const int plan : plan_of)
      if (const auto* known = plan_at(ran, set->second, plan); known != nullptr && row["accuracy_key"].is_null())
        row["accuracy_key"] = known->key;
  }
  if (scores.empty()) return scores;
  const Interval interval = bootstrap_mean(scores, kBootstrapSeed);
  row["accuracy"] = std::accumulate(scores.begin(), scores.end(), 0.0) / static_cast<double>(scores.size());
  row["accuracy_low"] = interval.low;
  row["accuracy_high"] = interval.high;
  row["accuracy_examples"] = scores.size();
  return scores;
}

}  // namespace tessera
