// Places quantiles of an estimate on the normal distribution's scale, without the C library's own functions.
#include "framework/estimate.h"

#include <cmath>

namespace tessera {
namespace {

// Natural logarithm of x in (0, 1]: exponent apart, then the series of atanh. Only + - * / on doubles, so that every machine
// rounds alike (std::log differs between C libraries). Relative error below 1e-15.
double portable_log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // exact: m in [0.5, 1)
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double t = (m - 1) / (m + 1);  // |t| <= 0.172
  const double t2 = t * t;
  double sum = 0;
  for (int k = 19; k >= 1; k -= 2) sum = sum * t2 + 1.0 / k;
  return 2 * t * sum + exponent * 0.69314718055994531;
}

// Normal quantile for q in [0.5, 1). P. J. Acklam's rational approximation, relative error below 1.15e-9.
double normal_quantile(double q) {
  constexpr double kTail = 1 - 0.02425;
  if (q <= kTail) {
    const double d = q - 0.5;
    const double r = d * d;
    const double numerator =
        (((((-3.969683028665376e+01 * r + 2.209460984245205e+02) * r - 2.759285104469687e+02) * r + 1.383577518672690e+02) *
              r -
          3.066479806614716e+01) *
             r +
         2.506628277459239e+00) *
        d;
    const double denominator =
        ((((-5.447609879822406e+01 * r + 1.615858368580409e+02) * r - 1.556989798598866e+02) * r + 6.680131188771972e+01) *
             r -
         1.328068155288572e+01) *
            r +
        1;
    return numerator / denominator;
  }
  const double s = std::sqrt(-2 * portable_log(1 - q));  // sqrt is correctly rounded everywhere
  const double numerator =
      ((((-7.784894002430293e-03 * s - 3.223964580411365e-01) * s - 2.400758277161838e+00) * s - 2.549732539343734e+00) * s +
       4.374664141464968e+00) *
          s +
      2.938163982698783e+00;
  const double denominator =
      (((7.784695709041462e-03 * s + 3.224671290700398e-01) * s + 2.445134137142996e+00) * s + 3.754408661907416e+00) * s +
      1;
  return -numerator / denominator;
}

}  // namespace

std::string_view to_string(Provenance p) {
  switch (p) {
    case Provenance::kMeasured:
      return "measured";
    case Provenance::kRegression:
      return "regression";
    case Provenance::kAnalytic:
      return "analytic";
    case Provenance::kDataSheet:
      return "data sheet";
    case Provenance::kGuessed:
      return "guessed";
  }
  return "guessed";
}

Duration Estimate::at(double quantile) const {
  if (p95 <= mean || !(quantile > 0.5)) return mean;
  const double q = quantile < 0.999999 ? quantile : 0.999999;
  const double steps = normal_quantile(q) / normal_quantile(0.95);  // exactly 1 at 0.95
  const double extra = static_cast<double>(p95.ns - mean.ns) * steps;
  if (extra >= 4.6e18 - static_cast<double>(mean.ns)) return {4'600'000'000'000'000'000};
  return {mean.ns + static_cast<int64_t>(std::floor(extra + 0.5))};
}

}  // namespace tessera
