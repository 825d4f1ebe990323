// Reads --explain and --whatif, and answers them.
#include "tools/plan_questions.h"

#include <algorithm>
#include <cctype>

namespace tessera {
namespace {

bool looks_like_a_shard(const std::string& word) {
  const auto digit_or_dot = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '.'; };
  return !word.empty() && std::isdigit(static_cast<unsigned char>(word[0])) != 0 &&
         std::all_of(word.begin(), word.end(), digit_or_dot);
}

}  // namespace

void add_question_flags(CLI::App& app, QuestionFlags& flags) {
  app.add_flag(
      "--explain", flags.explain,
      "Each choice with its alternatives, and why they lost; --explain 3: of layer 3; --explain 3.7: of its slice 7");
  app.add_option_function<std::vector<std::string>>(
         "--whatif", [&flags](const std::vector<std::string>& texts) { flags.what_if = texts; },
         "Decides again under latency=30ms,memory=16MiB,preload=1MiB (any of them), and tells what the next step of each "
         "budget would buy; may be repeated")
      ->type_name("BUDGETS")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

std::vector<std::string> with_targets_joined(int argc, const char* const* argv) {
  std::vector<std::string> out;
  for (int i = 0; i < argc; ++i) {
    out.emplace_back(argv[i]);
    if (out.back() == "--") {
      out.insert(out.end(), argv + i + 1, argv + argc);
      break;
    }
    if (out.back() == "--explain" && i + 1 < argc && looks_like_a_shard(argv[i + 1]))
      out.back() += std::string("=") + argv[++i];
  }
  return out;
}

Result<Questions> read_questions(const QuestionFlags& flags) {
  Questions out;
  for (const std::string& text : flags.explain) {
    TESSERA_ASSIGN(const ExplainTarget target, parse_target(text == "true" ? "" : text));
    out.explain.push_back(target);
  }
  for (const std::string& text : flags.what_if) {
    TESSERA_ASSIGN(WhatIf asked, parse_what_if(text));
    out.what_if.push_back(std::move(asked));
  }
  return out;
}

Bytes Answering::base() const {
  const Bytes tokenizer{opened_.model.tokenizer ? opened_.model.tokenizer->resident_bytes() : 0};
  return opened_.model.shape.resident_bytes + tokenizer;
}

Status Answering::check(const PlannedRequest& planned) const {
  if (planned.infeasible) return {};
  for (const ExplainTarget& target : questions_.explain) TESSERA_TRY(check_target(target, planned.plan));
  return {};
}

Result<PlanExplanation> Answering::explanation(const PlannedRequest& planned, int tokens, const ExplainScope& scope) const {
  const OpenedModel& model = opened_.model;
  TESSERA_ASSIGN(const SessionPlanner planner,
                 SessionPlanner::create(model.shape, model.profile.model, opened_.machine, base()));
  return explain_plan({planner, options_, tokens, opened_.session->residency()}, planned, scope);
}

Result<WhatIfReport> Answering::what_if(int tokens) const {
  const OpenedModel& model = opened_.model;
  TESSERA_ASSIGN(BudgetProbe probe,
                 BudgetProbe::create(model.shape, model.profile.model, opened_.machine, base(), options_, tokens));
  return ask_what_if(probe, questions_.what_if);
}

ExplainView Answering::view(const PlanExplanation& explanation, const PlannedRequest& planned, int columns) const {
  return {explanation, planned, opened_.model.shape, opened_.machine.platform, options_.policy, opened_.model.profiled,
          columns};
}

Result<std::string> Answering::text(const PlannedRequest& planned, int tokens, int columns, const Painter& paint) const {
  std::string text;
  if (!planned.infeasible) {
    TESSERA_ASSIGN(const PlanExplanation summary, explanation(planned, tokens, {.candidates = false, .layer = {}}));
    text += '\n' + render_layers(view(summary, planned, columns), paint);
    for (const ExplainTarget& target : questions_.explain) {
      TESSERA_ASSIGN(const PlanExplanation full, explanation(planned, tokens, {.candidates = true, .layer = target.layer}));
      text += '\n' + render_explanation(view(full, planned, columns), target, paint);
    }
  }
  if (questions_.what_if.empty()) return text;
  TESSERA_ASSIGN(const WhatIfReport report, what_if(tokens));
  return text + '\n' + render_what_if(report, columns, paint);
}

Status Answering::add(const PlannedRequest& planned, int tokens, Json& json) const {
  if (!planned.infeasible)
    for (const ExplainTarget& target : questions_.explain) {
      TESSERA_ASSIGN(const PlanExplanation full, explanation(planned, tokens, {.candidates = true, .layer = target.layer}));
      add_explanation(view(full, planned, 0), target, json);
    }
  if (questions_.what_if.empty()) return {};
  TESSERA_ASSIGN(const WhatIfReport report, what_if(tokens));
  add_what_if(report, opened_.model.shape, opened_.machine.platform, json);
  return {};
}

}  // namespace tessera
