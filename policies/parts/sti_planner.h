// Plans as STI does, with what was mended in it (policies/sti.cc): the policy itself, and where `elastic` starts from.
#pragma once

#include "policies/parts/choices.h"
#include "policies/parts/trials.h"

namespace tessera {

enum class Slack { kAuto, kKeep, kIo };

struct StiSettings {
  Choices choices;
  bool lowest_first = false;  // pass 1
  Slack slack = Slack::kAuto;
  bool fill_all = false;
  bool random_order = false;  // of pass 2, from the request's seed; else by importance
  bool preload = true;        // false: neither holds anything before a request, nor keeps anything after it
};

Result<Decision> decide_sti(Trials& trials, const StiSettings& settings);
// The buffer of the submodel that this request would run if its first layers were resident.
Result<Residency> preload_sti(const PlanningView& view, const StiSettings& settings);

}  // namespace tessera
