// Rewrites loads, transfers and computes of a running plan, as lowering the revised plan would make them.
#include "scheduler/plan_revision.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "scheduler/plan_check.h"
#include "shards/load_tasks.h"

namespace tessera {
namespace {

SliceMask bit(int slice) { return SliceMask{1} << slice; }

Error refused(const std::string& what) { return {ErrorCode::kInvalid, "revision: " + what}; }

std::string name_of(ShardId id) { return "layer " + std::to_string(id.layer) + " slice " + std::to_string(id.slice); }

bool computes_over_slices(const Task& task) {
  return task.kind == TaskKind::kCompute && task.layer >= 0 && task.cost.op != Op::kExit && task.cost.op != Op::kEmbed;
}

bool moves_shards(const Task& task) {
  return task.cost.op == Op::kLoadShards || (task.kind == TaskKind::kTransfer && task.payload == Payload::kWeights);
}

}  // namespace

PlanRevision::PlanRevision(const PlanningView& view, const RequestBuffers& buffers, Plan& plan, TaskGraph& graph)
    : view_(view),
      buffers_(buffers),
      plan_(plan),
      graph_(graph),
      decided_loads_(plan.loads),
      brought_by_(plan.bits.size()),
      movers_(plan.depth),
      users_(plan.depth),
      decoded_(plan.depth),
      kept_(plan.depth) {
  for (const Task& task : graph_.tasks()) {
    if (computes_over_slices(task)) users_[task.layer].push_back(task.id);
    if (!moves_shards(task)) continue;
    movers_[task.layer].push_back(task.id);
    for (SliceMask rest = task.slice_set; rest != 0; rest &= rest - 1) {
      Bringer& by = brought_by_[index({task.layer, static_cast<int16_t>(std::countr_zero(rest))})];
      (task.kind == TaskKind::kLoad ? by.load : by.transfer) = task.id;
    }
  }
  for (const ResidentShard& held : view.residency.shards)
    if (held.decoded && plan.uses(view.platform, held)) decoded_[held.id.layer] |= bit(held.id.slice);
  for (const ShardId id : plan.keep) kept_[id.layer] |= bit(id.slice);
}

Result<PlanDraft> PlanRevision::draft(std::span<const ShardEdit> edits, Bytes preload) const {
  PlanDraft out;
  out.plan = plan_;
  std::vector<SliceMask> touched(plan_.depth);
  for (const ShardEdit& edit : edits) {
    TESSERA_TRY(edit_shard(edit, out.plan));
    touched[edit.shard.layer] |= bit(edit.shard.slice);
  }
  for (int l = 0; l < plan_.depth; ++l) {
    for (SliceMask rest = touched[l]; rest != 0; rest &= rest - 1) {
      const ShardId id{static_cast<int16_t>(l), static_cast<int16_t>(std::countr_zero(rest))};
      if (out.plan.bits_of(id) != plan_.bits_of(id))
        out.edits.push_back({id, out.plan.bits_of(id)});
      else
        touched[l] &= ~bit(id.slice);
    }
    if (touched[l] == 0) continue;
    TESSERA_TRY(check_parts(out.plan, l));
    if (const Status legal = check_layer(view_, out.plan, l); !legal.ok()) return refused(legal.error().message);
  }
  std::erase_if(out.plan.keep, [&](ShardId id) { return out.plan.bits_of(id) == kAbsent; });
  const Bytes kept = kept_bytes(view_, out.plan);
  if (kept > preload && kept > kept_bytes(view_, plan_) && kept > view_.residency.charged_to(view_.platform, 0))
    return refused("keeps " + to_string(kept) + " in the preload buffer; its budget is " + to_string(preload));
  out.plan.loads = loads_of(out.plan);
  TESSERA_TRY(rewrite(touched, out));
  return out;
}

// Writes the shard's bits and its place in its part.
Status PlanRevision::edit_shard(const ShardEdit& edit, Plan& next) const {
  const ShardId id = edit.shard;
  if (id.layer < 0 || id.layer >= plan_.depth || id.slice < 0 || id.slice >= plan_.slices)
    return refused(name_of(id) + ": the plan has " + std::to_string(plan_.depth) + " layers of " +
                   std::to_string(plan_.slices) + " slices");
  if (next.bits_of(id) == kAbsent) return refused(name_of(id) + ": the plan does not have it, or no longer");
  if (brought_by_[index(id)].load == kNoTask) return refused(name_of(id) + ": no load brings it");
  if (edit.bits == kAbsent) {
    for (LayerPart& part : next.placement[id.layer]) part.slices &= ~bit(id.slice);
  } else if (!valid_bits(edit.bits) || !view_.shape.has_bits(edit.bits) || view_.shape.bytes_of(id, edit.bits).n <= 0) {
    return refused(name_of(id) + ": the store has no version at " + std::to_string(edit.bits) + " bits");
  }
  next.bits[index(id)] = edit.bits;
  return {};
}

Status PlanRevision::check_parts(const Plan& next, int layer) const {
  for (const LayerPart& part : next.placement[layer])
    if (part.slices == 0)
      return refused("layer " + std::to_string(layer) + ": the part on " + view_.platform.devices[part.device].name +
                     " would have no slices");
  return {};
}

// The decided order, each load's slices grouped by their bits, lowest first.
std::vector<PlannedLoad> PlanRevision::loads_of(const Plan& next) const {
  std::vector<PlannedLoad> out;
  for (const PlannedLoad& load : decided_loads_) {
    if (load.op != Op::kLoadShards) {
      out.push_back(load);
      continue;
    }
    std::array<SliceMask, kBitsLevels> at{};
    for (SliceMask rest = load.slices; rest != 0; rest &= rest - 1) {
      const ShardId id{load.layer, static_cast<int16_t>(std::countr_zero(rest))};
      at[bits_level(next.bits_of(id))] |= bit(id.slice);
    }
    for (int level = 1; level < kBitsLevels; ++level)  // 0: left out
      if (at[level] != 0) out.push_back({load.op, load.layer, level_bits(level), at[level]});
  }
  return out;
}

Status PlanRevision::rewrite(const std::vector<SliceMask>& touched, PlanDraft& draft) const {
  for (int l = 0; l < plan_.depth; ++l) {
    if (touched[l] == 0) continue;
    const SliceMask present = draft.plan.slice_set(l);
    for (const TaskId id : movers_[l]) {
      Task task = graph_.task(id);
      if ((task.slice_set & touched[l]) == 0) continue;
      const int64_t before = task.reserve;
      refit_load(view_.shape, draft.plan, task.slice_set & present, task);
      if (task.empty)
        task.estimate = {}, task.planned = {};
      else
        price(task, view_.costs, plan_.quantile);
      draft.grows = draft.grows || task.reserve > before;
      draft.tasks.push_back(task);
    }
    for (const TaskId id : users_[l]) {
      Task task = graph_.task(id);
      if ((task.slice_set & touched[l]) == 0) continue;
      TESSERA_TRY(rewrite_compute(touched[l], draft.plan, task));
      draft.tasks.push_back(task);
    }
  }
  std::sort(draft.tasks.begin(), draft.tasks.end(), [](const Task& a, const Task& b) { return a.id < b.id; });
  return {};
}

Status PlanRevision::rewrite_compute(SliceMask touched, const Plan& next, Task& task) const {
  const SliceMask before = task.slice_set, after = before & next.slice_set(task.layer);
  if (task.cost.op == Op::kCombine) {
    task.slice_set = after;
    return {};
  }
  refit_compute(next, after, decoded_[task.layer], task);
  if (task.cost.op != Op::kAttentionPart)  // the last to need its shards
    for (SliceMask rest = before & touched & ~kept_[task.layer]; rest != 0; rest &= rest - 1) {
      const ShardId id{task.layer, static_cast<int16_t>(std::countr_zero(rest))};
      if (next.bits_of(id) != kAbsent) task.release += view_.shape.bytes_of(id, next.bits_of(id)).n;
      task.release -= view_.shape.bytes_of(id, plan_.bits_of(id)).n;
    }
  price(task, view_.costs, plan_.quantile);
  const DeviceId device = task.cost.device;
  const std::string& name = view_.platform.devices[device].name;
  if (view_.supports && !view_.supports(task.cost))
    return refused("layer " + std::to_string(task.layer) + ": device " + name + " does not support it so");
  if (task.estimate.workspace.n > buffers_.workspace[device])
    return refused("layer " + std::to_string(task.layer) + ": device " + name + " would need " +
                   to_string(task.estimate.workspace) + " of scratch; it has " +
                   to_string(Bytes{buffers_.workspace[device]}));
  return {};
}

void PlanRevision::apply(PlanDraft draft) {
  for (const ShardEdit& edit : draft.edits) {
    plan_.bits[index(edit.shard)] = edit.bits;
    if (edit.bits != kAbsent) continue;
    for (LayerPart& part : plan_.placement[edit.shard.layer])
      if ((part.slices & bit(edit.shard.slice)) != 0) part.slices &= ~bit(edit.shard.slice);
  }
  plan_.loads = std::move(draft.plan.loads);
  plan_.keep = std::move(draft.plan.keep);
  for (const Task& task : draft.tasks) graph_.revise(task);
}

}  // namespace tessera
