// Fits sensitivities, scales and the map from loss to accuracy, and judges them on plans that no fit has seen.
#include "shards/profiler_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

namespace tessera {
namespace {

// Small losses count relatively, those far below this absolutely; nats.
constexpr double kFloor = 0.01;

// One factor each for absence, 1, 2, 3 and from 4 bits on: a single shard's change is measured near the exact model, where
// the divergence grows with the square of the error; in plans, errors of many shards add up, the more so the larger they
// are.
constexpr size_t kFactors = 5;
using Factors = std::array<double, kFactors>;
size_t factor_of(Bits bits) { return std::min<size_t>(bits, kFactors - 1); }

// Reads measured values and fills a model.
class Fitter {
 public:
  Fitter(const ModelShape& shape, const ProbeList& list) : shape_(shape), list_(list) {}
  AccuracyModel fit();

 private:
  double value(size_t probe) const { return list_.probes[probe].value; }
  double& sensitivity(int l, int j, Bits b) {
    return sensitivity_[(shard_at(shape_.slices, l, j)) * kBitsLevels + static_cast<size_t>(bits_level(b))];
  }
  void fit_precision();
  void fit_absence();
  void add_sample(int depth, const std::vector<Bits>& bits, double loss);
  double scale(int depth, int width) const;
  void fit_factors();
  void apply_factors();
  void fit_scale(AccuracyModel* model) const;
  void fit_accuracy(AccuracyModel* model) const;

  // A plan's sensitivities summed by factor, and what it really added.
  struct Sample {
    int depth = 0, width = 0;
    Factors parts{};
    double sum = 0;  // of parts times factors
    double added = 0;
  };
  const ModelShape& shape_;
  const ProbeList& list_;
  std::vector<double> sensitivity_;  // [L][M][kBitsLevels]
  std::vector<Sample> samples_;
  Factors factors_{};
};

// More bits never add loss (noise of the sample is pooled away), nor do they take any; levels that the store lacks are as
// its next lower one.
void Fitter::fit_precision() {
  for (int l = 0; l < shape_.layers; ++l) {
    for (int j = 0; j < shape_.slices; ++j) {
      std::vector<double> measured;
      for (const size_t probe : list_.precision[shard_at(shape_.slices, l, j)])
        measured.push_back(std::max(0.0, value(probe)));
      if (shape_.bitwidths.back() == kExact) measured.back() = 0;
      measured = non_increasing(measured);
      size_t at = 0;
      for (int b = 1; b <= 8; ++b) {
        while (at + 1 < measured.size() && shape_.bitwidths[at + 1] <= b) ++at;
        sensitivity(l, j, static_cast<Bits>(b)) = measured[at];
      }
      sensitivity(l, j, kExact) = 0;
    }
  }
}

// Widths are prefixes: slice j goes after all behind it. Its absence costs what one layer's cut from j + 1 to j slices adds,
// between measured widths shared evenly; slices that no legal width lacks cost what the dearest does.
void Fitter::fit_absence() {
  for (int l = 0; l < shape_.layers; ++l) {
    const std::vector<int>& widths = shape_.widths;
    std::vector<double> loss;
    for (const size_t probe : list_.narrowing[static_cast<size_t>(l)]) loss.push_back(std::max(0.0, value(probe)));
    if (widths.back() == shape_.slices) loss.back() = 0;
    loss = non_increasing(loss);
    double dearest = 0;
    for (size_t w = 0; w + 1 < widths.size(); ++w) {
      const double each = (loss[w] - loss[w + 1]) / (widths[w + 1] - widths[w]);
      for (int j = widths[w]; j < widths[w + 1]; ++j) sensitivity(l, j, kAbsent) = each;
      dearest = std::max(dearest, each);
    }
    for (int j = 0; j < widths.front(); ++j) sensitivity(l, j, kAbsent) = std::max(dearest, sensitivity(l, j, 1));
  }
}

void Fitter::add_sample(int depth, const std::vector<Bits>& bits, double loss) {
  Sample sample{depth, mean_width(depth, bits), {}, 0, loss - value(list_.base[static_cast<size_t>(depth - 1)])};
  for (int l = 0; l < depth; ++l) {
    for (int j = 0; j < shape_.slices; ++j) {
      const Bits b = bits[shard_at(shape_.slices, l, j)];
      sample.parts[factor_of(b)] += sensitivity(l, j, b);
    }
  }
  samples_.push_back(sample);
}

// Least squares of relative error over the samples near a depth and width.
double Fitter::scale(int depth, int width) const {
  constexpr double kDepthReach = 0.5, kWidthReach = 1.0;  // layers, slices
  double top = 1e-9, bottom = 1e-9;                       // a scale of 1 where nothing was measured
  for (const Sample& s : samples_) {
    const double d = (s.depth - depth) / kDepthReach, m = (s.width - width) / kWidthReach;
    const double weight = std::exp(-0.5 * (d * d + m * m)) / (s.sum * s.sum + kFloor * kFloor);
    top += weight * s.sum * s.added;
    bottom += weight * s.sum * s.sum;
  }
  return std::clamp(top / bottom, 0.01, 1000.0);
}

// Alternates scales with one multiplicative step of non-negative least squares on the factors (Lee and Seung, NIPS 2000),
// damped by the square root.
void Fitter::fit_factors() {
  factors_.fill(1);
  for (int step = 0; step < 60; ++step) {
    for (Sample& s : samples_) s.sum = std::inner_product(s.parts.begin(), s.parts.end(), factors_.begin(), 0.0);
    Factors top, bottom;
    top.fill(1e-12);
    bottom.fill(1e-12);
    for (const Sample& s : samples_) {
      const double by = scale(s.depth, s.width), predicted = by * s.sum;
      const double weight = 1 / ((predicted + kFloor) * (predicted + kFloor));
      for (size_t f = 0; f < kFactors; ++f) {
        top[f] += weight * by * s.parts[f] * std::max(0.0, s.added);
        bottom[f] += weight * by * s.parts[f] * predicted;
      }
    }
    for (size_t f = 0; f < kFactors; ++f) factors_[f] *= std::sqrt(top[f] / bottom[f]);
  }
  const double full = scale(shape_.layers, shape_.slices);  // so that sensitivities are nats at full depth and width
  for (double& factor : factors_) factor *= full;
}

void Fitter::apply_factors() {
  for (size_t i = 0; i < sensitivity_.size(); ++i) sensitivity_[i] *= factors_[factor_of(level_bits(i % kBitsLevels))];
  for (size_t shard = 0; shard < sensitivity_.size(); shard += kBitsLevels) {
    const auto coded = sensitivity_.begin() + static_cast<ptrdiff_t>(shard) + 1;
    const std::vector<double> pooled = non_increasing({coded, coded + 8});
    std::copy(pooled.begin(), pooled.end(), coded);
  }
  for (Sample& s : samples_) s.sum = std::inner_product(s.parts.begin(), s.parts.end(), factors_.begin(), 0.0);
}

void Fitter::fit_scale(AccuracyModel* model) const {
  for (int depth = 1; depth <= shape_.layers; ++depth)
    for (int width = 1; width <= shape_.slices; ++width) model->scale_ppm.push_back(to_micro(scale(depth, width)).n);
}

// On predicted losses, so that the map makes up for what is wrong with them on average.
void Fitter::fit_accuracy(AccuracyModel* model) const {
  std::vector<std::pair<double, double>> points;
  const auto add = [&](int depth, const std::vector<Bits>& bits, size_t probe) {
    points.emplace_back(model->loss(depth, bits).value(), value(probe));
  };
  for (const UniformProbes& u : list_.uniform) add(u.depth, uniform_bits(shape_, u.depth, u.width, u.bits), u.even);
  for (const PlanProbes& p : list_.fit) add(p.depth, p.bits, p.accuracy);
  model->map = fit_map(std::move(points));
}

AccuracyModel Fitter::fit() {
  AccuracyModel model;
  model.layers = shape_.layers;
  model.slices = shape_.slices;
  model.prefixes_only = true;
  for (const size_t probe : list_.base) model.base.push_back(to_micro(std::max(0.0, value(probe))));
  sensitivity_.assign(static_cast<size_t>(shape_.layers * shape_.slices) * kBitsLevels, 0);
  fit_precision();
  fit_absence();
  for (const UniformProbes& u : list_.uniform)
    add_sample(u.depth, uniform_bits(shape_, u.depth, u.width, u.bits), value(u.loss));
  for (const PlanProbes& p : list_.fit) add_sample(p.depth, p.bits, value(p.loss));
  fit_factors();
  apply_factors();
  fit_scale(&model);
  for (const double s : sensitivity_) model.sensitivity.push_back(to_micro(s));
  for (const size_t probe : list_.importance_loss) model.importance_loss.push_back(to_micro(value(probe)));
  for (const size_t probe : list_.importance_accuracy) model.importance_accuracy.push_back(to_micro(value(probe)));
  fit_accuracy(&model);
  return model;
}

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> out(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) out[order[i]] = 0.5 * static_cast<double>(begin + end - 1);
    begin = end;
  }
  return out;
}

void judge(const ProbeList& list, StoredProfile* profile) {
  std::vector<double> predicted, measured, predicted_loss, loss;
  for (const PlanProbes& p : list.check) {
    CheckedPlan c;
    c.depth = p.depth;
    c.width = mean_width(p.depth, p.bits);
    c.mean_bits = std::accumulate(p.bits.begin(), p.bits.end(), 0.0) / std::max(1, present_slices(p.bits));
    const Micro predicted_micro = profile->model.loss(p.depth, p.bits);
    c.predicted_loss = predicted_micro.value();
    c.loss = list.probes[p.loss].value;
    c.predicted = profile->model.accuracy(predicted_micro).value();
    c.odd = list.probes[p.accuracy].value;
    profile->checked.push_back(c);
    // Ranked by loss, not by mapped accuracy: the map's flat parts would tie what the model does tell apart.
    predicted.push_back(-c.predicted_loss);
    measured.push_back(c.odd);
    predicted_loss.push_back(c.predicted_loss);
    loss.push_back(c.loss);
    const double error = 100 * (c.predicted - c.odd), n = static_cast<double>(list.check.size());
    profile->bias_points += error / n;
    profile->map_error_points += std::abs(error) / n;
    profile->worst_error_points = std::max(profile->worst_error_points, std::abs(error));
  }
  profile->rank_correlation = rank_correlation(predicted, measured);
  profile->loss_rank_correlation = rank_correlation(predicted_loss, loss);
}

}  // namespace

std::vector<double> non_increasing(const std::vector<double>& values) {
  std::vector<std::pair<double, size_t>> blocks;  // mean, count
  for (const double v : values) {
    blocks.emplace_back(v, 1);
    while (blocks.size() > 1 && blocks.back().first > blocks[blocks.size() - 2].first) {
      const auto [mean, count] = blocks.back();
      blocks.pop_back();
      auto& [before, n] = blocks.back();
      before = (before * static_cast<double>(n) + mean * static_cast<double>(count)) / static_cast<double>(n + count);
      n += count;
    }
  }
  std::vector<double> out;
  for (const auto& [mean, count] : blocks) out.insert(out.end(), count, mean);
  return out;
}

std::vector<AccuracyModel::Point> fit_map(std::vector<std::pair<double, double>> points) {
  std::sort(points.begin(), points.end());
  std::vector<double> accuracy;
  accuracy.reserve(points.size());
  for (const auto& point : points) accuracy.push_back(point.second);
  accuracy = non_increasing(accuracy);
  std::vector<AccuracyModel::Point> map;
  for (size_t begin = 0; begin < points.size();) {
    size_t end = begin;
    double loss = 0;
    for (; end < points.size() && accuracy[end] == accuracy[begin]; ++end) loss += points[end].first;
    const AccuracyModel::Point knot{to_micro(loss / static_cast<double>(end - begin)), to_micro(accuracy[begin])};
    if (map.empty() || knot.loss > map.back().loss) map.push_back(knot);
    begin = end;
  }
  return map;
}

double rank_correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const std::vector<double> x = ranks(a), y = ranks(b);
  const double mean = 0.5 * (static_cast<double>(x.size()) - 1);
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

StoredProfile fit_profile(const ModelShape& shape, const ProbeList& list) {
  StoredProfile profile;
  profile.model = Fitter(shape, list).fit();
  const auto measured = [&](size_t probe) { return list.probes[probe].value; };
  for (const UniformProbes& u : list.uniform)
    profile.uniform.push_back(
        {u.bits, u.depth, u.width, measured(u.loss), measured(u.even), u.on_odd ? measured(u.odd) : -1});
  judge(list, &profile);
  return profile;
}

}  // namespace tessera
