// Adds up what rows say.
#include "tools/compare_summary.h"

#include <algorithm>
#include <map>
#include <optional>
#include <span>

#include "scheduler/statistics.h"
#include "shards/hash.h"
#include "tools/eval_metrics.h"

namespace tessera {
namespace {

constexpr uint64_t kBootstrapSeed = 2;

std::optional<double> number(const Json& row, const char* name) {
  const auto at = row.find(name);
  if (at == row.end() || !at->is_number()) return std::nullopt;
  return at->get<double>();
}

struct Mean {
  double sum = 0;
  int64_t n = 0;
  void add(std::optional<double> value) {
    if (!value) return;
    sum += *value;
    ++n;
  }
  Json json() const { return n == 0 ? Json(nullptr) : Json(sum / static_cast<double>(n)); }
};

// How good a plan is said to be, higher is better.
enum class Measure { kAccuracy, kLoss };

std::optional<double> worth(const Json& row, Measure by) {
  if (by == Measure::kAccuracy) return number(row, "accuracy_predicted");
  const auto loss = number(row, "loss_predicted");
  return loss ? std::optional(-*loss) : std::nullopt;
}

// The reference's own plan, as it stood beside a row's bound.
std::optional<double> worth_of_reference(const Json& row, Measure by) {
  const bool accuracy = by == Measure::kAccuracy;
  const auto bound = number(row, accuracy ? "bound" : "loss_bound"), gap = number(row, accuracy ? "gap" : "loss_gap");
  if (!bound || !gap) return std::nullopt;
  return accuracy ? *bound - *gap / 100 : -*bound - *gap;
}

// Above the baseline, of one contender and of the reference, over the groups where all three answer.
struct Way {
  double gained = 0, possible = 0;
  int64_t groups = 0;
  Json json() const { return groups > 0 && possible > 1e-9 ? Json(gained / possible) : Json(nullptr); }
};

// What one contender's rows of one place add up to.
struct Sum {
  int64_t rows = 0, feasible = 0, errors = 0, best = 0, requests = 0, misses = 0;
  Mean predicted, accuracy, regret, loss, loss_regret, latency, io, peak;
  std::vector<double> plan_us;
  Way accuracy_way, loss_way;
  // Points and nats do not add up: where a model has no profile, all is told in nats.
  bool in_accuracy() const { return accuracy_way.groups == loss_way.groups; }
  const Way& way() const { return in_accuracy() ? accuracy_way : loss_way; }

  void add(const Json& row) {
    ++rows;
    errors += !row["error"].is_null();
    if (const auto us = number(row, "plan_us")) plan_us.push_back(*us);
    requests += static_cast<int64_t>(number(row, "requests").value_or(0));
    misses += static_cast<int64_t>(number(row, "misses").value_or(0));
    if (!row["feasible"].get<bool>()) return;
    ++feasible;
    predicted.add(number(row, "accuracy_predicted"));
    accuracy.add(number(row, "accuracy"));
    regret.add(number(row, "regret"));
    loss.add(number(row, "loss_predicted"));
    loss_regret.add(number(row, "loss_regret"));
    latency.add(number(row, "latency_ms_achieved"));
    io.add(number(row, "io_bytes"));
    peak.add(number(row, "peak_bytes"));
  }

  Json json() {
    return {{"rows", rows},
            {"feasible", feasible},
            {"errors", errors},
            {"best", best},
            {"accuracy_predicted", predicted.json()},
            {"accuracy", accuracy.json()},
            {"regret", regret.json()},
            {"loss_predicted", loss.json()},
            {"loss_regret", loss_regret.json()},
            {"gap_closed", way().json()},
            {"gap_groups", way().groups},
            {"gap_in", in_accuracy() ? "accuracy" : "loss"},
            {"requests", requests},
            {"misses", misses},
            {"miss_rate", requests > 0 ? Json(static_cast<double>(misses) / static_cast<double>(requests)) : Json(nullptr)},
            {"latency_ms_achieved", latency.json()},
            {"io_bytes", io.json()},
            {"peak_bytes", peak.json()},
            {"plan_us", plan_us.empty() ? Json(nullptr) : Json(percentile(plan_us, 0.5))}};
  }
};

using Place = std::vector<std::string>;  // JSON texts of platform, model, workload; empty: all places

struct Sums {
  std::vector<std::pair<Place, std::string>> order;
  std::map<std::pair<Place, std::string>, Sum> sums;
  Sum& at(const Place& place, const std::string& label) {
    const auto [found, fresh] = sums.try_emplace({place, label});
    if (fresh) order.emplace_back(place, label);
    return found->second;
  }
};

Place place_of(const Json& row) { return {row["platform"].dump(), row["model"].dump(), row["workload"].dump()}; }

// One group, by one measure: who is best, and how far each goes of the way from the baseline to the reference.
struct Verdict {
  std::optional<double> best, baseline, reference;
};

Verdict verdict(const Experiment& experiment, const std::vector<const Json*>& group, Measure by) {
  Verdict out;
  for (const Json* row : group) {
    const auto value = worth(*row, by);
    if (!value) continue;
    out.best = std::max(out.best.value_or(*value), *value);
    if ((*row)["label"] == experiment.baseline) out.baseline = value;
    const auto proven = (*row)["policy"] == experiment.reference ? value : worth_of_reference(*row, by);
    if (proven) out.reference = std::max(out.reference.value_or(*proven), *proven);
  }
  return out;
}

void add_way(const Verdict& verdict, std::optional<double> value, Way& way) {
  if (!value || !verdict.baseline || !verdict.reference) return;
  way.gained += *value - *verdict.baseline;
  way.possible += *verdict.reference - *verdict.baseline;
  ++way.groups;
}

void judge(const Experiment& experiment, const std::vector<const Json*>& group, Sums& sums) {
  const Verdict by_accuracy = verdict(experiment, group, Measure::kAccuracy);
  const Verdict by_loss = verdict(experiment, group, Measure::kLoss);
  const Measure shown = by_accuracy.best ? Measure::kAccuracy : Measure::kLoss;
  const std::optional<double> best = by_accuracy.best ? by_accuracy.best : by_loss.best;
  for (const Json* row : group)
    for (const Place& place : {place_of(*row), Place{}}) {
      Sum& sum = sums.at(place, (*row)["label"].get<std::string>());
      const auto value = worth(*row, shown);
      sum.best += value && *value == *best;
      add_way(by_accuracy, worth(*row, Measure::kAccuracy), sum.accuracy_way);
      add_way(by_loss, worth(*row, Measure::kLoss), sum.loss_way);
    }
}

// What the scores of two contenders say of each other.
struct Duel {
  int64_t only_a = 0, only_b = 0;
  double mean = 0, p = 1;
  Interval interval;
};

Duel duel(const Scores& of_a, const Scores& of_b) {
  Duel out;
  std::vector<double> difference(of_a.size());
  for (size_t i = 0; i < of_a.size(); ++i) {
    difference[i] = of_a[i] - of_b[i];
    out.only_a += of_a[i] >= 0.5 && of_b[i] < 0.5;
    out.only_b += of_b[i] >= 0.5 && of_a[i] < 0.5;
    out.mean += difference[i] / static_cast<double>(of_a.size());
  }
  if (of_a == of_b) return {};
  out.interval = bootstrap_mean(difference, kBootstrapSeed);
  out.p = mcnemar_exact(out.only_a, out.only_b);
  return out;
}

// Equal plans meet again and again: each pair of scores is resampled once.
class Duels {
 public:
  const Duel& of(const Scores& a, const Scores& b) {
    const auto [at, fresh] = known_.try_emplace({digest(a), digest(b)});
    if (fresh) at->second = duel(a, b);
    return at->second;
  }

 private:
  static std::string digest(const Scores& scores) { return content_digest(std::as_bytes(std::span(scores))); }
  std::map<std::pair<std::string, std::string>, Duel> known_;
};

Json pair_json(const Json& a, const Json& b, size_t n, const Duel& duel) {
  return {{"platform", a["platform"]},
          {"workload", a["workload"]},
          {"latency_ms", a["latency_ms"]},
          {"memory_bytes", a["memory_bytes"]},
          {"preload_bytes", a["preload_bytes"]},
          {"seed", a["seed"]},
          {"a", a["label"]},
          {"b", b["label"]},
          {"n", n},
          {"only_a_right", duel.only_a},
          {"only_b_right", duel.only_b},
          {"p_mcnemar", duel.p},
          {"difference", duel.mean},
          {"difference_low", duel.interval.low},
          {"difference_high", duel.interval.high}};
}

}  // namespace

Json summary_json(const Experiment& experiment, const std::vector<Cell>& cells, const std::vector<Json>& rows) {
  Sums sums;
  std::map<size_t, std::vector<const Json*>> groups;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Json& row = rows[i];
    for (const Place& place : {place_of(row), Place{}}) sums.at(place, row["label"].get<std::string>()).add(row);
    groups[cells[i].group].push_back(&row);
  }
  for (const auto& [key, group] : groups) judge(experiment, group, sums);
  std::stable_sort(sums.order.begin(), sums.order.end(),
                   [](const auto& a, const auto& b) { return a.first.empty() < b.first.empty(); });
  Json list = Json::array();
  for (const auto& [place, label] : sums.order) {
    Json one = {{"platform", place.empty() ? Json(nullptr) : Json::parse(place[0])},
                {"model", place.empty() ? Json(nullptr) : Json::parse(place[1])},
                {"workload", place.empty() ? Json(nullptr) : Json::parse(place[2])},
                {"policy", label}};
    one.update(sums.at(place, label).json());
    list.push_back(std::move(one));
  }
  return list;
}

Json pairs_json(const std::vector<Cell>& cells, const std::vector<Json>& rows, const std::vector<Scores>& scores) {
  Json list = Json::array();
  Duels duels;
  for (size_t first = 0; first < rows.size();) {
    size_t end = first;
    while (end < rows.size() && cells[end].group == cells[first].group) ++end;
    for (size_t a = first; a < end; ++a)
      for (size_t b = a + 1; b < end; ++b)
        if (!scores[a].empty() && scores[a].size() == scores[b].size())
          list.push_back(pair_json(rows[a], rows[b], scores[a].size(), duels.of(scores[a], scores[b])));
    first = end;
  }
  return list;
}

}  // namespace tessera
