// Prints plans and answers for people.
#pragma once

#include <string>

#include "scheduler/session.h"
#include "tools/terminal.h"

namespace tessera {

// Where the time from the process's start to its first answer went. The parts sum to `total`.
struct FirstAnswer {
  Duration total;
  Duration process;  // exec to main
  Duration open;     // flags, store, tokenizer, profile, machine, session
  Duration plan;
  Duration io;       // of the run: no device computed (waiting for loads, and waking up)
  Duration compute;  // of the run: a device computed
  Duration other() const { return total - process - open - plan - io - compute; }  // tokenizing, preloading, printing
};
// Fills plan, io and compute from the answer.
void split_run(const Answer& answer, const Platform& platform, FirstAnswer& first);

struct RunView {
  std::string text;  // what was asked, as shown
  int tokens = 0;
  bool truncated = false;
  const PlannedRequest* planned = nullptr;
  const Answer* answer = nullptr;  // null: planned only
  Budgets budgets;
  std::string policy;
  bool lanes = true;
  bool simulated = false;  // in virtual time
};

// From arrival to the start of the run: what measured lanes are shifted by.
Duration run_offset(const Answer& answer);
// Probability of the label.
double confidence(const Answer& answer);

std::string render_head(const ModelShape& shape, const Platform& platform, const Budgets& budgets, const std::string& policy,
                        bool profiled, int columns, const Painter& paint);
std::string render_answer(const RunView& view, const ModelShape& shape, const Platform& platform, int columns,
                          const Painter& paint);
// `calibrating`: the part of `open` that measured the machine, on first use.
std::string render_process(const FirstAnswer& first, Duration calibrating, Bytes peak_resident, int columns,
                           const Painter& paint);
// One line: what the budgets were, why they cannot be met, the nearest that can.
std::string infeasible_message(const Infeasible& infeasible, const Budgets& budgets);

}  // namespace tessera
