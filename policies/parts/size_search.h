// Finds the largest submodel: deepest first, then the widest of that depth (STI, compute planning).
#pragma once

#include <algorithm>
#include <optional>

#include "policies/parts/assembly.h"
#include "policies/parts/choices.h"

namespace tessera {

// Index of the last entry of [first, last) for which `holds` is true, where it holds for a prefix; -1 where for none.
template <typename Holds>
int last_that_holds(int first, int last, Holds holds) {
  int low = first - 1, high = last;  // holds at low, not at high
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    (holds(middle) ? low : high) = middle;
  }
  return low < first ? -1 : low;
}

// `fits(Size)` should hold for every smaller size than one for which it holds; a size is returned only if it held for it.
// O(log depths + log widths) calls.
template <typename Fits>
std::optional<Size> largest_size(const Choices& choices, Fits fits) {
  const int depths = static_cast<int>(choices.depths.size()), widths = static_cast<int>(choices.widths.size());
  const auto fits_at = [&](int d, int w) { return fits(Size{choices.depths[d], choices.widths[w]}); };
  // The deepest is tried first: it is the answer whenever budgets are not tight.
  const int depth =
      fits_at(depths - 1, 0) ? depths - 1 : last_that_holds(0, depths - 1, [&](int d) { return fits_at(d, 0); });
  if (depth < 0) return std::nullopt;
  const int wider = last_that_holds(1, widths, [&](int w) { return fits_at(depth, w); });
  return Size{choices.depths[depth], choices.widths[std::max(wider, 0)]};
}

}  // namespace tessera
