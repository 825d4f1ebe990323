// Plans a request without running it: the plan, its timeline, the reason of each choice.
#include <cstdio>
#include <set>

#include "tools/chrome_trace.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/opened_session.h"
#include "tools/plan_questions.h"
#include "tools/render_json.h"
#include "tools/render_lanes.h"
#include "tools/render_run.h"
#include "tools/texts.h"

namespace tessera {
namespace {

constexpr int kDefaultTokens = 128;

struct PlanFlags {
  OutputFlags output;
  ModelFlags model;
  MachineFlags machine;
  RequestFlags request;
  TextFlags text;
  std::optional<int> tokens;
  std::string trace;
  QuestionFlags questions;
};

void declare(CLI::App& app, PlanFlags& flags) {
  app.footer(
      "Examples: tessera plan \"a gripping film\" --latency 20ms --memory 8MiB --explain\n"
      "          tessera plan \"a gripping film\" --whatif latency=30ms,memory=16MiB --explain 3.7\n"
      "          tessera plan --shape configs/models/bert-base.toml --platform board.toml --virtual --latency 400ms");
  add_text_flags(app, flags.text);
  app.add_option("--tokens", flags.tokens, "Plan for so many tokens (default 128)")->type_name("N")->check(at_least(1));
  app.add_option("--shape", flags.model.shape, "A model described without weights")->type_name("FILE")->check(not_empty());
  add_question_flags(app, flags.questions);
  app.add_option("--trace", flags.trace, "Write the predicted lanes as Chrome trace JSON")
      ->type_name("FILE")
      ->check(not_empty());
  add_model_flags(app, flags.model);
  add_request_flags(app, flags.request, flags.machine);
  add_machine_flags(app, flags.machine);
  add_output_flags(app, flags.output);
}

struct Planned {
  Text text;
  int tokens = 0;
  bool truncated = false;
  std::shared_ptr<const PlannedRequest> request;
};

// What to plan for: the texts' token counts, or --tokens.
Result<std::vector<Planned>> requests(const PlanFlags& flags, const OpenedModel& model) {
  if (!flags.text.any()) {
    const int tokens = flags.tokens.value_or(std::min(kDefaultTokens, model.shape.max_tokens));
    if (tokens > model.shape.max_tokens)
      return Error{ErrorCode::kInvalid, "--tokens " + std::to_string(tokens) + ": " + model.shape.name + " takes at most " +
                                            std::to_string(model.shape.max_tokens)};
    return std::vector<Planned>{{Text{}, tokens, false, nullptr}};
  }
  if (flags.tokens) return Error{ErrorCode::kInvalid, "--tokens is for planning without a text"};
  if (!model.tokenizer) return Error{ErrorCode::kInvalid, "a --shape has no tokenizer; give --tokens N instead of a text"};
  TESSERA_ASSIGN(const std::vector<Text> texts, read_texts(flags.text, model.shape));
  std::vector<Planned> list;
  for (const Text& text : texts) {
    const Encoding encoding = encode_text(*model.tokenizer, text, model.shape.max_tokens);
    list.push_back({text, encoding.tokens(), encoding.truncated, nullptr});
  }
  return list;
}

// What is asked is answered once a plan: requests of one length share it.
Status print_plans(const OpenedSession& opened, const RequestOptions& options, const Answering& answering,
                   const std::vector<Planned>& list) {
  const Painter paint(colours_wanted());
  const int columns = terminal_columns();
  std::string text = render_head(opened.model.shape, opened.machine.platform, options.budgets, options.policy,
                                 opened.model.profiled, columns, paint) +
                     lanes_legend(columns, paint) + '\n';
  std::set<std::string> answered;
  for (const Planned& planned : list) {
    const bool fresh = answered.insert(planned.request->id).second;
    if (!planned.request->infeasible) {
      RunView view;
      view.text = planned.text.shown();
      view.tokens = planned.tokens;
      view.truncated = planned.truncated;
      view.planned = planned.request.get();
      view.budgets = options.budgets;
      view.policy = options.policy;
      text += render_answer(view, opened.model.shape, opened.machine.platform, columns, paint);
      text += "  decided in " + to_string(planned.request->planning) + '\n';
    }
    if (fresh) {
      TESSERA_ASSIGN(const std::string answers, answering.text(*planned.request, planned.tokens, columns, paint));
      text += answers;
    }
    text += '\n';
  }
  std::fputs(text.c_str(), stdout);
  return {};
}

Result<Json> document(const OpenedSession& opened, const RequestOptions& options, const Answering& answering,
                      const std::vector<Planned>& list) {
  Json json = new_document();
  json["model"] = model_json(opened.model.shape);
  json["policy"] = options.policy;
  json["budget"] = budget_json(options.budgets, opened.machine.platform);
  json["feasible"] = true;
  json["nearest"] = nullptr;
  json["plan"] = nullptr;
  Json plans = Json::object();
  for (const Planned& planned : list) {
    if (planned.request->infeasible) {
      json["feasible"] = false;
      if (!json["nearest"].is_null()) continue;
      json["nearest"] = nearest_json(*planned.request->infeasible);
      if (json["plan"].is_null()) TESSERA_TRY(answering.add(*planned.request, planned.tokens, json));
    } else if (!plans.contains(planned.request->id)) {
      Json& plan = plans[planned.request->id] =
          plan_json(*planned.request, opened.model.shape, opened.machine.platform, false);
      plan["tokens"] = planned.tokens;
      TESSERA_TRY(answering.add(*planned.request, planned.tokens, plan));
      if (!json["plan"].is_null()) continue;
      json["plan"] = plan;
      for (const char* about : {"whatif", "shadow_prices"})
        if (plan.contains(about)) json[about] = plan[about];
    }
  }
  json["plans"] = std::move(plans);
  if (!json["feasible"].get<bool>()) json["results"] = Json::array();
  return json;
}

Status write_trace(const std::string& path, const Platform& platform, const std::vector<Planned>& list) {
  std::vector<TracedRequest> traced;
  Duration arrival;
  for (const Planned& planned : list) {
    if (planned.request->infeasible) continue;
    const PlannedRequest& request = *planned.request;
    traced.push_back({planned.text.shown(),
                      make_trace(request.graph, platform, request.timeline.start, request.timeline.end, RunReport{}),
                      arrival, Duration{}, false});
    arrival += request.timeline.makespan + milliseconds(1);
  }
  return write_chrome_trace(path, traced);
}

Result<int> execute(const PlanFlags& flags) {
  TESSERA_ASSIGN(const Questions questions, read_questions(flags.questions));
  TESSERA_ASSIGN(const auto opened, open_session(flags.model, flags.machine, flags.request, flags.output, true));
  TESSERA_ASSIGN(std::vector<Planned> list, requests(flags, opened->model));
  const RequestOptions options = request_options(flags.request, flags.output, kDefaultLatency, kDefaultMemory);
  TESSERA_TRY(opened->session->preload(options, list.front().tokens));
  for (Planned& planned : list) { TESSERA_ASSIGN(planned.request, opened->session->plan(options, planned.tokens)); }
  if (!flags.trace.empty()) TESSERA_TRY(write_trace(flags.trace, opened->machine.platform, list));
  const Answering answering(*opened, options, questions);
  for (const Planned& planned : list) TESSERA_TRY(answering.check(*planned.request));
  if (flags.output.json) {
    TESSERA_ASSIGN(const Json json, document(*opened, options, answering, list));
    print_json(json);
  } else {
    TESSERA_TRY(print_plans(*opened, options, answering, list));
  }
  std::fflush(stdout);
  for (const Planned& planned : list) {
    if (!planned.request->infeasible) continue;
    std::fprintf(stderr, "tessera plan: %s\n", infeasible_message(*planned.request->infeasible, options.budgets).c_str());
    return kExitInfeasible;
  }
  return kExitDone;
}

}  // namespace

int plan_command(int argc, const char* const* argv) {
  CLI::App app(
      "Plans a request without running it: tessera plan [TEXT...] [FLAGS...]\n"
      "Without a text, for --tokens.",
      "plan");
  PlanFlags flags;
  declare(app, flags);
  const std::vector<std::string> joined = with_targets_joined(argc, argv);
  std::vector<const char*> words;
  for (const std::string& word : joined) words.push_back(word.c_str());
  if (const auto code = parse_flags(app, static_cast<int>(words.size()), words.data(), &flags.text.texts)) return *code;
  const auto code = execute(flags);
  return code.ok() ? *code : fail("plan", code.error(), flags.output.json);
}

}  // namespace tessera
