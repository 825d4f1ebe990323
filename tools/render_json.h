// Builds the JSON documents that machines read (fields: stable contract, tools/README.md).
#pragma once

#include <string>

#include "scheduler/session.h"
#include "tools/commands.h"

namespace tessera {

Json model_json(const ModelShape& shape);
Json budget_json(const Budgets& budgets, const Platform& platform);
// {"latency_ms", "memory_bytes", "both", "why"}
Json nearest_json(const Infeasible& infeasible);
// `explain`: with the reason of each choice.
Json plan_json(const PlannedRequest& planned, const ModelShape& shape, const Platform& platform, bool explain);
// What each device does when, as predicted: [{"device", "name", "kind": load|transfer|compute, "layer", "slices", "bits",
// "start_ms", "end_ms"}] in the order of the graph; layer null outside layers, bits null but for loads of shards.
Json lanes_json(const PlannedRequest& planned, const Platform& platform);
// Null where the duration is kForever, the bytes kUnlimited.
Json milliseconds_json(Duration d);
Json bytes_json(Bytes b);
// Per memory, by name; for machines with several memories.
Json by_device_json(const std::vector<Bytes>& bytes, const Platform& platform);
// Which devices failed in the middle of a request, and from which layer others went on (null: from the start).
Json taken_over_json(const std::vector<TakenOver>& all);

// What a policy changed while the request ran: {"at_ms", "layer", "slices", "from", "to", "why"}; 0 bits: left out.
Json revisions_json(const std::vector<Revision>& revisions);
// The plan as it was run: what revisions change of a plan, and what would have been predicted for it.
Json executed_json(const PlannedRequest& executed, const Platform& platform);

}  // namespace tessera
