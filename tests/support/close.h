// Compares outputs with what was wanted, relative to the largest value.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace tessera::testing {

// The first bad place, and how far off the worst is, relative to the largest wanted value.
template <typename T, typename U>
::testing::AssertionResult close(const std::vector<T>& got, const std::vector<U>& want, double tolerance) {
  if (got.size() != want.size()) return ::testing::AssertionFailure() << got.size() << " values, want " << want.size();
  double scale = 0, worst = 0;
  size_t at = 0;
  for (const U w : want) scale = std::max(scale, std::abs(static_cast<double>(w)));
  for (size_t i = 0; i < got.size(); ++i) {
    const double off = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(off <= worst)) worst = off, at = i;
  }
  if (worst <= tolerance * scale) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "off by " << worst << " of " << scale << " at " << at << ": got " << got[at]
                                       << ", want " << want[at];
}

}  // namespace tessera::testing
