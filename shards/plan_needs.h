// Reads a plan: what each layer needs, which load brings it, what was resident, what stays. Refuses what is illegal in form.
#pragma once

#include <array>
#include <vector>

#include "framework/plan.h"
#include "framework/result.h"

namespace tessera {

// What a layer needs and who brings it.
struct PlanLayer {
  SliceMask slices = 0;
  SliceMask loaded = 0;
  SliceMask decoded = 0;                    // residents held decoded
  SliceMask taken_over = 0;                 // residents of the host that a Transfer task brings to their part's device
  SliceMask kept = 0;                       // by plan.keep
  size_t last_load = 0;                     // 1 + index into plan.loads of the last that it needs; 0: none
  std::array<SliceMask, kBitsLevels> at{};  // slices by bits level
  std::vector<int64_t> release;             // by part: bytes of its space given back when its last task ends
};

struct PlanNeeds {
  std::vector<PlanLayer> layers;  // [depth]
  size_t rows_load = 0;           // 1 + index into plan.loads; 0: none
  size_t exit_load = 0;
  std::vector<Bytes> residents;  // by memory: shards and exit heads that the plan uses, or keeps unused
};

// kInternal names what is illegal: "layer 2 slice 7: no load and not resident".
Result<PlanNeeds> read_plan(const ModelShape& shape, const Plan& plan, const Residency& residency, const Platform& platform,
                            DeviceId storage, int tokens);

}  // namespace tessera
