// Runs a labelled data set under budgets: accuracy, latency distribution, and how well predictions held.
#include <cmath>
#include <cstdio>
#include <set>

#include "framework/saturating.h"
#include "tools/atomic_file.h"
#include "tools/chrome_trace.h"
#include "tools/commands.h"
#include "tools/eval_metrics.h"
#include "tools/exit_codes.h"
#include "tools/interrupt.h"
#include "tools/opened_session.h"
#include "tools/render_json.h"
#include "tools/render_run.h"
#include "tools/texts.h"

namespace tessera {
namespace {

struct EvalFlags {
  OutputFlags output;
  ModelFlags model;
  MachineFlags machine;
  RequestFlags request;
  std::string data, predictions, trace;
  std::optional<int64_t> limit;
};

void declare(CLI::App& app, EvalFlags& flags) {
  app.footer(
      "Example: tessera eval STORE --data dev.tsv --latency 20ms --memory 8MiB --predictions out.jsonl\n"
      "Without budgets nothing limits the plan.");
  app.add_option("STORE", flags.model.model, "A store, or a Hugging Face folder (default: the embedded model)");
  app.add_option("--data", flags.data, "TSV with a header line: sentence and label, or sentence1, sentence2, label")
      ->required()
      ->type_name("TSV")
      ->check(not_empty());
  app.add_option("--predictions", flags.predictions, "Write one JSON line an example")
      ->type_name("FILE")
      ->check(not_empty());
  app.add_option("--trace", flags.trace, "Write the lanes of every example as Chrome trace JSON")
      ->type_name("FILE")
      ->check(not_empty());
  app.add_option("--limit", flags.limit, "Only the first N examples")->type_name("N")->check(at_least(1));
  add_model_flags(app, flags.model);
  add_request_flags(app, flags.request, flags.machine);
  add_machine_flags(app, flags.machine);
  add_output_flags(app, flags.output);
}

// What the examples added up to.
struct Tally {
  explicit Tally(int labels) : confusion(labels) {}
  Confusion confusion;
  int64_t examples = 0, infeasible = 0, missed = 0, truncated = 0;
  Bytes peak, io;
  double slowest_ms = 0;
  std::vector<double> latency_ms;
  std::vector<double> error;  // |predicted - measured| / measured latency
  std::vector<double> ratio;  // predicted / measured latency
  std::set<std::string> plans;
  std::optional<Infeasible> nearest;
  double predicted_accuracy = 0;  // sum over feasible examples
  bool accuracy_known = true;
  std::vector<TracedRequest> traced;  // filled only for --trace
  Duration arrival;                   // of the next one
};

void trace(const Answer& answer, const Example& example, const Platform& platform, Tally& tally) {
  if (answer.planned->infeasible) return;
  const PlannedRequest& planned = *answer.planned;
  tally.traced.push_back({example.a,
                          make_trace(planned.graph, platform, planned.timeline.start, planned.timeline.end, answer.report),
                          tally.arrival, run_offset(answer), true});
  tally.arrival += std::max(answer.latency, planned.timeline.makespan) + milliseconds(1);
}

void count(const Answer& answer, const Example& example, const Budgets& budgets, Tally& tally) {
  ++tally.examples;
  if (answer.planned->infeasible) {
    ++tally.infeasible;
    if (!tally.nearest) tally.nearest = answer.planned->infeasible;
    return;
  }
  const Prediction& predicted = answer.planned->plan.predicted;
  tally.confusion.add(example.label, answer.label);
  tally.missed += answer.latency > budgets.latency;
  tally.peak = std::max(tally.peak, answer.peak);
  tally.io += answer.io;
  tally.latency_ms.push_back(answer.latency.ms());
  tally.slowest_ms = std::max(tally.slowest_ms, answer.latency.ms());
  const double measured = std::max(answer.latency.ms(), 1e-6);
  tally.error.push_back(std::fabs(predicted.expected.ms() - measured) / measured);
  tally.ratio.push_back(predicted.expected.ms() / measured);
  tally.plans.insert(answer.planned->id);
  tally.predicted_accuracy += predicted.accuracy.value();
  tally.accuracy_known &= predicted.accuracy_known;
}

Json prediction_line(int64_t index, const Example& example, const Answer& answer) {
  const bool infeasible = answer.planned->infeasible.has_value();
  const Plan& plan = answer.planned->plan;
  return {{"index", index},
          {"label", example.label < 0 ? Json(nullptr) : Json(example.label)},
          {"predicted", answer.label < 0 ? Json(nullptr) : Json(answer.label)},
          {"logits", answer.logits},
          {"latency_ms", infeasible ? Json(nullptr) : Json(answer.latency.ms())},
          {"peak_bytes", infeasible ? Json(nullptr) : Json(answer.peak.n)},
          {"plan_id", infeasible ? Json(nullptr) : Json(answer.planned->id)},
          {"predicted_ms", infeasible ? Json(nullptr) : Json(plan.predicted.expected.ms())},
          {"depth", infeasible ? Json(nullptr) : Json(plan.depth)},
          {"width", infeasible ? Json(nullptr) : Json(plan.width())},
          {"mean_bits", infeasible ? Json(nullptr) : Json(plan.mean_bits())}};
}

Result<Tally> run_all(const EvalFlags& flags, OpenedSession& opened, const Dataset& data, const RequestOptions& options,
                      AtomicFile* predictions) {
  const ModelShape& shape = opened.model.shape;
  Tally tally(shape.labels);
  CancelOnInterrupt watch(*opened.session);
  Progress progress("eval");
  RequestOptions asked = options;
  const auto total = std::min<int64_t>(static_cast<int64_t>(data.examples.size()), flags.limit.value_or(INT64_MAX));
  for (int64_t i = 0; i < total; ++i) {
    if (interrupted()) return interrupted_error("eval");
    const Example& example = data.examples[static_cast<size_t>(i)];
    const Encoding encoding = encode_text(*opened.model.tokenizer, {example.a, example.b, data.pairs}, shape.max_tokens);
    tally.truncated += encoding.truncated;
    if (i == 0) TESSERA_TRY(opened.session->preload(options, encoding.tokens()));
    asked.draw = static_cast<uint64_t>(i);
    TESSERA_ASSIGN(const Answer answer, opened.session->run(asked, encoding.ids, encoding.types));
    asked.starts_at = saturating_add(asked.starts_at, answer.latency);  // one after another, also in virtual time
    count(answer, example, options.budgets, tally);
    if (!flags.trace.empty()) trace(answer, example, opened.machine.platform, tally);
    if (predictions != nullptr) TESSERA_TRY(predictions->append(prediction_line(i, example, answer).dump() + '\n'));
    progress.update(i + 1, total);
  }
  return tally;
}

Json spread(std::vector<double>& values) {
  if (values.empty()) return nullptr;
  return {{"p10", percentile(values, 0.10)}, {"median", percentile(values, 0.50)}, {"p90", percentile(values, 0.90)}};
}

Json optional_json(std::optional<double> value) { return value ? Json(*value) : Json(nullptr); }

Json document(const OpenedSession& opened, const RequestOptions& options, const std::string& data, Tally& tally) {
  Json json = new_document();
  json["model"] = model_json(opened.model.shape);
  json["policy"] = options.policy;
  json["budget"] = budget_json(options.budgets, opened.machine.platform);
  json["data"] = data;
  json["examples"] = tally.examples;
  json["accuracy"] = tally.confusion.total() > 0 ? Json(tally.confusion.accuracy()) : Json(nullptr);
  const bool predicted = tally.accuracy_known && !tally.latency_ms.empty();
  json["accuracy_predicted"] =
      predicted ? Json(tally.predicted_accuracy / static_cast<double>(tally.latency_ms.size())) : Json(nullptr);
  json["metrics"] = Json::object();
  if (opened.model.shape.labels == 2)
    json["metrics"] = {{"f1", optional_json(tally.confusion.f1())}, {"mcc", optional_json(tally.confusion.matthews())}};
  Json& latency = json["latency_ms"] = nullptr;
  if (!tally.latency_ms.empty())
    latency = {{"p50", percentile(tally.latency_ms, 0.50)},
               {"p90", percentile(tally.latency_ms, 0.90)},
               {"p99", percentile(tally.latency_ms, 0.99)},
               {"max", tally.slowest_ms}};
  json["deadline_missed"] = tally.missed;
  json["infeasible"] = tally.infeasible;
  json["nearest"] = tally.nearest ? nearest_json(*tally.nearest) : Json(nullptr);
  json["truncated"] = tally.truncated;
  json["peak_bytes"] = tally.latency_ms.empty() ? Json(nullptr) : Json(tally.peak.n);
  json["io_bytes"] = tally.io.n;
  json["plans"] = tally.plans.size();
  json["latency_predicted_over_measured"] = spread(tally.ratio);
  json["latency_prediction_error"] = spread(tally.error);
  return json;
}

void print_table(const OpenedSession& opened, const RequestOptions& options, Tally& tally) {
  const Painter paint(colours_wanted());
  std::fputs(render_head(opened.model.shape, opened.machine.platform, options.budgets, options.policy, opened.model.profiled,
                         terminal_columns(), paint)
                 .c_str(),
             stdout);
  const auto ran = static_cast<long long>(tally.latency_ms.size());
  std::printf("\n  %lld examples, %lld answered by %zu plans, %lld infeasible, %lld late\n",
              static_cast<long long>(tally.examples), ran, tally.plans.size(), static_cast<long long>(tally.infeasible),
              static_cast<long long>(tally.missed));
  if (ran == 0) return;
  if (tally.confusion.total() > 0) {
    std::printf("  accuracy     %.2f %%", tally.confusion.accuracy() * 100);
    if (tally.accuracy_known) std::printf(" (%.2f %% predicted)", tally.predicted_accuracy / static_cast<double>(ran) * 100);
    if (const auto f1 = tally.confusion.f1()) std::printf(", F1 %.3f", *f1);
    if (const auto mcc = tally.confusion.matthews()) std::printf(", MCC %.3f", *mcc);
    std::printf("\n");
  }
  std::printf("  latency      p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.2f ms\n", percentile(tally.latency_ms, 0.50),
              percentile(tally.latency_ms, 0.90), percentile(tally.latency_ms, 0.99), tally.slowest_ms);
  std::printf(
      "  prediction   off by %.1f %% in the median (p10 %.1f %%, p90 %.1f %%); predicted / measured %.2f (%.2f .. %.2f)\n",
      percentile(tally.error, 0.5) * 100, percentile(tally.error, 0.1) * 100, percentile(tally.error, 0.9) * 100,
      percentile(tally.ratio, 0.5), percentile(tally.ratio, 0.1), percentile(tally.ratio, 0.9));
  std::printf("  peak memory  %s; read %s an example\n", to_string(tally.peak).c_str(),
              to_string(Bytes{tally.io.n / ran}).c_str());
}

Result<int> execute(const EvalFlags& flags) {
  TESSERA_ASSIGN(const auto opened, open_session(flags.model, flags.machine, flags.request, flags.output, false));
  TESSERA_ASSIGN(const Dataset data, read_tsv(flags.data, opened->model.shape.label_names));
  if (data.examples.empty()) return Error{ErrorCode::kData, flags.data + ": has a header, but no rows"};
  const RequestOptions options = request_options(flags.request, flags.output, kForever, kUnlimited);
  AtomicFile predictions;
  const bool wanted = !flags.predictions.empty();
  if (wanted) TESSERA_TRY(predictions.open(flags.predictions));
  TESSERA_ASSIGN(Tally tally, run_all(flags, *opened, data, options, wanted ? &predictions : nullptr));
  if (wanted) TESSERA_TRY(predictions.commit());
  if (!flags.trace.empty()) TESSERA_TRY(write_chrome_trace(flags.trace, tally.traced));
  opened->save_learned_costs();
  if (flags.output.json)
    print_json(document(*opened, options, flags.data, tally));
  else
    print_table(*opened, options, tally);
  if (!tally.latency_ms.empty() || !tally.nearest) return kExitDone;
  std::fflush(stdout);
  std::fprintf(stderr, "tessera eval: %s\n", infeasible_message(*tally.nearest, options.budgets).c_str());
  return kExitInfeasible;
}

}  // namespace

int eval_command(int argc, const char* const* argv) {
  CLI::App app("Runs a labelled data set under budgets.", "eval");
  EvalFlags flags;
  declare(app, flags);
  if (const auto code = parse_flags(app, argc, argv)) return *code;
  const auto code = execute(flags);
  return code.ok() ? *code : fail("eval", code.error(), flags.output.json);
}

}  // namespace tessera
