// Follows the stages forward for their ends and backward for how late they may be.
#include "policies/parts/stage_slack.h"

#include <algorithm>
#include <limits>

namespace tessera {

StageSlack::StageSlack(const StageTimes& times, double ends, std::vector<StageLoad> layers)
    : room_(times.room), start_(times.rows + times.embed), rows_(times.rows), ends_(ends), layers_(layers.size() + 1) {
  for (size_t k = 0; k < layers.size(); ++k) layers_[k].load = layers[k];
  layers_.back().load.io = times.exit_load;
  follow(0);
}

void StageSlack::follow(size_t first) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const size_t depth = layers_.size() - 1;
  Layer before;  // a copy, which stays in registers
  before.loaded = rows_;
  before.end = start_;
  if (first > 0) before = layers_[first - 1];
  for (size_t k = first; k <= depth; ++k) {
    Layer now = layers_[k];
    now.loaded = before.loaded + now.load.io;
    now.bytes = before.bytes + now.load.bytes;
    now.waits = k == 0 ? -kNever : std::max(before.waits, before.end - (before.bytes - before.load.bytes) - room_);
    now.end = std::max(std::max(before.end, now.loaded), now.bytes + now.waits) + now.load.compute;
    layers_[k] = before = now;
  }
  lateness_ = before.end - ends_;
  double start_by = ends_, loaded_by = kNever, bytes_by = kNever;  // of the layer after
  for (size_t k = depth + 1; k-- > 0;) {
    Layer& now = layers_[k];
    if (k < depth) start_by = std::min(start_by, bytes_by + now.bytes - now.load.bytes + room_) - now.load.compute;
    loaded_by = std::min(loaded_by, start_by - now.loaded);
    bytes_by = std::min(bytes_by, start_by - now.bytes);
    now.start_by = start_by;
    now.loaded_by = loaded_by;
    now.bytes_by = bytes_by;
  }
}

bool StageSlack::holds(int layer, const StageLoad& more) const {
  const size_t k = static_cast<size_t>(layer);
  const Layer& now = layers_[k];
  const Layer& after = layers_[k + 1];
  if (more.bytes > 0 && now.load.bytes + more.bytes > room_) return false;
  const double before = k == 0 ? start_ : layers_[k - 1].end;
  const double loaded = std::max(now.loaded + more.io, now.bytes + now.waits + more.bytes);
  const double end = std::max(before, loaded) + now.load.compute + more.compute;
  return end <= after.start_by && more.io <= after.loaded_by && now.waits + more.bytes <= after.bytes_by &&
         end + more.bytes <= after.bytes_by + now.bytes - now.load.bytes + room_;
}

void StageSlack::charge(int layer, const StageLoad& more) {
  StageLoad& load = layers_[static_cast<size_t>(layer)].load;
  load.io += more.io;
  load.bytes += more.bytes;
  load.compute += more.compute;
  follow(static_cast<size_t>(layer));
}

}  // namespace tessera
