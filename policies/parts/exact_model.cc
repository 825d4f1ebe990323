// Builds the relaxed problem from a view: options of each layer, overheads, ranges of width.
#include "policies/parts/exact_model.h"

#include <algorithm>
#include <map>

#include "policies/parts/assembly.h"

namespace tessera {
namespace {

__extension__ typedef __int128 Wide;
constexpr int64_t kMicro = 1'000'000;
constexpr int64_t kPage = 4096;

int64_t floor_divided(Wide a, Wide b) {
  Wide quotient = a / b;
  if (a % b < 0) --quotient;
  return static_cast<int64_t>(std::clamp<Wide>(quotient, -(Wide{1} << 61), Wide{1} << 61));
}

// Everything that computes does so in the host's memory: then shards weigh on the host's budget.
bool all_in_host(const PlanningView& view) {
  return std::all_of(view.compute_devices.begin(), view.compute_devices.end(),
                     [&](DeviceId device) { return view.platform.memory(view.platform.space(device)) == 0; });
}

// A lower bound on what reading a byte takes, in picoseconds: over bitwidths and counts, in whatever grouping.
int64_t least_ps_per_byte(const OptionSource& source) {
  const ModelShape& shape = source.view.shape;
  Wide best = Wide{1} << 60;
  for (const Bits bits : source.ladder) {
    int64_t least = INT64_MAX, most = 0;
    for (int l = 0; l < shape.layers; ++l)
      for (int j = 0; j < shape.slices; ++j) {
        const int64_t bytes = shape.bytes_of({static_cast<int16_t>(l), static_cast<int16_t>(j)}, bits).n;
        least = std::min(least, bytes);
        most = std::max(most, bytes);
      }
    for (int n = 1; n <= shape.slices && most > 0; ++n)
      best = std::min(best, Wide{source.times.load(bits, n, n * least, least, most)} * 1000 / (Wide{n} * most));
  }
  return static_cast<int64_t>(best);
}

int64_t largest_workspace(const PlanningView& view, const Plan& plan) {
  int64_t most = 0;
  const auto ask = [&](DeviceId device, Op op, const BitsHistogram& bits, int slices) {
    CostKey key;
    key.device = device;
    key.op = op;
    key.tokens = static_cast<uint16_t>(view.tokens);
    key.slices = static_cast<uint8_t>(slices);
    key.bits = bits;
    most = std::max(most, view.costs.estimate(key).workspace.n);
  };
  for (const DeviceId device : view.compute_devices)
    for (const Op op : {Op::kEmbed, Op::kExit}) ask(device, op, {}, 0);
  for (int l = 0; l < plan.depth; ++l) {
    BitsHistogram bits{};
    for (int j = 0; j < plan.slices; ++j)
      ++bits[bits_level(plan.bits_of({static_cast<int16_t>(l), static_cast<int16_t>(j)}))];
    bits[0] = 0;
    ask(plan.placement[l][0].device, Op::kLayer, bits, slice_count(plan.slice_set(l)));
  }
  return most;
}

}  // namespace

int64_t SizeClass::loss(int64_t sum) const { return base + floor_divided(2 * Wide{sum} * ppm + kMicro, 2 * Wide{kMicro}); }

int64_t SizeClass::most_sum(int64_t loss) const {
  return floor_divided(2 * Wide{kMicro} * (Wide{loss} - base + 1) - kMicro - 1, 2 * Wide{ppm});
}

std::vector<SizeClass> size_classes(const AccuracyModel& accuracy, const Choices& choices) {
  std::vector<SizeClass> out;
  const int narrowest = choices.widths.front(), widest = choices.widths.back();
  for (const int depth : choices.depths) {
    const int least = depth * narrowest, most = depth * widest;
    SizeClass at{depth, least, least, false, accuracy.base[static_cast<size_t>(depth) - 1].n, 0};
    for (int count = least; count <= most + 1; ++count) {
      const int width = std::clamp((2 * count + depth) / (2 * depth), 1, accuracy.slices);
      const int64_t ppm = accuracy.scale_ppm[static_cast<size_t>(depth - 1) * accuracy.slices + width - 1];
      if (count > least && (count > most || ppm != at.ppm)) {
        at.high = count - 1;
        at.counts = at.low > least || at.high < most;
        out.push_back(at);
        at.low = count;
      }
      at.ppm = ppm;
    }
  }
  return out;
}

std::optional<int64_t> ExactModel::forced_after(int depth, int64_t bytes_before, const LayerOption& option) const {
  const int64_t most = room[static_cast<size_t>(depth)];
  if (most == INT64_MAX) return 0;
  if (option.bytes > most || bytes_before + option.held > most) return std::nullopt;
  const int64_t excess = bytes_before + option.bytes - most;
  return excess <= 0 || !one_device ? 0 : static_cast<int64_t>(Wide{excess} * ps_per_byte / 1000);
}

// A plan without a pipeline holds, at its peak, all that it loads: what else it holds is the overhead, the exit head of its
// depth included where that is resident. The workspace is left out: another plan's may be less.
std::vector<int64_t> least_overheads(const PlanningView& view, const Residency& residency, const Choices& choices) {
  const Bits bits = choices.anywhere.front();
  const DeviceRoles roles = roles_of(view, choices.widths.front(), {bits});
  Residency heads;
  heads.exits = residency.exits;
  const auto overhead = [&](int depth) {
    std::optional<int64_t> least;
    for (const DeviceId device : roles.layers)
      for (const DeviceId home : roles.homes) {
        const Size size{depth, choices.widths.front()};
        Plan plan = assemble(view, heads, device, depth, uniform_bits(view.shape, size, bits));
        plan.home = home;
        plan.pipelined = false;
        const Result<Prediction> probe = view.replay.replay_if(plan, kUnlimited, heads);
        if (!probe.ok()) continue;
        const int64_t workspace = largest_workspace(view, plan) * static_cast<int64_t>(view.compute_devices.size());
        const int64_t rest = probe->peak.n - probe->io.n - (workspace > 0 ? align_up({workspace}, kPage).n + kPage : 0);
        least = std::min(least.value_or(rest), rest);
      }
    return std::max<int64_t>(0, least.value_or(0));
  };
  std::vector<int64_t> out(static_cast<size_t>(view.shape.layers) + 1, 0);
  std::optional<int64_t> without_head;
  for (const int n : choices.depths) {
    const bool held = std::find(heads.exits.begin(), heads.exits.end(), n) != heads.exits.end();
    if (!held && !without_head) without_head = overhead(n);
    out[static_cast<size_t>(n)] = held ? overhead(n) : *without_head;
  }
  return out;
}

std::optional<ExactModel> exact_model(const PlanningView& view, const Residency& residency, const AccuracyModel& accuracy,
                                      const Choices& choices, ExactTimes& times) {
  ExactModel out;
  out.one_device = times.one_device();
  out.rows = times.rows();
  out.rows_bytes = times.rows_bytes();
  out.embed = times.embed();
  out.exit = times.exit();
  out.latency = std::min<int64_t>(view.budgets.latency.ns, int64_t{1} << 60);
  out.classes = size_classes(accuracy, choices);
  out.room.assign(static_cast<size_t>(view.shape.layers) + 1, INT64_MAX);
  out.exit_load.assign(static_cast<size_t>(view.shape.layers) + 1, std::nullopt);
  for (const int n : choices.depths)
    if (std::find(residency.exits.begin(), residency.exits.end(), n) == residency.exits.end())
      out.exit_load[static_cast<size_t>(n)] = times.exit_load(n);
  const int64_t capacity = std::min(view.budgets.memory, view.platform.memories[0].capacity).n;
  out.weighs = capacity < kUnlimited.n && all_in_host(view);
  OptionSource source{view,           residency, accuracy, times.one_device() ? choices.ladder : choices.anywhere,
                      choices.widths, times};
  if (out.weighs) {
    const std::vector<int64_t> overheads = least_overheads(view, residency, choices);
    int64_t roomiest = 0;
    for (const int n : choices.depths) {
      out.room[static_cast<size_t>(n)] = std::max<int64_t>(0, capacity - overheads[static_cast<size_t>(n)]);
      roomiest = std::max(roomiest, out.room[static_cast<size_t>(n)]);
    }
    source.room = roomiest;
    source.weighs = true;
  }
  out.ps_per_byte = out.weighs ? least_ps_per_byte(source) : 0;
  std::map<std::vector<int>, std::shared_ptr<const Histograms>> histograms;  // by capacities
  out.layers.reserve(static_cast<size_t>(choices.depths.back()));            // a layer looks at the one before it
  for (int l = 0; l < choices.depths.back(); ++l) {
    std::vector<SliceClass> classes = ExactLayer::classes_of(source, l);
    const std::vector<int> at_most = ExactLayer::capacity_of(source, l, classes);
    auto& known = histograms[at_most];
    if (known == nullptr) known = Histograms::make(at_most, view.shape.slices, kMostHistograms);
    if (known == nullptr) return std::nullopt;
    const ExactLayer* before = out.layers.empty() ? nullptr : &out.layers.back();
    out.layers.emplace_back(source, l, std::move(classes), known, before);
  }
  return out;
}

}  // namespace tessera
