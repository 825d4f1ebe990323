// Walks over a plan's choices and tries the alternatives to each.
#include "scheduler/explain.h"

#include <algorithm>
#include <map>

#include "scheduler/explain_binding.h"
#include "scheduler/explain_placement.h"
#include "scheduler/explain_trial.h"
#include "scheduler/neighbour_plan.h"

namespace tessera {
namespace {

std::string number(int64_t n) { return std::to_string(n); }

// "2, 4, 6-12", of ascending numbers.
std::string list(const std::vector<int>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (last < i + 2) last = i;
    text += (text.empty() ? "" : ", ") + number(numbers[i]) + (last > i ? "-" + number(numbers[last]) : "");
    i = last;
  }
  return text;
}

// Lives for one explain_plan().
class Explainer {
 public:
  Explainer(const Trial& trial, const ExplainScope& scope) : trial_(trial), scope_(scope), plan_(trial.plan()) {
    for (const PlanReason& reason : plan_.explain) {
      std::string& text = reasons_[reason.shard];
      text += (text.empty() ? "" : "; ") + reason.text;
    }
  }

  PlanExplanation run() const {
    PlanExplanation out;
    out.losses_known = trial_.losses_known();
    for (int l = 0; l < plan_.depth; ++l) {
      if (scope_.layer && *scope_.layer != l) continue;
      const size_t first = out.shards.size();
      for (int j = 0; j < plan_.slices; ++j) out.shards.push_back(shard({static_cast<int16_t>(l), static_cast<int16_t>(j)}));
      out.layers.push_back(layer(l, {out.shards.begin() + static_cast<ptrdiff_t>(first), out.shards.end()}));
    }
    if (scope_.candidates && !scope_.layer)
      for (const int depth : trial_.view().shape.depths) out.exits.push_back(exit(depth));
    return out;
  }

 private:
  Trial::Subject subject(ShardId id) const { return {id.layer, SliceMask{1} << id.slice}; }

  const ResidentShard* resident(ShardId id) const {
    const ResidentShard* held = trial_.view().residency.find(id);
    return held != nullptr && plan_.uses(trial_.view().platform, *held) ? held : nullptr;
  }

  ShardChoice shard(ShardId id) const {
    ShardChoice out;
    out.id = id;
    out.chosen = plan_.bits_of(id);
    out.resident = resident(id) != nullptr;
    if (const std::optional<int> part = plan_.part_of(id)) out.device = plan_.placement[id.layer][*part].device;
    if (const auto reason = reasons_.find(id); reason != reasons_.end()) out.reason = reason->second;
    std::vector<Bits> all = trial_.view().shape.bitwidths;
    all.insert(all.begin(), kAbsent);
    std::sort(all.begin(), all.end());
    const auto next = std::upper_bound(all.begin(), all.end(), out.chosen);
    for (auto bits = all.begin(); bits != all.end(); ++bits)
      if (scope_.candidates || *bits == out.chosen || bits == next) out.candidates.push_back(candidate(id, *bits));
    return out;
  }

  BitsCandidate candidate(ShardId id, Bits bits) const {
    BitsCandidate out;
    out.bits = bits;
    if (bits != kAbsent) out.bytes = trial_.view().shape.bytes_of(id, bits);
    if (trial_.losses_known()) out.loss = scaled(trial_.view().accuracy, id, bits);
    if (bits == plan_.bits_of(id))
      out.outcome = trial_.chosen(bits == kAbsent ? Trial::Subject{} : subject(id));
    else if (const std::string why = forbidden(id, bits); !why.empty())
      out.outcome = Trial::illegal(why);
    else
      out.outcome = bits != kAbsent && plan_.bits_of(id) == kAbsent ? added(id, bits) : changed(id, bits, 0);
    return out;
  }

  // By the model, or by what the request fixes; "" where neither forbids it.
  std::string forbidden(ShardId id, Bits bits) const {
    const PlanningView& view = trial_.view();
    const Bits chosen = plan_.bits_of(id);
    const int width = slice_count(plan_.slice_set(id.layer)) + (bits != kAbsent) - (chosen != kAbsent);
    const std::string layer = "layer " + number(id.layer);
    if (width == 0) return layer + " would have no slice left";
    if (view.width && width != *view.width)
      return layer + " would have " + number(width) + " slices; --width fixes " + number(*view.width);
    if (!view.shape.legal_width(width))
      return layer + " would have " + number(width) + " slices; the model runs with " + list(view.shape.widths);
    if (view.bits && bits != kAbsent && bits != *view.bits) return "--bits fixes " + number(*view.bits);
    return "";
  }

  Outcome changed(ShardId id, Bits bits, int part) const {
    const PlanningView& view = trial_.view();
    const Trial::Subject about = bits == kAbsent ? Trial::Subject{} : subject(id);
    Plan plan = with_bits(view.platform, view.residency, plan_, id, bits, part);
    Outcome out = trial_.of(plan, about);
    // Its other size may be too much for the preload buffer.
    if (out.verdict != Verdict::kIllegal || std::erase(plan.keep, id) == 0) return out;
    out = trial_.of(plan, about);
    out.why += " (and leaves the preload buffer)";
    return out;
  }

  // On the part of its layer where the request ends soonest.
  Outcome added(ShardId id, Bits bits) const {
    Outcome best;
    for (size_t part = 0; part < plan_.placement[id.layer].size(); ++part) {
      Outcome out = changed(id, bits, static_cast<int>(part));
      const bool sooner = out.replayed && (!best.replayed || out.latency < best.latency);
      if (part == 0 || sooner) best = std::move(out);
    }
    return best;
  }

  Micro scaled(const AccuracyModel& accuracy, ShardId id, Bits bits) const {
    const size_t present =
        static_cast<size_t>(std::count_if(plan_.bits.begin(), plan_.bits.end(), [](Bits b) { return b != 0; }));
    const auto depth = static_cast<size_t>(plan_.depth);
    const size_t width = std::clamp<size_t>((2 * present + depth) / (2 * depth), 1, static_cast<size_t>(plan_.slices));
    const double ppm = static_cast<double>(accuracy.scale_ppm[(depth - 1) * plan_.slices + width - 1]);
    return to_micro(accuracy.loss_delta(id, bits).value() * ppm / 1e6);
  }

  LayerChoice layer(int l, const std::vector<ShardChoice>& shards) const {
    LayerChoice out;
    out.layer = l;
    const Outcome own = trial_.chosen({l, plan_.slice_set(l)});
    out.load = own.load;
    out.compute = own.compute.value_or(TimeSpan{});
    out.binding = binding_of(shards);
    if (!scope_.candidates) return out;
    out.candidates.push_back({plan_.placement[l], own});
    for (PlacementCandidate& other : other_placements(trial_, l)) out.candidates.push_back(std::move(other));
    return out;
  }

  ExitCandidate exit(int depth) const {
    const PlanningView& view = trial_.view();
    if (depth == plan_.depth) return {depth, trial_.chosen({})};
    if (view.depth) return {depth, Trial::illegal("--depth fixes " + number(*view.depth))};
    const Bits bits = view.bits.value_or(view.shape.bitwidths.front());
    return {depth, trial_.of(with_depth(view.platform, view.residency, plan_, depth, bits), {})};
  }

  const Trial& trial_;
  const ExplainScope& scope_;
  const Plan& plan_;
  std::map<ShardId, std::string> reasons_;
};

}  // namespace

Result<PlanExplanation> explain_plan(const ExplainedRequest& request, const PlannedRequest& planned,
                                     const ExplainScope& scope) {
  if (planned.infeasible) return Error{ErrorCode::kInvalid, "an infeasible request has no plan to explain"};
  if (scope.layer && (*scope.layer < 0 || *scope.layer >= planned.plan.depth))
    return Error{ErrorCode::kInvalid,
                 "layer " + number(*scope.layer) + ": the plan has layers 0 to " + number(planned.plan.depth - 1)};
  PlanExplanation out;
  const auto look = [&](const SessionPlanner::Bench& bench) -> Status {
    const Trial trial(bench, planned, request.options.policy);
    out = Explainer(trial, scope).run();
    return {};
  };
  const Residency none;
  const Residency& residency = planned.drops_residents ? none : request.residency;
  TESSERA_TRY(request.planner.show(request.options, request.tokens, residency, planned.margin, look));
  return out;
}

}  // namespace tessera
