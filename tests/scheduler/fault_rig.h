// A session on a disk, a processor and an island, each of whose devices can be spoiled.
#pragma once

#include <memory>
#include <vector>

#include "session_rig.h"
#include "tests/support/faulty_backend.h"
#include "tests/support/island_backend.h"

namespace tessera::testing {

inline const std::vector<int32_t> kIds = {2, 7, 11, 7, 42, 3};

enum Device : DeviceId { kDisk, kCpu, kIsland, kLink };

// disk0, cpu0 and an island with its link, each behind a backend that can be spoiled.
struct FaultRig : Rig {
  explicit FaultRig(const IslandKind& kind = {}) {
    island = std::make_unique<IslandBackend>(backends().find("cpu")->make({.threads = 1}), kind);
    for (const DeviceBinding& inner : {machine.bindings[kDisk], machine.bindings[kCpu], DeviceBinding{island.get(), 0}})
      faulty.push_back(std::make_unique<FaultyBackend>(inner.backend));
    machine.bindings = {{faulty[0].get(), machine.bindings[kDisk].device}, {faulty[1].get(), 0}, {faulty[2].get(), 0}};
    Platform& platform = machine.platform;
    for (DeviceDescription d : island->describe()) {
      if (!d.shared_with_host) {
        d.memory = 1;
        if (platform.memories.size() == 1) platform.memories.push_back({d.name, d.memory_capacity});
      }
      platform.devices.push_back(d);
    }
    if (kind.link) machine.bindings.push_back({faulty[2].get(), 1});
    const ModelShape& shape = tiny.store->shape();
    for (DeviceId d : {kIsland, kLink})
      machine.costs->set_guess(d, [this, &shape](const CostKey& key) { return island->estimate(0, key, shape); });
    open();
  }
  ~FaultRig() {
    for (auto& backend : faulty) backend->release_hanging();
    session.reset();
    EXPECT_EQ(island->allocated(), 0) << "buffers of the island leak";
  }
  void open() {
    session.reset();
    session = Session::open(tiny.store->shape(), tiny.store.get(), accuracy, machine, {}).take();
  }
  std::unique_ptr<IslandBackend> island;
  std::vector<std::unique_ptr<FaultyBackend>> faulty;  // disk, cpu, island with its link
};

inline RequestOptions impatient() {
  RequestOptions options = scripted();
  options.suspect_after = milliseconds(50);
  return options;
}

// Layer 0 on the island, layer 1 split, cpu0 at home.
inline void script_spread() {
  Script::now().decide = [](const PlanningView& view) -> Result<Decision> {
    Plan plan = plain_plan(view.shape, 2, 4, 6, view.residency);
    plan.home = kCpu;
    plan.placement[0] = {{kIsland, 0b1111}};
    plan.placement[1] = {{kCpu, 0b0101}, {kIsland, 0b1010}};
    return Decision{plan};
  };
}

}  // namespace tessera::testing
