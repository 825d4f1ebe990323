// Asks what `tessera plan` was asked beyond the plan: why (--explain), and what other budgets would change (--whatif).
#pragma once

#include <string>
#include <vector>

#include "tools/opened_session.h"
#include "tools/render_explain.h"
#include "tools/render_what_if.h"

namespace tessera {

struct QuestionFlags {
  std::vector<std::string> explain;  // as given; "true" without a value
  std::vector<std::string> what_if;
};
void add_question_flags(CLI::App& app, QuestionFlags& flags);
// The arguments with "--explain 3.7" as "--explain=3.7": only what looks like a shard is its value, else it is a text.
std::vector<std::string> with_targets_joined(int argc, const char* const* argv);

// The flags, understood. kInvalid names what cannot be.
struct Questions {
  std::vector<ExplainTarget> explain;
  std::vector<WhatIf> what_if;
};
Result<Questions> read_questions(const QuestionFlags& flags);

// Answers of one planned request, each rendered or as JSON. Borrows all that it is made of.
class Answering {
 public:
  Answering(const OpenedSession& opened, const RequestOptions& options, const Questions& questions)
      : opened_(opened), options_(options), questions_(questions) {}
  // Refuses targets that the plan does not have.
  Status check(const PlannedRequest& planned) const;
  // A line a layer, and what was asked. Nothing but budgets can be asked of an infeasible request.
  Result<std::string> text(const PlannedRequest& planned, int tokens, int columns, const Painter& paint) const;
  // Adds to a plan's object what was asked about it: "explain", ..., "whatif", "shadow_prices".
  Status add(const PlannedRequest& planned, int tokens, Json& json) const;

 private:
  Result<PlanExplanation> explanation(const PlannedRequest& planned, int tokens, const ExplainScope& scope) const;
  Result<WhatIfReport> what_if(int tokens) const;
  Bytes base() const;
  ExplainView view(const PlanExplanation& explanation, const PlannedRequest& planned, int columns) const;
  const OpenedSession& opened_;
  const RequestOptions& options_;
  const Questions& questions_;
};

}  // namespace tessera
