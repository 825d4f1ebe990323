// Predicts what tasks cost, and learns from what they did cost.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "framework/platform.h"
#include "framework/result.h"

namespace tessera {

// Token buckets of the cost key; a token count belongs to the least bucket that holds it.
inline constexpr int kTokenBuckets[] = {8, 16, 32, 64, 128, 256, 512};
int token_bucket(int tokens);

// What a model has learned about one kind of task: the last ratios measured / predicted, oldest first.
struct LearnedWindow {
  int kind = 0;         // dense index, the model's own
  int64_t samples = 0;  // ever seen
  std::vector<double> ratios;
};

// One device's costs. `estimate` is const and safe from any thread between `observe`s; `observe` is not concurrent with it.
class CostModel {
 public:
  virtual ~CostModel() = default;
  virtual std::string_view kind() const = 0;  // "roofline", "table", "regression"
  virtual Estimate estimate(const CostKey& key) const = 0;
  // Learns from an executed task, robustly: one wild sample moves nothing much (median of a window, scaled MAD).
  // Non-positive durations are refused (returns false), as drivers do report them.
  virtual bool observe(const CostKey& key, Duration measured) = 0;
  // What `observe` has learned, to be kept in a file and given back to an equal model in a later process.
  virtual std::vector<LearnedWindow> learned() const { return {}; }
  virtual void restore(const std::vector<LearnedWindow>&) {}
};

// time = latency + bytes / bandwidth for loads and transfers; max(flops / peak, bytes / bandwidth) + overhead for computes.
struct Roofline {
  Duration latency;   // per load, transfer or compute call
  Duration per_read;  // per extent of a load, per copy of a transfer of weights
  BytesPerSecond bandwidth;
  BytesPerSecond bandwidth_to_host{0};  // of transfers to the host; 0: the same
  double flops_per_second = 0;          // 0: not a compute device
  double decode_weights_per_second = 0;
  Provenance provenance = Provenance::kDataSheet;
};
std::unique_ptr<CostModel> make_roofline(const ModelShape& shape, const Roofline& figures);

// A point of a table: what a key took. Lookup: exact op and decoded flag; tokens, slices and bits interpolated linearly
// inside the measured grid (provenance as given), scaled by multiply-adds outside it (provenance guessed).
struct CostPoint {
  CostKey key;
  Estimate estimate;
};
std::unique_ptr<CostModel> make_table(const ModelShape& shape, const std::vector<CostPoint>& points);

// a * x^b + c with a, b >= 0 (non-decreasing), x = bytes of a load; least squares on log-spaced points, robust to outliers.
struct PowerFit {
  double a = 0, b = 1, c = 0;  // seconds for x in bytes
  double relative_spread = 0;  // MAD-based sigma over prediction
  int64_t samples = 0;
};
Result<PowerFit> fit_power(const std::vector<std::pair<double, double>>& x_seconds);
std::unique_ptr<CostModel> make_regression(const PowerFit& fit, Duration per_read);

// A device's costs with transfers priced by a model of their own: of the link that they cross.
std::unique_ptr<CostModel> with_transfers(std::unique_ptr<CostModel> computes, std::unique_ptr<CostModel> transfers);

// What a policy asks. A snapshot of cost models, one per device; pure and thread-safe.
class CostOracle {
 public:
  virtual ~CostOracle() = default;
  virtual Estimate estimate(const CostKey& key) const = 0;
};

}  // namespace tessera
