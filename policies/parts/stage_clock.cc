// Follows one storage lane and one compute lane.
#include "policies/parts/stage_clock.h"

#include <algorithm>

namespace tessera {

StageClock::StageClock(const PlanningView& view, const Residency& residency, DeviceId device)
    : view_(view), device_(device), costs_(view), exits_(residency.exits) {
  const size_t shards = static_cast<size_t>(view.shape.layers) * view.shape.slices;
  held_.assign(shards, kAbsent);
  held_bytes_.assign(shards, 0);
  held_decoded_.assign(shards, false);
  for (const ResidentShard& held : residency.shards) {
    if (held.id.layer >= view.shape.layers || held.id.slice >= view.shape.slices) continue;
    if (!serves(view.platform, device, held)) continue;
    const size_t at = static_cast<size_t>(held.id.layer) * view.shape.slices + held.id.slice;
    held_[at] = held.bits;
    held_bytes_[at] = held.bytes.n;
    held_decoded_[at] = held.decoded;
  }
  exit_loads_.assign(static_cast<size_t>(view.shape.layers), Duration{-1});
  loads_.assign(static_cast<size_t>(kBitsLevels) * (view.shape.slices + 1), {-1, Duration{}});
  rows_ = costs_.load_rows();
  rows_bytes_ = costs_.rows_bytes();
  embed_ = costs_.embed(device);
  exit_ = costs_.exit(device);
}

bool StageClock::exact_on(const PlanningView& view, DeviceId device) {
  return view.compute_devices.size() == 1 && view.platform.space(device) == kHostSpace;
}

Duration StageClock::exit_load(int depth) {
  Duration& known = exit_loads_[static_cast<size_t>(depth) - 1];
  if (known.ns < 0) {
    const bool held = std::find(exits_.begin(), exits_.end(), depth) != exits_.end();
    known = held ? Duration{} : costs_.load_exit(depth);
  }
  return known;
}

// Shards of one bitwidth are most often alike.
Duration StageClock::load(int level, int count, int64_t bytes) {
  auto& [of_bytes, time] = loads_[static_cast<size_t>(level) * (view_.shape.slices + 1) + count];
  if (of_bytes != bytes) {
    of_bytes = bytes;
    time = costs_.load(level_bits(level), count, bytes);
  }
  return time;
}

LayerStage StageClock::stage(int layer, const Bits* row) {
  LayerStage out;
  BitsHistogram all{};
  std::array<int, kBitsLevels> count{};
  std::array<int64_t, kBitsLevels> bytes{};
  bool decoded = true;
  for (int j = 0; j < view_.shape.slices; ++j) {
    const Bits bits = row[j];
    if (bits == kAbsent) continue;
    const int level = bits_level(bits);
    const size_t at = static_cast<size_t>(layer) * view_.shape.slices + j;
    ++all[level];
    if (held_[at] == bits) {
      out.resident += held_bytes_[at];
      out.release += held_bytes_[at];
      decoded = decoded && held_decoded_[at];
      continue;
    }
    decoded = false;
    ++count[level];
    bytes[level] += view_.shape.bytes_of({static_cast<int16_t>(layer), static_cast<int16_t>(j)}, bits).n;
  }
  for (int level = 1; level < kBitsLevels; ++level) {
    if (count[level] == 0) continue;
    const Duration time = load(level, count[level], bytes[level]);
    out.time[out.loads] = time;
    out.bytes[out.loads++] = bytes[level];
    out.io += time;
    out.release += bytes[level];
  }
  out.compute = costs_.part(Op::kLayer, device_, all, decoded);
  return out;
}

// The lanes while time goes on. What is given back is so in order of time: the embedding's end, then each layer's.
struct StageClock::Run {
  int64_t limit, used = 0, peak = 0;
  Duration io, compute;
  std::vector<std::pair<Duration, int64_t>>& releases;
  size_t released = 0;
  bool stuck = false;

  void give_back() { used -= releases[released++].second; }
  void load(Duration takes, int64_t bytes) {
    while (released < releases.size() && releases[released].first <= io) give_back();
    while (used > limit - bytes && bytes > 0) {
      if (released == releases.size()) {
        stuck = true;
        return;
      }
      io = std::max(io, releases[released].first);
      give_back();
    }
    used += bytes;
    peak = std::max(peak, used);
    io += takes;
  }
};

Duration StageClock::latency(const std::vector<LayerStage>& stages) {
  releases_.clear();
  Run run{limit_, 0, 0, {}, {}, releases_};
  for (const LayerStage& stage : stages) run.used += stage.resident;
  run.peak = run.used;
  if (run.used > limit_) return kForever;
  run.load(rows_, rows_bytes_);
  run.compute = run.io + embed_;
  releases_.emplace_back(run.compute, rows_bytes_);
  for (const LayerStage& stage : stages) {
    for (int i = 0; i < stage.loads; ++i) run.load(stage.time[i], stage.bytes[i]);
    if (run.stuck) return kForever;
    run.compute = (stage.loads > 0 ? std::max(run.compute, run.io) : run.compute) + stage.compute;
    releases_.emplace_back(run.compute, stage.release);
  }
  const int depth = static_cast<int>(stages.size());
  const bool exit_held = std::find(exits_.begin(), exits_.end(), depth) != exits_.end();
  if (!exit_held) {
    run.load(exit_load(depth), view_.shape.exit_bytes[static_cast<size_t>(depth) - 1].n);
    run.compute = std::max(run.compute, run.io);
  }
  peak_ = run.peak;
  return run.stuck ? kForever : run.compute + exit_;
}

std::vector<LayerStage> stages_of(StageClock& clock, int depth, int slices, const std::vector<Bits>& bits) {
  std::vector<LayerStage> out;
  out.reserve(static_cast<size_t>(depth));
  for (int l = 0; l < depth; ++l) out.push_back(clock.stage(l, bits.data() + static_cast<size_t>(l) * slices));
  return out;
}

}  // namespace tessera
