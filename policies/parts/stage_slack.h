// Says in O(1) whether a layer may take more IO and compute: a request's stages on one pipeline, as fluids in doubles.
//
//   P(k) = rows + io(0..k)                          when the loads of layers 0..k have ended, if nothing waits
//   a(k) = max(P(k), end(j) + bytes(j..k) - room)   for every j < k: what does not fit beside layer j waits for its end
//   end(k) = max(end(k-1), a(k)) + compute(k)
//   start_by(k): the latest start of layer k with which the rest is still in time
#pragma once

#include <vector>

#include "policies/parts/price_search.h"

namespace tessera {

// A layer, or what a change adds to one, in ns; `bytes` is what of `io` is no call.
struct StageLoad {
  double io = 0, bytes = 0, compute = 0;
};

// A value: a copy is another future. It ranks; exact clocks decide (a load waits until all of its bytes fit).
class StageSlack {
 public:
  // `ends`: when the last layer and the exit head's load must have ended.
  StageSlack(const StageTimes& times, double ends, std::vector<StageLoad> layers);

  bool holds(int layer, const StageLoad& more) const;
  void charge(int layer, const StageLoad& more);
  // How late the worst path is; not above 0: in time.
  double lateness() const { return lateness_; }

 private:
  struct Layer {
    StageLoad load;
    double loaded = 0, bytes = 0;  // P(k), and the same of bytes
    double waits = 0;              // most of end(j) - bytes(0..j-1) - room, j < k
    double end = 0;
    double start_by = 0;                 // of this layer
    double loaded_by = 0, bytes_by = 0;  // from here on the least of start_by - P, and of start_by - bytes
  };
  void follow(size_t first);

  double room_, start_, rows_, ends_;
  double lateness_ = 0;
  std::vector<Layer> layers_;  // [depth + 1]: the exit head's load is the last
};

}  // namespace tessera
