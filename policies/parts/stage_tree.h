// Says when a request is through while one shard or layer of it changes after the other: O(log layers) a change.
//
//                      layers 0..7                 a span:  io       of all its loads, one after the other
//              ┌───────────┴───────────┐                    compute  of all its layers
//            0..3                    4..7                   through  the longest way from its first load to its last
//        ┌─────┴─────┐          ┌─────┴─────┐                        compute
//       0..1       2..3        4..5       6..7
//
// What StageClock::latency() says where memory makes nothing wait: a max-plus product of its layers, kept as a tree.
#pragma once

#include <array>
#include <vector>

#include "policies/parts/stage_clock.h"

namespace tessera {

class StageTree {
 public:
  // Of `depth` layers that take nothing yet. Borrows the clock.
  StageTree(StageClock& clock, int depth);

  void set(int layer, Duration io, Duration compute);
  // With the exit after the last layer.
  Duration latency() const;
  // The same if one layer were another; changes nothing.
  Duration latency_with(int layer, Duration io, Duration compute) const;

 private:
  struct Span {
    int64_t io = 0, compute = 0, through = kNone;
  };
  static constexpr int64_t kNone = -(int64_t{1} << 61);  // of a span without layers
  static Span joined(const Span& a, const Span& b);
  Duration ends(const Span& all) const;

  size_t leaves_ = 1;        // a power of two
  std::vector<Span> spans_;  // [2 * leaves]: the root at 1, layer l at leaves + l
  Duration rows_, embed_, exit_load_, exit_;
};

// What a layer takes, shard by shard: as StageClock::stage(), but O(1) for each change.
class LayerTally {
 public:
  // Of layer `layer` with nothing present. Borrows the clock.
  LayerTally(StageClock& clock, int layer) : clock_(&clock), layer_(layer) {}
  // One slice's bits; either may be absent.
  void change(int slice, Bits from, Bits to);
  Duration io() const { return io_; }
  Duration compute() const;  // of at least one slice

 private:
  void count(int slice, Bits bits, int one);

  StageClock* clock_;
  int layer_;
  std::array<int64_t, kBitsLevels> bytes_{};  // to be loaded
  std::array<Duration, kBitsLevels> time_{};
  BitsHistogram loads_{}, all_{};
  int coded_ = 0;  // slices that are not held decoded at their bits
  Duration io_;
};

}  // namespace tessera
