// Answers texts under budgets: plans, loads, computes, and shows how well the prediction held.
#include <cstdio>

#include <spdlog/spdlog.h>

#include "framework/saturating.h"
#include "tools/chrome_trace.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/interrupt.h"
#include "tools/opened_session.h"
#include "tools/process_facts.h"
#include "tools/render_json.h"
#include "tools/render_lanes.h"
#include "tools/render_run.h"
#include "tools/texts.h"

namespace tessera {
namespace {

struct RunFlags {
  OutputFlags output;
  ModelFlags model;
  MachineFlags machine;
  RequestFlags request;
  TextFlags text;
  std::string trace;
  int lanes = 4;
};

void declare(CLI::App& app, RunFlags& flags) {
  app.footer(
      "Examples: tessera run \"a gripping, beautifully acted film\" --latency 20ms --memory 8MiB\n"
      "          tessera run --input dev.tsv --format json --cold --bandwidth 83MB/s");
  add_text_flags(app, flags.text);
  app.add_option("--trace", flags.trace, "Write the lanes as Chrome trace JSON")->type_name("FILE")->check(not_empty());
  app.add_option("--lanes", flags.lanes, "How many answers show their schedule (default 4)")
      ->type_name("N")
      ->check(at_least(0));
  add_model_flags(app, flags.model);
  add_request_flags(app, flags.request, flags.machine);
  add_machine_flags(app, flags.machine);
  add_output_flags(app, flags.output);
}

// One text with its answer.
struct Answered {
  Text text;
  int tokens = 0;
  bool truncated = false;
  Answer answer;
};

// Runs the texts one by one: prints each answer as it comes, or collects them for the JSON document.
class Run {
 public:
  Run(const RunFlags& flags, OpenedSession& opened)
      : flags_(flags),
        opened_(opened),
        options_(request_options(flags.request, flags.output, kDefaultLatency, kDefaultMemory)),
        paint_(!flags.output.json && colours_wanted()),
        columns_(terminal_columns()) {}

  Status all(const std::vector<Text>& texts) {
    first_.process = before_main();
    first_.open = since_process_start() - first_.process;
    if (!flags_.output.json)
      std::fputs((render_head(opened_.model.shape, opened_.machine.platform, options_.budgets, options_.policy,
                              opened_.model.profiled, columns_, paint_) +
                  (flags_.lanes > 0 ? lanes_legend(columns_, paint_) : "") + '\n')
                     .c_str(),
                 stdout);
    CancelOnInterrupt watch(*opened_.session);
    for (const Text& text : texts) TESSERA_TRY(one(text));
    return {};
  }

  // Exit code after all texts: 3 where one of them was infeasible.
  int finish() {
    if (flags_.output.json) {
      print_json(document());
    } else if (first_.total.ns > 0) {
      std::fputs(render_process(first_, opened_.calibration.took, peak_resident(), columns_, paint_).c_str(), stdout);
    }
    if (infeasible_ == nullptr) return kExitDone;
    std::fflush(stdout);
    std::fprintf(stderr, "tessera run: %s\n", infeasible_message(*infeasible_->infeasible, options_.budgets).c_str());
    return kExitInfeasible;
  }

  Status write_trace() const {
    std::vector<TracedRequest> requests;
    Duration arrival;
    for (const Answered& one : answered_) {
      if (one.answer.planned->infeasible) continue;
      for (const TakenOver& lost : one.answer.taken_over)
        requests.push_back({one.text.shown() + " (given up: " + lost.faults.front().name + " failed)",
                            make_trace(lost.planned->graph, opened_.machine.platform, lost.planned->timeline.start,
                                       lost.planned->timeline.end, lost.report),
                            arrival, lost.at - lost.report.makespan, true});
      const PlannedRequest& planned = *one.answer.planned;
      requests.push_back({one.text.shown(),
                          make_trace(one.answer.executed->graph, opened_.machine.platform, planned.timeline.start,
                                     planned.timeline.end, one.answer.report),
                          arrival, run_offset(one.answer), true});
      arrival += std::max(one.answer.latency, planned.timeline.makespan) + milliseconds(1);
    }
    return write_chrome_trace(flags_.trace, requests);
  }

 private:
  Status one(const Text& text) {
    if (interrupted()) return interrupted_error("run");
    const ModelShape& shape = opened_.model.shape;
    const Encoding encoding = encode_text(*opened_.model.tokenizer, text, shape.max_tokens);
    if (text.a.empty()) spdlog::warn("an empty text: the answer rests on [CLS] and [SEP] alone");
    TESSERA_TRY(fill_preload(encoding.tokens()));
    options_.draw = answered_.size();
    TESSERA_ASSIGN(Answer answer, opened_.session->run(options_, encoding.ids, encoding.types));
    options_.starts_at = saturating_add(options_.starts_at, answer.latency);  // one after another, also in virtual time
    answered_.push_back({text, encoding.tokens(), encoding.truncated, std::move(answer)});
    const Answered& last = answered_.back();
    if (last.answer.planned->infeasible) {
      if (infeasible_ == nullptr) infeasible_ = last.answer.planned;
      return {};
    }
    if (first_.total.ns == 0) {
      if (!opened_.machine.virtual_time) split_run(last.answer, opened_.machine.platform, first_);
      first_.total = since_process_start();
    }
    if (!flags_.output.json) show(last);
    return {};
  }

  // Once, before the first request: the preload buffer is not part of any latency.
  Status fill_preload(int tokens) {
    if (preloaded_) return {};
    preloaded_ = true;
    return opened_.session->preload(options_, tokens);
  }

  void show(const Answered& last) {
    RunView view;
    view.text = last.text.shown();
    view.tokens = last.tokens;
    view.truncated = last.truncated;
    view.planned = last.answer.planned.get();
    view.answer = &last.answer;
    view.budgets = options_.budgets;
    view.policy = options_.policy;
    view.lanes = shown_++ < flags_.lanes;
    view.simulated = opened_.machine.virtual_time;
    std::fputs((render_answer(view, opened_.model.shape, opened_.machine.platform, columns_, paint_) + '\n').c_str(),
               stdout);
    std::fflush(stdout);
  }

  Json result_json(const Answered& one) const {
    const Answer& answer = one.answer;
    Json json = {{"text", one.text.a}};
    if (one.text.paired) json["text_b"] = one.text.b;
    json["tokens"] = one.tokens;
    json["truncated"] = one.truncated;
    if (answer.planned->infeasible) {
      json["plan_id"] = nullptr;
      json["nearest"] = nearest_json(*answer.planned->infeasible);
      return json;
    }
    const auto& names = opened_.model.shape.label_names;
    const bool known = answer.label >= 0 && static_cast<size_t>(answer.label) < names.size();
    json["plan_id"] = answer.planned->id;
    json["label"] = known ? Json(names[static_cast<size_t>(answer.label)]) : Json(nullptr);
    json["confidence"] = answer.label >= 0 ? Json(confidence(answer)) : Json(nullptr);
    json["logits"] = answer.logits;
    json["latency_ms"] = answer.latency.ms();
    json["late_ms"] = answer.late.ms();
    json["revisions"] = revisions_json(answer.revisions);
    if (!answer.revisions.empty()) json["executed"] = executed_json(*answer.executed, opened_.machine.platform);
    if (!answer.taken_over.empty()) json["taken_over"] = taken_over_json(answer.taken_over);
    json["io_bytes"] = answer.io.n;
    json["peak_bytes"] = answer.peak.n;
    if (opened_.machine.platform.memories.size() > 1)
      json["peak_bytes_by_device"] = by_device_json(answer.peaks, opened_.machine.platform);
    return json;
  }

  Json process_json() const {
    return {{"start_to_first_answer_ms", first_.total.ms()},
            {"process_start_ms", first_.process.ms()},
            {"open_ms", first_.open.ms()},
            {"calibrate_ms", opened_.calibration.took.ms()},
            {"plan_ms", first_.plan.ms()},
            {"io_wait_ms", first_.io.ms()},
            {"compute_ms", first_.compute.ms()},
            {"other_ms", first_.other().ms()},
            {"peak_rss_bytes", peak_resident().n}};
  }

  Json document() const {
    Json json = new_document();
    json["model"] = model_json(opened_.model.shape);
    json["policy"] = options_.policy;
    json["budget"] = budget_json(options_.budgets, opened_.machine.platform);
    json["feasible"] = infeasible_ == nullptr;
    json["nearest"] = infeasible_ ? nearest_json(*infeasible_->infeasible) : Json(nullptr);
    json["plan"] = nullptr;
    Json plans = Json::object(), results = Json::array();
    bool any = false;
    for (const Answered& one : answered_) {
      const PlannedRequest& planned = *one.answer.planned;
      any |= !planned.infeasible;
      results.push_back(result_json(one));
      if (planned.infeasible || plans.contains(planned.id)) continue;
      plans[planned.id] = plan_json(planned, opened_.model.shape, opened_.machine.platform, false);
      if (json["plan"].is_null()) json["plan"] = plans[planned.id];
    }
    json["plans"] = std::move(plans);
    json["results"] = any ? std::move(results) : Json::array();
    json["process"] = process_json();
    return json;
  }

  const RunFlags& flags_;
  OpenedSession& opened_;
  RequestOptions options_;
  const Painter paint_;
  const int columns_;
  std::vector<Answered> answered_;
  std::shared_ptr<const PlannedRequest> infeasible_;
  FirstAnswer first_;
  bool preloaded_ = false;
  int shown_ = 0;
};

Result<int> execute(const RunFlags& flags) {
  TESSERA_ASSIGN(const auto opened, open_session(flags.model, flags.machine, flags.request, flags.output, false));
  std::vector<Text> texts = sample_texts();
  if (flags.text.any()) { TESSERA_ASSIGN(texts, read_texts(flags.text, opened->model.shape)); }
  Run run(flags, *opened);
  TESSERA_TRY(run.all(texts));
  opened->save_learned_costs();
  if (!flags.trace.empty()) TESSERA_TRY(run.write_trace());
  return run.finish();
}

}  // namespace

int run_command(int argc, const char* const* argv) {
  CLI::App app(
      "Answers texts under a latency and a memory budget: tessera run [TEXT...] [FLAGS...]\n"
      "One text an argument; none: sample sentences.",
      "run");
  RunFlags flags;
  declare(app, flags);
  if (const auto code = parse_flags(app, argc, argv, &flags.text.texts)) return *code;
  const auto code = execute(flags);
  return code.ok() ? *code : fail("run", code.error(), flags.output.json);
}

}  // namespace tessera
