// Edits plans of running requests, and plans the same from the start.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "described_session.h"
#include "framework/policy.h"

namespace tessera::testing {

// Six layers of twelve slices, whose requests a script decides and revises.
struct Described : DescribedSession {
  explicit Described(int cpus = 1) : DescribedSession(plain_shape(6, 12), cpus) {}
  void open() { session = Session::open(shape, nullptr, accuracy, machine, {}).take(); }
  Answer run(const RequestOptions& options = scripted(), int tokens = kTokens) {
    auto answer = session->run(options, std::vector<int32_t>(tokens, 2), std::vector<int32_t>(tokens, 0));
    if (!answer.ok()) {
      ADD_FAILURE() << answer.error().message;
      return {};
    }
    return answer.take();
  }
  // The same request, decided so from the start, by a session that has run nothing.
  Answer run_decided(const Plan& plan, const RequestOptions& options = scripted()) {
    Script::now().on_event = nullptr;
    Script::now().decide = [plan](const PlanningView&) -> Result<Decision> { return Decision{plan}; };
    open();
    return run(options);
  }
};

// What the plan would have been, had it been decided with the edits.
inline Plan edited(Plan plan, const std::vector<ShardEdit>& edits) {
  const std::vector<PlannedLoad> before = plan.loads;
  for (const ShardEdit& edit : edits) {
    plan.bits[static_cast<size_t>(edit.shard.layer) * plan.slices + edit.shard.slice] = edit.bits;
    if (edit.bits != kAbsent) continue;
    std::erase(plan.keep, edit.shard);
    for (LayerPart& part : plan.placement[edit.shard.layer]) part.slices &= ~(SliceMask{1} << edit.shard.slice);
  }
  plan.loads.clear();
  for (const PlannedLoad& load : before) {
    if (load.op != Op::kLoadShards) {
      plan.loads.push_back(load);
      continue;
    }
    for (int level = 1; level < kBitsLevels; ++level) {
      PlannedLoad some = load;
      some.bits = level_bits(level);
      some.slices = 0;
      for (SliceMask rest = load.slices; rest != 0; rest &= rest - 1)
        if (plan.bits_of({load.layer, static_cast<int16_t>(std::countr_zero(rest))}) == some.bits)
          some.slices |= rest & -rest;
      if (some.slices != 0) plan.loads.push_back(some);
    }
  }
  return plan;
}

inline std::string text_of(const std::vector<PlannedLoad>& loads) {
  std::string text;
  for (const PlannedLoad& load : loads)
    text += std::to_string(static_cast<int>(load.op)) + ":" + std::to_string(load.layer) + "@" + std::to_string(load.bits) +
            "/" + std::to_string(load.slices) + " ";
  return text;
}

inline std::vector<ShardEdit> whole_layer(const Plan& plan, int layer, Bits bits) {
  std::vector<ShardEdit> edits;
  for (int j = 0; j < plan.slices; ++j) {
    const ShardId id{static_cast<int16_t>(layer), static_cast<int16_t>(j)};
    if (plan.bits_of(id) != kAbsent) edits.push_back({id, bits});
  }
  return edits;
}

inline bool loads_layer(const PlanEditor& editor, TaskId id, int layer) {
  const Task& task = editor.graph().task(id);
  return task.cost.op == Op::kLoadShards && task.layer == layer;
}

}  // namespace tessera::testing
