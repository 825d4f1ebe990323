// Holds what the paths choose against the editor's forecast, and bisects raises by it.
#include "policies/parts/replan.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace tessera {
namespace {

constexpr int64_t kOne = 1'000'000;      // of a pace
constexpr int64_t kWorst = 2'000'000;    // the next loads at half the bandwidth: what a request should survive
constexpr int64_t kCareful = 1'050'000;  // raises assume loads this much slower than seen
constexpr int64_t kNoise = 100;          // a pace within 1/100 is as planned: a machine that shows no swing needs no guard
constexpr int64_t kSpare = 50;           // aim 1/50 of the deadline early; raise only where that is left
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
  ended_.resize(editor.graph().size());
  ended_[event.task] = true;
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
  } else {
    swings_ = true;
    if (event.kind == Event::Kind::kDeviceLost) ended_.clear(), ways_.clear();
  }
  // What was seen over the whole request steadies what was seen last.
  const Pace whole = editor.pace();
  const Pace pace{(scaled(loads_) + whole.loads) / 2, (scaled(computes_) + whole.computes) / 2};
  swings_ = swings_ || std::abs(pace.loads - kOne) >= kOne / kNoise || std::abs(pace.computes - kOne) >= kOne / kNoise;
  if (!swings_ && event.kind == Event::Kind::kTaskEnded) return;
  RevisionSearch(editor, event, ended_, ways_, pace).make();
}

RevisionSearch::RevisionSearch(PlanEditor& editor, const Event& event, const std::vector<bool>& ended, WayBook& ways,
                               const Pace& pace)
    : editor_(editor),
      view_(editor.view()),
      budgets_(event.budgets),
      now_(event.now),
      ended_(ended),
      ways_(ways),
      pace_(pace),
      plan_(editor.plan()),
      pending_(editor.pending()) {}

bool RevisionSearch::fits(const Edits& edits, const Pace& pace) const {
  const Result<Forecast> forecast = editor_.forecast(edits, plan_.quantile, pace);
  return forecast.ok() && forecast->end <= budgets_.latency && forecast->peak <= budgets_.memory;
}

void RevisionSearch::make() {
  if (pending_.empty()) return;
  spare_memory();
  if (budgets_.latency == kForever) return;
  const Result<Forecast> now = editor_.forecast({}, plan_.quantile, pace_);
  if (!now.ok()) return;
  RestPaths paths(editor_, now_, ended_, pace_, std::min(std::max(kWorst, pace_.loads), pace_.loads * kWorst / kOne), ways_);
  // What the paths do not see: memory that is waited for, the exit head, transfers.
  const double unseen = static_cast<double>(now->end.ns) - paths.latest();
  const int64_t end = budgets_.latency.ns - budgets_.latency.ns / kSpare;
  const double target = static_cast<double>(end) - unseen;
  if (!lower(paths, target) && fits({}, pace_)) raise(paths, target);
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

// Less memory binds all that is left, not the next layer only: bits of least loss for each byte first.
void RevisionSearch::spare_memory() {
  const auto granted = [&](const Edits& edits) {
    const Result<Forecast> forecast = editor_.forecast(edits, plan_.quantile, pace_);
    return forecast.ok() && forecast->peak <= budgets_.memory;
  };
  if (granted({})) return;
  std::vector<Step> all = steps(false);
  std::vector<Step> sound = all;
  std::erase_if(sound, [&](const Step& s) { return worse_than_absent(view_, plan_, s.edit.shard, s.edit.bits); });
  if (granted(first(sound, sound.size()))) all = std::move(sound);
  size_t low = 0, high = all.size();  // too few, enough (or all there are)
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    (granted(first(all, middle)) ? high : low) = middle;
  }
  commit(first(all, high), "the memory budget shrank");
}

// The forecast has the last word: where it is later than the paths said, they aim earlier.
RevisionSearch::Found RevisionSearch::search(RestPaths& paths, double target, bool drops) const {
  constexpr int kRounds = 4;
  Found out;
  for (int round = 0; round < kRounds; ++round) {
    const bool met = paths.meet(target, drops);
    const Edits edits = paths.edits();
    const Result<Forecast> then = editor_.forecast(edits, plan_.quantile, pace_);
    out.next = paths.edits_of(paths.next());
    out.legal = then.ok();
    if (!out.legal) return out;
    out.loss = then->loss;
    out.in_time = then->end <= budgets_.latency && then->peak <= budgets_.memory;
    if (out.in_time || !met) return out;
    target -= static_cast<double>(std::max<int64_t>((then->end - budgets_.latency).ns, kOne / 1000));
  }
  return out;
}

// What is left out cannot come back: only where bits alone are late, or lose more.
bool RevisionSearch::lower(RestPaths& paths, double target) {
  Found found = search(paths, target, false);
  if (!found.next.empty() || !found.in_time) {
    Found dropped = search(paths, target, true);
    if (dropped.legal && (!found.in_time || (dropped.in_time && dropped.loss < found.loss))) found = std::move(dropped);
  }
  return commit(found.next, "the rest would be late");
}

RevisionSearch::Edits RevisionSearch::of_next_layer(Edits edits) const {
  std::erase_if(edits, [&](const ShardEdit& edit) { return edit.shard.layer != pending_.front().layer; });
  return edits;
}

void RevisionSearch::raise(const RestPaths& paths, double target) {
  const Pace careful{pace_.loads * kCareful / kOne, pace_.computes};
  const Result<Forecast> now = editor_.forecast({}, plan_.quantile, careful);
  if (!now.ok() || (budgets_.latency - now->end).ns * kSpare < budgets_.latency.ns) return;
  const std::vector<Step> all = steps(true);
  const auto good = [&](size_t count) {
    const Edits edits = first(all, count);
    return fits(edits, careful) && paths.survives(edits, target);
  };
  size_t low = 0, high = all.size() + 1;  // fits, does not
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    (good(middle) ? low : high) = middle;
  }
  for (; low > 0; low /= 2)
    if (commit(of_next_layer(first(all, low)), "time is left")) return;
}

bool RevisionSearch::commit(const Edits& edits, const char* why) {
  return !edits.empty() && editor_.revise(edits, why).ok();
}

}  // namespace tessera
