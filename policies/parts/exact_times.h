// Bounds from below what the tasks of any plan take: of every placement over the request's devices and grouping of loads.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

#include "policies/parts/choices.h"
#include "policies/parts/device_roles.h"
#include "policies/parts/exact_split.h"
#include "policies/parts/task_costs.h"

namespace tessera {

// Exact where one device computes; else the least over devices and over splits (exact_split). Assumes of the cost models
// what docs/planning.md states. Lives as long as one decision, on its thread.
class ExactTimes {
 public:
  ExactTimes(const PlanningView& view, const Choices& choices);

  int64_t rows() { return costs_.load_rows().ns; }
  int64_t rows_bytes() const { return costs_.rows_bytes(); }
  int64_t embed() const { return embed_; }
  int64_t exit() const { return exit_; }
  int64_t exit_load(int depth) { return costs_.load_exit(depth).ns; }
  // Reading `count` slices of `bytes` together, each of `least` to `most`, in as many loads as one likes.
  int64_t load(Bits bits, int count, int64_t bytes, int64_t least, int64_t most);
  // `decoded`: everything is held decoded; `some_decoded`: a part of it may be.
  LayerTime layer(const BitsHistogram& bits, bool decoded, bool some_decoded);
  bool one_device() const { return devices_.size() == 1; }

 private:
  using Curve = std::vector<int64_t>;  // by slices, 0..M
  bool supports(Op op, DeviceId device, const BitsHistogram& bits) const;
  const Curve& saved_by_parting(Bits bits, int64_t least, int64_t most);

  const PlanningView& view_;
  TaskCosts costs_;
  std::vector<DeviceId> devices_;  // that may run layers, or parts of them
  int64_t embed_ = 0, exit_ = 0;
  std::optional<ExactSplit> split_;  // where several devices compute
  std::map<std::tuple<Bits, int64_t, int64_t>, Curve> parting_;
};

}  // namespace tessera
