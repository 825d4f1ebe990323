// Tells, for each choice of a plan, what else could have been chosen and what would have come of it.
//
// Independent of the policy: an alternative is the plan with that one thing changed (scheduler/neighbour_plan.h), replayed
// as the executor would run it and checked as the planner checks plans. So "fits, and would lose less" is a fact about the
// policy: it passed the alternative over.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "scheduler/session_planner.h"

namespace tessera {

enum class Verdict : uint8_t {
  kChosen,
  kIllegal,  // the model, the request or a device rules it out
  kMemory,   // does not fit the memory, or is late only for want of it
  kLate,
  kUnknown,  // fits; what it loses is not known
  kWorse,    // fits; loses more, or (of placements) ends later
  kEqual,    // fits, and is neither better nor worse
  kBetter,   // fits, and would lose less, or end sooner: passed over
};
// "chosen", "illegal", "memory", "late", "unknown", "worse", "equal", "better"
const char* to_string(Verdict verdict);

// Predicted, since arrival.
struct TimeSpan {
  Duration start, end;
};

// What would come of one alternative, or of what was chosen.
struct Outcome {
  Verdict verdict = Verdict::kIllegal;
  std::string why;
  bool replayed = false;         // what follows is known
  std::optional<TimeSpan> load;  // from storage to where it is computed; nothing: resident or absent
  std::optional<TimeSpan> compute;
  Duration latency;
  Bytes peak, io;
  Micro loss;                            // of the whole plan
  Micro loss_change;                     // against the plan's
  std::optional<Micro> accuracy_change;  // where both are known
  Duration late_by;                      // of kLate
  std::optional<Bytes> short_by;         // of kMemory: how much more would do, to a KiB; nothing: no amount
};

struct BitsCandidate {
  Bits bits = kAbsent;
  Bytes bytes;  // that storage holds for it
  Micro loss;   // of this shard at these bits, at the plan's scale, in nats
  Outcome outcome;
};
struct ShardChoice {
  ShardId id;
  Bits chosen = kAbsent;
  bool resident = false;
  std::optional<DeviceId> device;         // nothing: absent
  std::string reason;                     // the policy's own
  std::vector<BitsCandidate> candidates;  // absent, then every bitwidth of the store, ascending; the chosen among them
};

struct PlacementCandidate {
  std::vector<LayerPart> parts;
  Outcome outcome;  // load, compute: of the layer
};
struct LayerChoice {
  int layer = 0;
  std::optional<TimeSpan> load;
  TimeSpan compute;
  std::string binding;                         // what keeps the layer from losing less
  std::vector<PlacementCandidate> candidates;  // the chosen one first; each device alone; best splits of two; of all
};

struct ExitCandidate {
  int depth = 0;
  Outcome outcome;
};

struct PlanExplanation {
  std::vector<ShardChoice> shards;  // by id
  std::vector<LayerChoice> layers;
  std::vector<ExitCandidate> exits;  // every legal depth
  bool losses_known = false;         // the accuracy model is of this model
};

struct ExplainScope {
  bool candidates = true;    // all; false: the next better one of each shard, for the layers' binding
  std::optional<int> layer;  // only this one's
};

// The request that `planned` was decided for, under what was resident then. kInvalid: the scope names what is not there.
struct ExplainedRequest {
  const SessionPlanner& planner;
  const RequestOptions& options;
  int tokens = 0;
  const Residency& residency;
};
Result<PlanExplanation> explain_plan(const ExplainedRequest& request, const PlannedRequest& planned,
                                     const ExplainScope& scope);

}  // namespace tessera
