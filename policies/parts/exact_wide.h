// Bounds the loss of plans whose layers are too wide to list what they may be: slices fall apart at prices of time.
//
//   bound(prices) = sum over layers of min over widths m of [ price * (compute(m), tail(m)) +
//                   sum over its m best slices of min over bits of (loss + price * io) + losses of the absent ] - budgets
//
// holds for any prices >= 0 (weak duality). Reference: Fisher, The Lagrangian Relaxation Method for Solving Integer
// Programming Problems, Management Science 27(1), 1981; steps after Polyak, with a known plan's loss as their target.
#pragma once

#include <optional>

#include "policies/parts/exact_times.h"

namespace tessera {

// In micro-nats: no plan of the view loses less, nor does this exceed `known`, the loss of one of them. Memory is left out,
// loads cost no more than their share of the best filled one, and a layer takes what the cheapest of the bitwidths would.
// Nothing where several devices compute. O(steps * depths * shards * bitwidths).
std::optional<int64_t> wide_bound(const PlanningView& view, const Residency& residency, const AccuracyModel& accuracy,
                                  const Choices& choices, ExactTimes& times, int64_t known);

}  // namespace tessera
