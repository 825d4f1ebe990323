// Makes cost models of what was measured; a device's transfers have a direction each.
#include <algorithm>
#include <utility>

#include "framework/cost_model_learned.h"
#include "scheduler/calibrate_parts.h"

namespace tessera::calibration {
namespace {

// A backend's own estimates, and what executed tasks taught about them.
class GuessModel final : public CostModel {
 public:
  explicit GuessModel(CostBook::Guess guess) : guess_(std::move(guess)) {}
  std::string_view kind() const override { return "estimate"; }
  Estimate estimate(const CostKey& key) const override { return learned_.apply(key, guess_(key)); }
  bool observe(const CostKey& key, Duration measured) override { return learned_.observe(key, guess_(key).mean, measured); }
  std::vector<LearnedWindow> learned() const override { return learned_.save(); }
  void restore(const std::vector<LearnedWindow>& windows) override { learned_.restore(windows); }

 private:
  const CostBook::Guess guess_;
  LearnedRatios learned_;
};

// A table adds to decoded layers what coded ones took above them at a few token counts; where that is less than nothing and
// figures are noisy, the sum could vanish. A layer never costs less than a share of the decoded one.
class FlooredTable final : public CostModel {
 public:
  FlooredTable(const ModelShape& shape, const std::vector<CostPoint>& points)
      : table_(make_table(shape, points)),
        decoded_(std::any_of(points.begin(), points.end(), [](const CostPoint& p) { return p.key.decoded; })) {}
  std::string_view kind() const override { return table_->kind(); }
  Estimate estimate(const CostKey& key) const override {
    Estimate e = table_->estimate(key);
    if (!decoded_ || key.op != Op::kLayer || key.decoded) return e;
    CostKey base = key;
    base.decoded = true;
    const int64_t least = table_->estimate(base).mean.ns * 2 / 5;
    if (e.mean.ns >= least) return e;
    e.p95.ns += least - e.mean.ns;
    e.mean.ns = least;
    e.provenance = Provenance::kGuessed;
    return e;
  }
  bool observe(const CostKey& key, Duration measured) override { return table_->observe(key, measured); }
  std::vector<LearnedWindow> learned() const override { return table_->learned(); }
  void restore(const std::vector<LearnedWindow>& windows) override { table_->restore(windows); }

 private:
  const std::unique_ptr<CostModel> table_;
  const bool decoded_;
};

// Computes by one model, transfers to the device and to the host by one each.
class MovingModel final : public CostModel {
 public:
  MovingModel(std::unique_ptr<CostModel> computes, std::unique_ptr<CostModel> to_device, std::unique_ptr<CostModel> to_host)
      : parts_{std::move(computes), std::move(to_device), std::move(to_host)} {}
  std::string_view kind() const override { return parts_[0]->kind(); }
  Estimate estimate(const CostKey& key) const override { return of(key).estimate(key); }
  bool observe(const CostKey& key, Duration measured) override { return of(key).observe(key, measured); }
  std::vector<LearnedWindow> learned() const override {
    std::vector<LearnedWindow> all;
    for (int part = 0; part < 3; ++part)
      for (LearnedWindow& w : parts_[part]->learned()) {
        w.kind += part * kKindsApart;
        all.push_back(std::move(w));
      }
    return all;
  }
  void restore(const std::vector<LearnedWindow>& windows) override {
    std::vector<LearnedWindow> each[3];
    for (LearnedWindow w : windows) {
      if (w.kind < 0 || w.kind >= 3 * kKindsApart) continue;
      const int part = w.kind / kKindsApart;
      w.kind %= kKindsApart;
      each[part].push_back(std::move(w));
    }
    for (int part = 0; part < 3; ++part) parts_[part]->restore(each[part]);
  }

 private:
  CostModel& of(const CostKey& key) const { return *parts_[key.op != Op::kTransfer ? 0 : key.to_host ? 2 : 1]; }
  std::unique_ptr<CostModel> parts_[3];
};

}  // namespace

std::unique_ptr<CostModel> make_model(const ModelShape& shape, const DeviceFigures& figures, CostBook::Guess guess) {
  if (figures.storage) return make_regression(figures.storage->fit, figures.storage->per_read);
  std::vector<CostPoint> points;
  for (const ComputePoint& p : figures.points) points.push_back({p.key, p.taken.estimate});
  if (!figures.transfers) return points.empty() ? nullptr : std::make_unique<FlooredTable>(shape, points);
  const auto moves = [&](const std::optional<PowerFit>& fit) -> std::unique_ptr<CostModel> {
    if (fit) return make_regression(*fit, figures.transfers->per_move);
    return std::make_unique<GuessModel>(guess);
  };
  std::unique_ptr<CostModel> computes;
  if (points.empty())
    computes = std::make_unique<GuessModel>(guess);
  else
    computes = std::make_unique<FlooredTable>(shape, points);
  return std::make_unique<MovingModel>(std::move(computes), moves(figures.transfers->to_device),
                                       moves(figures.transfers->to_host));
}

}  // namespace tessera::calibration
