// Bisects edits by the editor's forecast.
#include "policies/parts/replan.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace tessera {
namespace {

constexpr int64_t kOne = 1'000'000;      // of a pace
constexpr int64_t kWorst = 2'000'000;    // loads at half the bandwidth: what a request should survive
constexpr int64_t kCareful = 1'050'000;  // raises assume loads this much slower than seen
constexpr int64_t kNoise = 100;          // a pace within 1/100 is as planned: a machine that shows no swing needs no guard
constexpr int64_t kLeastGain = 50;       // raise only where 1/50 of the deadline is left
constexpr double kForgets = 0.5;         // of what was seen, with each load

int64_t scaled(double pace) { return std::clamp<int64_t>(static_cast<int64_t>(pace * kOne), kOne / 16, kOne * 16); }

bool is_shard_load(const Task& task) { return task.kind == TaskKind::kLoad && task.cost.op == Op::kLoadShards; }

void set(std::vector<ShardEdit>& edits, const ShardEdit& edit) {
  const auto known = std::find_if(edits.begin(), edits.end(), [&](const ShardEdit& e) { return e.shard == edit.shard; });
  if (known == edits.end())
    edits.push_back(edit);
  else
    known->bits = edit.bits;
}

}  // namespace

void Reviser::learn(const Event& event, const PlanEditor& editor) {
  const Task& task = editor.graph().task(event.task);
  if (event.expected.ns <= 0) return;
  const double ratio = static_cast<double>((event.now - event.started).ns) / static_cast<double>(event.expected.ns);
  if (task.kind == TaskKind::kCompute) computes_ += kForgets * (ratio - computes_);
  if (!is_shard_load(task)) return;
  loads_ = seen_load_ ? loads_ + kForgets * (ratio - loads_) : ratio;
  seen_load_ = true;
}

void Reviser::on_event(const Event& event, PlanEditor& editor) {
  if (event.kind == Event::Kind::kBegan) {
    *this = {};
    return;
  }
  if (event.kind == Event::Kind::kTaskEnded) {
    learn(event, editor);
    if (!is_shard_load(editor.graph().task(event.task))) return;
  }
  // What was seen over the whole request steadies what was seen last.
  const Pace whole = editor.pace();
  const Pace pace{(scaled(loads_) + whole.loads) / 2, (scaled(computes_) + whole.computes) / 2};
  swings_ = swings_ || std::abs(pace.loads - kOne) >= kOne / kNoise || std::abs(pace.computes - kOne) >= kOne / kNoise;
  if (!swings_ && event.kind == Event::Kind::kTaskEnded) return;
  RevisionSearch(editor, event.budgets, pace).make();
}

RevisionSearch::RevisionSearch(PlanEditor& editor, const Budgets& budgets, const Pace& pace)
    : editor_(editor),
      view_(editor.view()),
      budgets_(budgets),
      pace_(pace),
      plan_(editor.plan()),
      pending_(editor.pending()) {}

bool RevisionSearch::fits(const Edits& edits, const Pace& pace) const {
  const Result<Forecast> forecast = editor_.forecast(edits, plan_.quantile, pace);
  return forecast.ok() && forecast->end <= budgets_.latency && forecast->peak <= budgets_.memory;
}

// Whether the deadline can still be kept after the next load, however slow (within kWorst), by lowering all that follows.
bool RevisionSearch::recovers(const Edits& edits) const {
  if (!can_recover_) return true;
  Edits worst = floor_after_first();
  const PendingLoad& next = pending_.front();
  for (const ShardEdit& edit : edits)
    if (edit.shard.layer == next.layer && (next.slices >> edit.shard.slice & 1) != 0) set(worst, edit);
  const Pace pace{std::max(kWorst, pace_.loads), pace_.computes};
  const Result<Forecast> forecast = editor_.forecast(worst, 0.5, pace);
  return forecast.ok() && forecast->end <= budgets_.latency;
}

RevisionSearch::Edits RevisionSearch::floor_after_first() const {
  Edits out;
  if (view_.bits) return out;
  const Bits lowest = view_.shape.bitwidths.front();
  for (size_t i = 1; i < pending_.size(); ++i)
    for (SliceMask rest = pending_[i].slices; rest != 0; rest &= rest - 1)
      out.push_back({{pending_[i].layer, static_cast<int16_t>(std::countr_zero(rest))}, lowest});
  return out;
}

void RevisionSearch::make() {
  if (pending_.empty() || budgets_.latency == kForever) return;
  Edits least = floor_after_first();
  if (!view_.bits)
    for (SliceMask rest = pending_.front().slices; rest != 0; rest &= rest - 1)
      least.push_back(
          {{pending_.front().layer, static_cast<int16_t>(std::countr_zero(rest))}, view_.shape.bitwidths.front()});
  // Where not even the lowest bits would survive the worst, its guard would only waste bits.
  can_recover_ = recovers(least);
  if (holds({}))
    raise();
  else
    lower();
}

// Each rung down (or up) of each pending shard; the least loss for each byte that is saved (the most for each more) first.
std::vector<RevisionSearch::Step> RevisionSearch::steps(bool up) const {
  std::vector<Step> out;
  if (view_.bits) return out;
  std::vector<Bits> ladder = view_.shape.bitwidths;
  if (!up) std::reverse(ladder.begin(), ladder.end());
  for (const PendingLoad& load : pending_)
    for (SliceMask rest = load.slices; rest != 0; rest &= rest - 1) {
      const ShardId id{load.layer, static_cast<int16_t>(std::countr_zero(rest))};
      Bits from = plan_.bits_of(id);
      double before = up ? 1e300 : 0;
      for (const Bits to : ladder) {
        if (up ? to <= from : to >= from) continue;
        const auto loss = static_cast<double>((view_.accuracy.loss_delta(id, to) - view_.accuracy.loss_delta(id, from)).n);
        const auto bytes = static_cast<double>((view_.shape.bytes_of(id, to) - view_.shape.bytes_of(id, from)).n);
        if (bytes == 0) continue;
        double worth = -loss / bytes;
        if (up && worth <= 0) continue;
        // A shard's rungs are taken in their order, whatever a noisy profile says.
        worth = up ? std::min(worth, before) : std::max(worth, before);
        out.push_back({{id, to}, worth});
        before = worth;
        from = to;
      }
    }
  std::stable_sort(out.begin(), out.end(),
                   [&](const Step& a, const Step& b) { return up ? a.worth > b.worth : a.worth < b.worth; });
  return out;
}

RevisionSearch::Edits RevisionSearch::first(const std::vector<Step>& steps, size_t count) const {
  Edits out;
  for (size_t i = 0; i < count; ++i) set(out, steps[i].edit);
  return out;
}

void RevisionSearch::lower() {
  const std::vector<Step> all = steps(false);
  size_t low = 0, high = all.size();  // too few, enough
  Edits edits = first(all, high);
  if (holds(edits)) {
    while (high - low > 1) {
      const size_t middle = low + (high - low) / 2;
      (holds(first(all, middle)) ? high : low) = middle;
    }
    edits = first(all, high);
    spare_layers(edits);
  } else {
    // Lower than the lowest: fewer slices, as few steps as suffice, or all there are.
    constexpr int kMostSteps = kMaxSlices;
    int narrower = 0;
    while (narrower < kMostSteps && !fits(edits, pace_)) {
      Edits next = narrowed(edits, ++narrower);
      if (next.size() == edits.size() && std::equal(next.begin(), next.end(), edits.begin(),
                                                    [](auto& a, auto& b) { return a.shard == b.shard && a.bits == b.bits; }))
        break;
      edits = std::move(next);
    }
  }
  commit(edits, "loads are slower than planned, or the budget shrank");
}

// What was lowered after the stage that binds need not have been: layer by layer, the last first.
void RevisionSearch::spare_layers(Edits& edits) const {
  for (size_t i = pending_.size(); i-- > 0 && edits.size() > 1;) {
    Edits without = edits;
    std::erase_if(without, [&](const ShardEdit& e) { return e.shard.layer == pending_[i].layer; });
    if (without.size() < edits.size() && holds(without)) edits = std::move(without);
  }
}

// One layer to its next legal width: the `step`-th from the end that all lies in pending loads.
RevisionSearch::Edits RevisionSearch::narrowed(Edits edits, int step) const {
  if (view_.width) return edits;
  std::vector<SliceMask> loose(static_cast<size_t>(plan_.depth), 0);
  for (const PendingLoad& load : pending_) loose[load.layer] |= load.slices;
  const int depth = plan_.depth;
  for (int i = 0; i < depth; ++i) {
    const int l = depth - 1 - (step - 1 + i) % depth;
    SliceMask set_now = plan_.slice_set(l);
    for (const ShardEdit& edit : edits)
      if (edit.shard.layer == l && edit.bits == kAbsent) set_now &= ~(SliceMask{1} << edit.shard.slice);
    const int width = slice_count(set_now);
    const auto& widths = view_.shape.widths;
    const auto wider = std::lower_bound(widths.begin(), widths.end(), width);
    if (wider == widths.begin()) continue;
    SliceMask dropped = 0;
    for (int drop = width - *(wider - 1); drop > 0 && set_now != 0; --drop) {
      const int last = std::bit_width(set_now) - 1;
      dropped |= SliceMask{1} << last;
      set_now &= ~(SliceMask{1} << last);
    }
    if ((dropped & ~loose[l]) != 0) continue;
    for (; dropped != 0; dropped &= dropped - 1)
      set(edits, {{static_cast<int16_t>(l), static_cast<int16_t>(std::countr_zero(dropped))}, kAbsent});
    return edits;
  }
  return edits;
}

void RevisionSearch::raise() {
  const Pace careful{pace_.loads * kCareful / kOne, pace_.computes};
  const Result<Forecast> now = editor_.forecast({}, plan_.quantile, careful);
  if (!now.ok() || (budgets_.latency - now->end).ns * kLeastGain < budgets_.latency.ns) return;
  const std::vector<Step> all = steps(true);
  const auto good = [&](size_t count) {
    const Edits edits = first(all, count);
    return fits(edits, careful) && recovers(edits);
  };
  size_t low = 0, high = all.size() + 1;  // fits, does not
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    (good(middle) ? low : high) = middle;
  }
  for (; low > 0; low /= 2)
    if (commit(first(all, low), "loads are faster than planned, or the budget grew")) return;
}

bool RevisionSearch::commit(const Edits& edits, const char* why) {
  return !edits.empty() && editor_.revise(edits, why).ok();
}

}  // namespace tessera
