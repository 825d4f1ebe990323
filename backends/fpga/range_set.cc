// Joins and cuts ranges.
#include "backends/fpga/range_set.h"

#include <algorithm>
#include <iterator>

namespace tessera::fpga {

void RangeSet::add(int64_t first, int64_t last) {
  if (first >= last) return;
  auto at = ranges_.upper_bound(first);
  if (at != ranges_.begin() && std::prev(at)->second >= first) --at;
  while (at != ranges_.end() && at->first <= last) {
    first = std::min(first, at->first);
    last = std::max(last, at->second);
    at = ranges_.erase(at);
  }
  ranges_[first] = last;
}

void RangeSet::add(const RangeSet& other) {
  for (const auto& [first, last] : other.ranges_) add(first, last);
}

void RangeSet::remove(int64_t first, int64_t last) {
  if (first >= last) return;
  auto at = ranges_.upper_bound(first);
  if (at != ranges_.begin() && std::prev(at)->second > first) --at;
  while (at != ranges_.end() && at->first < last) {
    const auto [begin, end] = *at;
    at = ranges_.erase(at);
    if (begin < first) ranges_[begin] = first;
    if (end > last) ranges_[last] = end;
  }
}

bool RangeSet::overlaps(int64_t first, int64_t last) const {
  if (first >= last) return false;
  const auto at = ranges_.lower_bound(last);
  return at != ranges_.begin() && std::prev(at)->second > first;
}

bool RangeSet::contains(int64_t first, int64_t last) const {
  const auto at = ranges_.upper_bound(first);
  return first >= last || (at != ranges_.begin() && std::prev(at)->second >= last);
}

}  // namespace tessera::fpga
