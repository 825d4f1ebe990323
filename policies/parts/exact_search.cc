// Closes one size class after the other, the most promising first.
#include "policies/parts/exact_search.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace tessera {
namespace {

constexpr size_t kBeamOptions = 48;     // of each group, that a beam looks at
constexpr size_t kMostMisses = 5;       // classes in which a beam finds nothing better
constexpr size_t kCompactAt = 200'000;  // labels of a layer, before dominance
constexpr size_t kMostKept = 80'000;    // and after it: more are given up
constexpr int kByteSteps = 8;           // to which dominance tells bytes apart

// Pairs (f, loss) of which none is better than another in both: f rises, loss falls.
class Staircase {
 public:
  bool covers(int64_t done, int64_t loss) const {
    const auto after =
        std::upper_bound(steps_.begin(), steps_.end(), done, [](int64_t d, const auto& s) { return d < s.first; });
    return after != steps_.begin() && std::prev(after)->second <= loss;
  }
  void add(int64_t done, int64_t loss) {
    const auto from =
        std::lower_bound(steps_.begin(), steps_.end(), done, [](const auto& s, int64_t d) { return s.first < d; });
    auto to = from;
    while (to != steps_.end() && to->second >= loss) ++to;
    steps_.insert(steps_.erase(from, to), {done, loss});
  }
  void clear() { steps_.clear(); }

 private:
  std::vector<std::pair<int64_t, int64_t>> steps_;
};

// What of a label dominance looks at, side by side in memory; in the order in which one can be dominated by those before it.
struct Rank {
  int32_t count = 0;
  uint32_t at = 0;
  int64_t storage = 0, done = 0, loss = 0, bytes = 0;
  friend bool operator<(const Rank& a, const Rank& b) {
    return std::tie(a.count, a.storage, a.done, a.loss, a.bytes, a.at) <
           std::tie(b.count, b.storage, b.done, b.loss, b.bytes, b.at);
  }
};

}  // namespace

ExactSearch::Rest ExactSearch::rest_of(const SizeClass& size) const {
  const auto depth = static_cast<size_t>(size.depth);
  Rest out;
  for (auto* all : {&out.compute, &out.io, &out.loss}) all->assign(depth + 1, 0);
  out.fewest.assign(depth + 1, 0);
  out.most.assign(depth + 1, 0);
  for (size_t l = depth; l-- > 0;) {
    LayerOption least;
    least.io = least.compute = least.loss = kUnbounded;
    int fewest = kMaxSlices, most = 0;
    for (const LayerOption& o : model_.layers[l].options()) {
      least.io = std::min(least.io, o.io);
      least.compute = std::min(least.compute, o.compute);
      least.loss = std::min(least.loss, o.loss);
      fewest = std::min(fewest, o.count);
      most = std::max(most, o.count);
    }
    out.compute[l] = std::min(kUnbounded, out.compute[l + 1] + least.compute);
    out.io[l] = std::min(kUnbounded, out.io[l + 1] + least.io);
    out.loss[l] = std::min(kUnbounded, out.loss[l + 1] + least.loss);
    out.fewest[l] = out.fewest[l + 1] + fewest;
    out.most[l] = out.most[l + 1] + most;
  }
  return out;
}

const ExactSearch::Rest& ExactSearch::rest(const SizeClass& size) {
  rests_.resize(model_.layers.size() + 1);
  std::optional<Rest>& known = rests_[static_cast<size_t>(size.depth)];
  if (!known) known = rest_of(size);
  return *known;
}

// When the layer has been loaded and computed; false where its bytes can never lie beside what must.
bool ExactSearch::place(const Pass& pass, const Label& from, int layer, const LayerOption& option, Label& to) {
  const bool loads = option.io > 0 || option.bytes > option.held;
  to.storage = from.storage;
  to.done = from.done + option.compute;
  to.bytes = option.bytes;
  const int depth = pass.of.size.depth;
  if (pass.room != Room::kBounded && model_.weighs) return follow(pass, from, layer, option, to);
  const std::optional<int64_t> forced = model_.forced_after(depth, from.bytes, option);
  if (!forced) return false;
  if (!loads) return true;
  to.storage = from.storage + option.io;
  // What had to wait for room makes the layer late, but proves nothing of the storage's time: an order of loads may fill it.
  const int64_t loaded = *forced > 0 ? std::max(to.storage, from.done + *forced) : to.storage;
  to.done = std::max(to.done, loaded + option.tail);
  return true;
}

// All of the layer in one load, which waits until it fits beside what is not given back yet.
bool ExactSearch::follow(const Pass& pass, const Label& from, int layer, const LayerOption& option, Label& to) {
  const auto depth = static_cast<size_t>(pass.of.size.depth);
  int64_t free = model_.room[depth] - option.bytes;
  if (pass.room == Room::kAllHeld) free -= later_residents_[static_cast<size_t>(layer) + 1] - later_residents_[depth];
  int64_t start = from.storage;
  const Memory& before = followed_[from.memory];
  for (const Held& held : before)
    if (held.until > start) free -= held.bytes;
  for (const Held& held : before) {
    if (free >= 0) break;
    if (held.until <= start) continue;
    start = held.until;
    free += held.bytes;
  }
  if (free < 0) return false;
  if (option.bytes > option.held || option.io > 0) {
    to.storage = start + option.io;
    to.done = std::max(to.done, to.storage + option.tail);
  }
  Memory& after = next_memory_;
  size_t count = 0;
  for (const Held& held : before)
    if (held.until > start) after[count++] = held;
  if (count == after.size()) {  // told apart no longer: given back with the later one
    after[count - 2] = {after[count - 1].until, after[count - 2].bytes + after[count - 1].bytes};
    --count;
  }
  after[count++] = {to.done, option.bytes};
  while (count < after.size()) after[count++] = {};
  return true;
}

std::optional<ExactSearch::Label> ExactSearch::extended(const Pass& pass, const Rest& rest, const Label& from, int layer,
                                                        const LayerOption& option) {
  const SizeClass& size = pass.of.size;
  const auto next = static_cast<size_t>(layer) + 1;
  Label to;
  to.loss = from.loss + option.loss;
  if (to.loss + rest.loss[next] > pass.most_loss) return std::nullopt;
  to.count = from.count + option.count;
  if (size.counts && (to.count + rest.fewest[next] > size.high || to.count + rest.most[next] < size.low))
    return std::nullopt;
  if (!place(pass, from, layer, option, to)) return std::nullopt;
  const int64_t most = pass.latency - model_.exit;
  if (to.done + rest.compute[next] > most) return std::nullopt;
  const std::optional<int64_t>& head = model_.exit_load[static_cast<size_t>(size.depth)];
  if (head && to.storage + rest.io[next] + *head > most) return std::nullopt;
  return to;
}

// Bytes of layer `layer` that can be in the way of the next one: those beyond what may lie beside its largest option.
int64_t ExactSearch::in_the_way(const Pass& pass, int layer, int64_t bytes) const {
  const auto next = static_cast<size_t>(layer) + 1;
  if (next >= static_cast<size_t>(pass.of.size.depth)) return 0;
  return std::max<int64_t>(0, bytes - (model_.room[static_cast<size_t>(pass.of.size.depth)] - largest_[next]));
}

// Leaves out what another label is at least as good as. Where bytes matter they are told apart in steps: a label counts
// against those that hold at least as much after rounding its own bytes up.
void ExactSearch::reduce(const Pass& pass, int layer, Labels& labels) {
  const bool counts = pass.of.size.counts;
  const bool weighs = model_.weighs && pass.room == Room::kBounded;
  std::vector<Rank> ranks;
  ranks.reserve(labels.size());
  int64_t largest = 0;
  for (const Label& label : labels) {
    const int64_t bytes = weighs ? in_the_way(pass, layer, label.bytes) : 0;
    largest = std::max(largest, bytes);
    ranks.push_back(
        {counts ? label.count : 0, static_cast<uint32_t>(ranks.size()), label.storage, label.done, label.loss, bytes});
  }
  std::sort(ranks.begin(), ranks.end());
  const int64_t step = largest / kByteSteps + 1;
  std::vector<Staircase> stairs(largest > 0 ? kByteSteps + 2 : 1);
  kept_.clear();
  int count = -1;
  for (const Rank& rank : ranks) {
    if (rank.count != count) {
      count = rank.count;
      for (Staircase& s : stairs) s.clear();
    }
    const auto below = static_cast<size_t>(rank.bytes / step);
    bool covered = false;
    for (size_t q = 0; q <= below && !covered; ++q) covered = stairs[q].covers(rank.done, rank.loss);
    if (covered) continue;
    stairs[static_cast<size_t>((rank.bytes + step - 1) / step)].add(rank.done, rank.loss);
    kept_.push_back(labels[rank.at]);
  }
  std::swap(labels, kept_);
  if (pass.beam == 0 || labels.size() <= pass.beam) return;
  std::stable_sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.least < b.least; });
  labels.resize(pass.beam);
}

void ExactSearch::start(int depth) {
  labels_.resize(std::max(labels_.size(), static_cast<size_t>(depth) + 1));
  for (Labels& labels : labels_) labels.clear();
  Label start;
  start.storage = model_.rows;
  start.done = model_.rows + model_.embed;
  labels_[0].push_back(start);
  followed_.assign(1, {Held{start.done, model_.rows_bytes}});
}

bool ExactSearch::run(const Pass& pass, std::optional<ExactSolution>& found) {
  const SizeClass& size = pass.of.size;
  const Rest& least = rest(size);
  start(size.depth);
  for (int l = 0; l < size.depth; ++l) {
    const Labels& last = labels_[static_cast<size_t>(l)];
    Labels& next = next_;
    next.clear();
    for (size_t p = 0; p < last.size(); ++p)
      for (const Dual::Group& group : pass.of.dual.groups[static_cast<size_t>(l)])
        if (!extend(pass, least, last[p], static_cast<int32_t>(p), l, group, next)) return false;
    reduce(pass, l, next);
    if (next.empty()) return true;
    labels_[static_cast<size_t>(l) + 1] = next;
  }
  found = traced(pass.of.size);
  return true;
}

// Every option of a group that may still lead to a plan of at most pass.most_least. False where labels run out.
bool ExactSearch::extend(const Pass& pass, const Rest& rest, const Label& from, int32_t parent, int layer,
                         const Dual::Group& group, Labels& next) {
  const Dual& dual = pass.of.dual;
  const int64_t compute_rest = dual.compute_rest(layer + 1, from.done + group.compute);
  if (compute_rest >= Dual::kNever) return true;
  const int64_t before =
      from.loss * Dual::kUnit + dual.priced(layer + 1, from.storage) + compute_rest + dual.counted(from.count + group.count);
  size_t looked_at = 0;
  for (const auto& [price, i] : group.by_price) {
    if (before + price > pass.most_least) break;
    if (pass.beam > 0 && !pass.all_options && ++looked_at > kBeamOptions) break;
    if (pass.beam == 0 && ++made_ > limits_.labels) return false;
    auto label = extended(pass, rest, from, layer, model_.layers[static_cast<size_t>(layer)].options()[i]);
    if (!label) continue;
    label->least = dual.rest(layer + 1, label->storage, label->done, label->count);
    if (label->least >= Dual::kNever) continue;
    label->least += label->loss * Dual::kUnit;
    if (label->least > pass.most_least) continue;
    label->parent = parent;
    label->option = i;
    if (pass.room != Room::kBounded && model_.weighs) {
      label->memory = static_cast<uint32_t>(followed_.size());
      followed_.push_back(next_memory_);
    }
    next.push_back(*label);
    if (next.size() < kCompactAt || pass.beam > 0) continue;
    reduce(pass, layer, next);
    if (next.size() > kMostKept) return false;
  }
  return true;
}

// The label of least loss at the end, and the options on its way.
ExactSolution ExactSearch::traced(const SizeClass& size) const {
  const Labels& last = labels_[static_cast<size_t>(size.depth)];
  const Label* at =
      &*std::min_element(last.begin(), last.end(), [](const Label& a, const Label& b) { return a.loss < b.loss; });
  ExactSolution out;
  out.depth = size.depth;
  out.loss = size.loss(at->loss);
  out.chosen.resize(static_cast<size_t>(size.depth));
  for (size_t l = out.chosen.size(); l-- > 0;) {
    out.chosen[l] = &model_.layers[l].options()[at->option];
    at = &labels_[l][static_cast<size_t>(at->parent)];
  }
  return out;
}

// Raises the class's bound step by step, so that where labels run out the bound is still a good one.
void ExactSearch::close(Class& of, ExactOutcome& out) {
  dual_.refine(of.size, of.dual);
  dual_.list(of.size, of.dual);
  of.bound = std::max(of.bound, of.size.loss(of.dual.bound));
  const bool open = !out.best;
  const int64_t top = open ? of.size.loss(kUnbounded / 4096) : out.best->loss - 1;
  int64_t reach = std::max<int64_t>(1, open ? std::abs(of.bound) / 256 : (top - of.bound) / 16);
  while (of.bound <= top) {
    const int64_t most = reach > top - of.bound ? top : of.bound + reach;
    Pass pass{of, model_.latency, of.size.most_sum(most), 0, 0, Room::kBounded, false};
    pass.most_least = pass.most_loss > kUnbounded / Dual::kUnit ? kUnbounded : pass.most_loss * Dual::kUnit;
    std::optional<ExactSolution> found;
    if (!run(pass, found)) return;
    if (found) {
      of.bound = found->loss;
      out.best = std::move(found);
      return;
    }
    of.bound = most + 1;
    reach *= 4;
  }
}

ExactSearch::ExactSearch(const ExactModel& model, SearchLimits limits) : model_(model), dual_(model), limits_(limits) {
  later_residents_.assign(model_.layers.size() + 1, 0);
  largest_.assign(model_.layers.size(), 0);
  for (size_t l = model_.layers.size(); l-- > 0;) {
    int64_t held = 0;
    for (const LayerOption& o : model_.layers[l].options()) {
      held = std::max(held, o.held);
      largest_[l] = std::max(largest_[l], o.bytes);
    }
    later_residents_[l] = later_residents_[l + 1] + held;
  }
}

ExactOutcome ExactSearch::solve() {
  ExactOutcome out;
  int in_time = 0;  // the last depth that can be
  for (const SizeClass& size : model_.classes) {
    const Rest& least = rest(size);
    if (size.depth != in_time) {
      const auto fast = fastest(size.depth);
      if (!fast || fast->first > model_.latency) continue;
      in_time = size.depth;
    }
    if (size.counts && (least.fewest[0] > size.high || least.most[0] < size.low)) continue;
    Class of{size, dual_.solve(size), 0};
    of.bound = size.loss(std::max(of.dual.bound, least.loss[0]));
    if (of.dual.bound < kUnbounded / 4096) classes_.push_back(std::move(of));
  }
  std::stable_sort(classes_.begin(), classes_.end(), [](const Class& a, const Class& b) { return a.bound < b.bound; });
  out.best = find(model_.latency, Room::kBounded);
  for (Class& of : classes_)
    if (!out.best || of.bound < out.best->loss) close(of, out);
  for (const Class& of : classes_) out.bound = std::min(out.bound.value_or(INT64_MAX), of.bound);
  if (out.best) out.bound = std::min(*out.bound, out.best->loss);
  return out;
}

std::optional<ExactSolution> ExactSearch::find(int64_t latency, Room room) {
  std::optional<ExactSolution> best;
  for (const bool all_options : {false, true}) {
    size_t misses = 0;
    for (Class& of : classes_) {
      if (best && of.bound >= best->loss) continue;
      dual_.list(of.size, of.dual);
      Pass pass{of,   latency,    kUnbounded, kUnbounded, room == Room::kBounded ? limits_.beam : limits_.beam / 2,
                room, all_options};
      if (best) pass.most_loss = of.size.most_sum(best->loss - 1);
      if (pass.most_loss < kUnbounded / Dual::kUnit) pass.most_least = pass.most_loss * Dual::kUnit;
      std::optional<ExactSolution> found;
      run(pass, found);
      if (found)
        best = std::move(found);
      else if (++misses > kMostMisses)
        break;
    }
    if (best || room != Room::kBounded) break;
  }
  return best;
}

}  // namespace tessera
