// Fits the accuracy model to what was measured.
#pragma once

#include <vector>

#include "framework/accuracy_model.h"
#include "shards/accuracy_profile.h"
#include "shards/profiler_probes.h"

namespace tessera {

// Weighted least-squares non-increasing sequence (pool adjacent violators; Barlow et al. 1972). `values` in order.
std::vector<double> non_increasing(const std::vector<double>& values);
// g: non-increasing and piecewise linear through the pooled blocks of (loss, accuracy) points.
std::vector<AccuracyModel::Point> fit_map(std::vector<std::pair<double, double>> loss_accuracy);
// Spearman's rank correlation, ties at their mean rank; 0 where either side is constant.
double rank_correlation(const std::vector<double>& a, const std::vector<double>& b);

// Everything of a profile but its names, from a list whose probes are all done.
StoredProfile fit_profile(const ModelShape& shape, const ProbeList& list);

}  // namespace tessera
