// Says how sure a measured accuracy is, and whether two of them differ: on the same sentences, for the same plans.
#pragma once

#include <cstdint>
#include <span>

namespace tessera {

struct Interval {
  double low = 0, high = 0;
};

// Percentile bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3) of the mean of
// `values`, at 95 %: `resamples` draws with replacement by an own generator, so that equal calls answer alike everywhere.
// For a paired difference give the differences. {0, 0} where empty.
Interval bootstrap_mean(std::span<const double> values, uint64_t seed, int resamples = 2000);

// Exact two-sided McNemar test: the probability that discordant pairs are at least as uneven as b to c where both sides are
// equally likely (McNemar, Psychometrika 12, 1947; binomial form: Agresti, "Categorical Data Analysis", 3rd ed., section
// 11.1.1): min(1, 2 P[X <= min(b, c)]), X ~ Binomial(b + c, 1/2). 1 where there are none.
double mcnemar_exact(int64_t b, int64_t c);

}  // namespace tessera
