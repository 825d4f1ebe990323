// Keeps a set of byte ranges [first, last).
#pragma once

#include <cstdint>
#include <map>

namespace tessera::fpga {

// Neighbours and overlaps are joined, so that a set stays as small as what it describes.
class RangeSet {
 public:
  void add(int64_t first, int64_t last);
  void add(const RangeSet& other);
  void remove(int64_t first, int64_t last);
  bool overlaps(int64_t first, int64_t last) const;
  bool contains(int64_t first, int64_t last) const;
  void clear() { ranges_.clear(); }
  bool empty() const { return ranges_.empty(); }
  const std::map<int64_t, int64_t>& ranges() const { return ranges_; }  // first -> last

 private:
  std::map<int64_t, int64_t> ranges_;
};

}  // namespace tessera::fpga
