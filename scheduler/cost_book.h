// Keeps one cost model per device, answers what policies ask, and learns from what was measured.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/cost_model.h"
#include "framework/executor.h"
#include "framework/task_graph.h"

namespace tessera {

// estimate() is const and thread-safe; observe() only between requests.
class CostBook final : public CostOracle {
 public:
  // `model` answers for `device`; a device without one falls back to `guess` (a backend's own analytic estimate).
  void set(DeviceId device, std::unique_ptr<CostModel> model);
  const CostModel* model(DeviceId device) const;
  Estimate estimate(const CostKey& key) const override;
  // Feeds the executed tasks of a run back into the models; emulated devices are skipped by the caller.
  void observe(const TaskGraph& graph, const RunReport& report);
  // Changes when a model is replaced or has drifted by more than 10 %: part of the key of a reused plan.
  uint64_t version() const { return version_; }

 private:
  std::vector<std::unique_ptr<CostModel>> models_;
  uint64_t version_ = 0;
};

}  // namespace tessera
