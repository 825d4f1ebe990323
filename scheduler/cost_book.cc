// Keeps the devices' cost models and notices when they drift.
#include "scheduler/cost_book.h"

#include <algorithm>
#include <cstdlib>

namespace tessera {
namespace {

// Op, decoded or not, token bucket: kinds of task that are watched apart.
int kind_of(const CostKey& key) {
  return (static_cast<int>(key.op) * 2 + (key.decoded ? 1 : 0)) * 1024 + token_bucket(key.tokens);
}

}  // namespace

void CostBook::set(DeviceId device, std::unique_ptr<CostModel> model) {
  if (models_.size() <= device) models_.resize(device + size_t{1});
  models_[device] = std::move(model);
  std::erase_if(anchors_, [&](const auto& entry) { return entry.first.first == device; });
  ++version_;
}

void CostBook::set_guess(DeviceId device, Guess guess) {
  if (guesses_.size() <= device) guesses_.resize(device + size_t{1});
  guesses_[device] = std::move(guess);
  ++version_;
}

const CostModel* CostBook::model(DeviceId device) const { return device < models_.size() ? models_[device].get() : nullptr; }

CostModel* CostBook::model(DeviceId device) { return device < models_.size() ? models_[device].get() : nullptr; }

Estimate CostBook::estimate(const CostKey& key) const {
  const CostModel* own = model(key.device);
  const bool guessed = key.device < guesses_.size() && guesses_[key.device];
  if (own == nullptr) return guessed ? guesses_[key.device](key) : Estimate{};
  Estimate e = own->estimate(key);
  // Workspace is what the backend's kernel will use, not a measurement to interpolate.
  if (guessed) e.workspace = guesses_[key.device](key).workspace;
  return e;
}

void CostBook::observe(const TaskGraph& graph, const RunReport& report) {
  const size_t count = std::min(graph.size(), report.tasks.size());
  for (TaskId id = 0; id < count; ++id) {
    const TaskTiming& timing = report.tasks[id];
    const CostKey& key = graph.task(id).cost;
    CostModel* own = model(key.device);
    if (timing.state != TaskState::kDone || own == nullptr || graph.task(id).empty) continue;
    const Duration before = own->estimate(key).mean;
    if (!own->observe(key, timing.end - timing.start)) continue;
    learned_ = true;
    anchors_.try_emplace({key.device, kind_of(key)}, Anchor{key, before});
  }
  if (!drifted()) return;
  ++version_;
  for (auto& [where, anchor] : anchors_) anchor.mean = model(anchor.key.device)->estimate(anchor.key).mean;
}

bool CostBook::drifted() const {
  return std::any_of(anchors_.begin(), anchors_.end(), [&](const auto& entry) {
    const Anchor& anchor = entry.second;
    const int64_t now = model(anchor.key.device)->estimate(anchor.key).mean.ns;
    return std::llabs(now - anchor.mean.ns) * 10 > anchor.mean.ns;
  });
}

}  // namespace tessera
