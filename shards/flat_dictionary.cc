// Fits dictionaries with prefix sums: an iteration costs 2^bits binary searches, whatever the matrix's size.
// Only +, -, *, / and sqrt of doubles in a fixed order, so that every machine finds the same centroids.
#include "shards/flat_dictionary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace tessera {
namespace {

// Natural logarithm from correctly rounded operations alone (libm's differs in the last place between machines).
double portable_log(double x) {
  int exponent = 0;
  const double mantissa = std::frexp(x, &exponent);  // [0.5, 1)
  const double r = (mantissa - 1) / (mantissa + 1);  // ln m = 2 atanh r, |r| <= 1/3
  double sum = 0;
  for (int i = 41; i >= 1; i -= 2) sum = sum * r * r + 1.0 / i;
  return exponent * std::numbers::ln2 + 2 * r * sum;
}

// sum over sorted[from, to) of |w - c|.
double absolute_error(const FlatEncoder::Fit& fit, size_t from, size_t to, double c) {
  const auto begin = fit.sorted.begin();
  const size_t at = std::partition_point(begin + from, begin + to, [c](float w) { return w <= c; }) - begin;
  const double below = c * static_cast<double>(at - from) - (fit.prefix[at] - fit.prefix[from]);
  const double above = (fit.prefix[to] - fit.prefix[at]) - c * static_cast<double>(to - at);
  return below + above;
}

// First sorted weight of each centroid's cluster; a weight halfway belongs to the lower one.
std::vector<size_t> assign(const FlatEncoder::Fit& fit, const std::vector<double>& centroids) {
  std::vector<size_t> start(centroids.size() + 1, 0);
  for (size_t i = 1; i < centroids.size(); ++i) {
    const double middle = (centroids[i - 1] + centroids[i]) / 2;
    start[i] =
        std::partition_point(fit.sorted.begin() + start[i - 1], fit.sorted.end(), [&](float w) { return w <= middle; }) -
        fit.sorted.begin();
  }
  start.back() = fit.sorted.size();
  return start;
}

std::vector<double> equal_population_means(const FlatEncoder::Fit& fit, size_t k) {
  const size_t n = fit.sorted.size();
  std::vector<double> means(k);
  for (size_t i = 0; i < k; ++i) {
    size_t from = i * n / k;
    size_t to = (i + 1) * n / k;
    if (from == to) to = from + 1 <= n ? from + 1 : from, from = to - 1;  // fewer weights than centroids
    means[i] = (fit.prefix[to] - fit.prefix[from]) / static_cast<double>(to - from);
  }
  return means;
}

}  // namespace

FlatEncoder::Fit fit_gaussian(std::span<const float> weights) {
  FlatEncoder::Fit fit;
  double sum = 0;
  for (float w : weights) sum += w;
  const double mean = weights.empty() ? 0 : sum / static_cast<double>(weights.size());
  double squares = 0;
  for (float w : weights) squares += (w - mean) * (w - mean);
  const double deviation = weights.empty() ? 0 : std::sqrt(squares / static_cast<double>(weights.size()));
  fit.low = std::numeric_limits<float>::lowest();
  fit.high = std::numeric_limits<float>::max();
  if (deviation > 0) {
    // -z^2/2 - ln(std sqrt(2 pi)) < -4  <=>  z^2 > 2 (4 - ln(std sqrt(2 pi)))
    const double z2 = 2 * (4 - portable_log(deviation * std::sqrt(2 * std::numbers::pi)));
    const double radius = z2 > 0 ? deviation * std::sqrt(z2) : 0;
    fit.low = static_cast<float>(mean - radius);
    fit.high = static_cast<float>(mean + radius);
  }
  for (float w : weights) {
    if (w >= fit.low && w <= fit.high) fit.sorted.push_back(w);
  }
  std::sort(fit.sorted.begin(), fit.sorted.end());
  fit.prefix.resize(fit.sorted.size() + 1, 0);
  for (size_t i = 0; i < fit.sorted.size(); ++i) fit.prefix[i + 1] = fit.prefix[i] + fit.sorted[i];
  return fit;
}

std::vector<float> fit_dictionary(const FlatEncoder::Fit& fit, int bits) {
  const size_t k = size_t{1} << bits;
  if (fit.sorted.empty()) return std::vector<float>(k, 0.0f);
  std::vector<double> centroids = equal_population_means(fit, k);
  std::vector<double> best = centroids;
  double best_error = std::numeric_limits<double>::infinity();
  for (;;) {
    const std::vector<size_t> start = assign(fit, centroids);
    double error = 0;
    for (size_t i = 0; i < k; ++i) error += absolute_error(fit, start[i], start[i + 1], centroids[i]);
    if (!(error < best_error)) break;
    best_error = error;
    best = centroids;
    for (size_t i = 0; i < k; ++i) {
      if (start[i] == start[i + 1]) continue;
      centroids[i] = (fit.prefix[start[i + 1]] - fit.prefix[start[i]]) / static_cast<double>(start[i + 1] - start[i]);
    }
  }
  std::vector<float> dictionary(best.begin(), best.end());
  std::sort(dictionary.begin(), dictionary.end());  // rounding of sums may swap equal neighbours
  return dictionary;
}

}  // namespace tessera
