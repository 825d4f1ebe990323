// Keeps one cost model per device, answers what policies ask, and learns from what was measured.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "framework/cost_model.h"
#include "framework/executor.h"
#include "framework/task_graph.h"
#include "scheduler/request_margins.h"

namespace tessera {

// estimate() is const and thread-safe; observe() only between requests.
class CostBook final : public CostOracle {
 public:
  // A backend's own estimate of a key; pure and thread-safe.
  using Guess = std::function<Estimate(const CostKey&)>;

  // `model` answers for `device`; replaces the device's former one (nullptr: none).
  void set(DeviceId device, std::unique_ptr<CostModel> model);
  // Answers for a device without a model, and says how much workspace every key needs.
  void set_guess(DeviceId device, Guess guess);
  const CostModel* model(DeviceId device) const;
  CostModel* model(DeviceId device);
  // A device with neither model nor guess costs nothing, provenance guessed.
  Estimate estimate(const CostKey& key) const override;
  // Feeds the executed tasks of a run back into the models; emulated devices are skipped by the caller.
  void observe(const TaskGraph& graph, const RunReport& report);
  // Feeds a whole request back.
  void observe_request(const RequestKind& kind, const RequestTiming& timing) {
    learned_ = requests_.observe(kind, timing) || learned_;
  }
  void doubt_requests(const RequestKind& kind) { requests_.doubt(kind); }
  const RequestMargins& requests() const { return requests_; }
  void restore_requests(const std::vector<RequestWindow>& windows) { requests_.restore(windows); }
  // Changes when a model is replaced or has drifted by more than 10 %: part of the key of a reused plan.
  uint64_t version() const { return version_; }
  // Whether any model learned something since the book was made or marked as saved.
  bool learned() const { return learned_; }
  void mark_saved() { learned_ = false; }

 private:
  // A kind of task and what it cost when `version_` last changed.
  struct Anchor {
    CostKey key;
    Duration mean;
  };
  bool drifted() const;

  std::vector<std::unique_ptr<CostModel>> models_;  // by device
  std::vector<Guess> guesses_;                      // by device
  std::map<std::pair<int, int>, Anchor> anchors_;   // by device and kind of task
  RequestMargins requests_;
  uint64_t version_ = 0;
  bool learned_ = false;
};

}  // namespace tessera
