// Roofline costs: from a device's own figures, before anything was measured.
#include "framework/cost_model.h"

#include <algorithm>
#include <cmath>

#include "framework/cost_model_learned.h"
#include "framework/cost_model_work.h"

namespace tessera {
namespace {

class RooflineModel final : public CostModel {
 public:
  RooflineModel(const ModelShape& shape, const Roofline& figures) : shape_(shape), figures_(figures) {}
  std::string_view kind() const override { return "roofline"; }
  Estimate estimate(const CostKey& key) const override { return learned_.apply(key, own(key)); }
  bool observe(const CostKey& key, Duration measured) override { return learned_.observe(key, own(key).mean, measured); }
  std::vector<LearnedWindow> learned() const override { return learned_.save(); }
  void restore(const std::vector<LearnedWindow>& windows) override { learned_.restore(windows); }

 private:
  Estimate own(const CostKey& key) const {
    const double seconds = is_compute(key.op) ? compute_seconds(key) : move_seconds(key);
    Estimate e;
    e.mean = figures_.latency + from_seconds(std::min(seconds, 4e9));
    if (!is_compute(key.op)) e.mean += figures_.per_read * key.reads;
    e.p95 = e.mean;
    e.provenance = figures_.provenance;
    return e;
  }
  double move_seconds(const CostKey& key) const {
    const bool back = key.to_host && figures_.bandwidth_to_host.value > 0;
    const double bandwidth = (back ? figures_.bandwidth_to_host : figures_.bandwidth).value;
    return bandwidth > 0 ? static_cast<double>(key.bytes) / bandwidth : 0;
  }
  // Weights are read once as fp32, activations [T, D] in and out.
  double compute_seconds(const CostKey& key) const {
    const double moved = 4 * weights_read(shape_, key) + 8.0 * key.batch * key.tokens * shape_.hidden;
    double seconds = figures_.bandwidth.value > 0 ? moved / figures_.bandwidth.value : 0;
    if (figures_.flops_per_second > 0) {
      seconds = std::max(seconds, 2 * multiply_adds(shape_, key) / figures_.flops_per_second);
    }
    if (figures_.decode_weights_per_second > 0) {
      seconds += weights_decoded(shape_, key) / figures_.decode_weights_per_second;
    }
    return seconds;
  }

  const ModelShape shape_;
  const Roofline figures_;
  LearnedRatios learned_;
};

}  // namespace

int token_bucket(int tokens) {
  for (int bucket : kTokenBuckets)
    if (tokens <= bucket) return bucket;
  return kTokenBuckets[std::size(kTokenBuckets) - 1];
}

std::unique_ptr<CostModel> make_roofline(const ModelShape& shape, const Roofline& figures) {
  return std::make_unique<RooflineModel>(shape, figures);
}

}  // namespace tessera
