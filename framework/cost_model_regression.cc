// Fits and evaluates a * x^b + c: the cost of a load over its bytes.
#include <algorithm>
#include <array>
#include <cmath>

#include "framework/cost_model.h"
#include "framework/cost_model_learned.h"

namespace tessera {
namespace {

using Points = std::vector<std::pair<double, double>>;

constexpr double kLeastExponent = 0.2, kMostExponent = 2.0;
constexpr double kSigmaPerMad = 1.4826;
constexpr double kZ95 = 1.6448536269514722;

// Curve over u = x / x_max, so that powers stay within (0, 1].
struct Curve {
  double a = 0, b = 1, c = 0;
  double at(double u) const { return a * std::pow(u, b) + c; }
};

// Weighted least squares of a and c for a given exponent, both kept at or above 0.
Curve solve(const Points& points, const std::vector<double>& weights, double b) {
  double w0 = 0, wp = 0, wpp = 0, wy = 0, wpy = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const double p = std::pow(points[i].first, b), y = points[i].second, w = weights[i];
    w0 += w;
    wp += w * p;
    wpp += w * p * p;
    wy += w * y;
    wpy += w * p * y;
  }
  const double determinant = w0 * wpp - wp * wp;
  if (determinant <= 1e-12 * w0 * wpp) return {0, b, wy / w0};
  Curve curve{(w0 * wpy - wp * wy) / determinant, b, (wpp * wy - wp * wpy) / determinant};
  if (curve.a < 0) return {0, b, wy / w0};
  if (curve.c < 0) return {wpy / wpp, b, 0};
  return curve;
}

// Residuals relative to what was measured: a wrong 4 KiB matters as much as a wrong 4 MiB.
std::vector<double> relative_residuals(const Points& points, const Curve& curve) {
  std::vector<double> residuals;
  for (const auto& [u, y] : points) residuals.push_back((curve.at(u) - y) / y);
  return residuals;
}

double deviation_of(const std::vector<double>& residuals) {
  std::vector<double> magnitudes;
  for (double r : residuals) magnitudes.push_back(std::fabs(r));
  return kSigmaPerMad * median_of(magnitudes);
}

// Iteratively reweighted: Tukey's biweight at 4.685 sigma leaves out what is wild.
Curve solve_robustly(const Points& points, double b) {
  std::vector<double> base;
  for (const auto& [u, y] : points) base.push_back(1 / (y * y));
  std::vector<double> weights = base;
  Curve curve = solve(points, weights, b);
  for (int round = 0; round < 12; ++round) {
    const std::vector<double> residuals = relative_residuals(points, curve);
    const double cut = 4.685 * std::max(deviation_of(residuals), 1e-6);
    for (size_t i = 0; i < points.size(); ++i) {
      const double r = residuals[i] / cut;
      weights[i] = std::fabs(r) < 1 ? base[i] * (1 - r * r) * (1 - r * r) : base[i] * 1e-9;
    }
    curve = solve(points, weights, b);
  }
  return curve;
}

// What the search over exponents minimises: the sum of magnitudes, which a few wild points cannot rule.
double loss(const Points& points, const Curve& curve) {
  double sum = 0;
  for (double r : relative_residuals(points, curve)) sum += std::min(std::fabs(r), 1.0);
  return sum;
}

// A grid first (the loss has local minima), then the best neighbourhood more finely.
Curve search(const Points& points) {
  Curve best;
  double least = INFINITY;
  const auto try_exponents = [&](double from, double to, int steps) {
    for (int i = 0; i <= steps; ++i) {
      const Curve curve = solve_robustly(points, from + (to - from) * i / steps);
      const double value = loss(points, curve);
      if (value < least) {
        least = value;
        best = curve;
      }
    }
  };
  try_exponents(kLeastExponent, kMostExponent, 36);
  const double coarse = best.b;
  try_exponents(std::max(kLeastExponent, coarse - 0.05), std::min(kMostExponent, coarse + 0.05), 20);
  return best;
}

class RegressionModel final : public CostModel {
 public:
  RegressionModel(const PowerFit& fit, Duration per_read) : fit_(fit), per_read_(per_read) {}
  std::string_view kind() const override { return "regression"; }
  Estimate estimate(const CostKey& key) const override { return learned_.apply(key, own(key)); }
  bool observe(const CostKey& key, Duration measured) override { return learned_.observe(key, own(key).mean, measured); }
  std::vector<LearnedWindow> learned() const override { return learned_.save(); }
  void restore(const std::vector<LearnedWindow>& windows) override { learned_.restore(windows); }

 private:
  Estimate own(const CostKey& key) const {
    const double bytes = static_cast<double>(std::max<int64_t>(key.bytes, 0));
    const double seconds = bytes > 0 ? fit_.a * std::pow(bytes, fit_.b) + fit_.c : fit_.c;
    Estimate e;
    e.mean = from_seconds(std::min(seconds, 4e9)) + per_read_ * std::max(key.reads - 1, 0);
    const double sigma_ns = static_cast<double>(e.mean.ns) * fit_.relative_spread;
    e.p95 = e.mean + from_seconds(std::min(kZ95 * sigma_ns * 1e-9, 4e9));
    e.variance_ns2 = sigma_ns * sigma_ns;
    e.provenance = Provenance::kRegression;
    e.samples = fit_.samples;
    return e;
  }

  const PowerFit fit_;
  const Duration per_read_;  // for each extent after the first
  LearnedRatios learned_;
};

}  // namespace

Result<PowerFit> fit_power(const std::vector<std::pair<double, double>>& x_seconds) {
  double largest = 0;
  for (const auto& [x, seconds] : x_seconds) {
    if (!std::isfinite(x) || !std::isfinite(seconds) || x <= 0 || seconds <= 0) {
      return Error{ErrorCode::kInvalid, "cost fit: a point of " + std::to_string(x) + " B in " + std::to_string(seconds) +
                                            " s is not positive and finite; leave it out"};
    }
    largest = std::max(largest, x);
  }
  Points points;
  for (const auto& [x, seconds] : x_seconds) points.emplace_back(x / largest, seconds);
  std::vector<double> sizes;
  for (const auto& [u, y] : points) sizes.push_back(u);
  std::sort(sizes.begin(), sizes.end());
  const auto distinct = std::unique(sizes.begin(), sizes.end()) - sizes.begin();
  if (distinct < 3) {
    return Error{ErrorCode::kInvalid, "cost fit: " + std::to_string(distinct) + " different sizes; at least 3 are needed"};
  }
  const Curve curve = search(points);
  PowerFit fit;
  fit.b = curve.b;
  fit.a = curve.a / std::pow(largest, curve.b);
  fit.c = curve.c;
  fit.relative_spread = deviation_of(relative_residuals(points, curve));
  fit.samples = static_cast<int64_t>(points.size());
  return fit;
}

std::unique_ptr<CostModel> make_regression(const PowerFit& fit, Duration per_read) {
  return std::make_unique<RegressionModel>(fit, per_read);
}

}  // namespace tessera
