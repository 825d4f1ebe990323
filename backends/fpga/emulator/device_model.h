// Answers the shim's calls for one emulated FPGA.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/fpga/emulator/compute_unit.h"
#include "backends/fpga/emulator/wire.h"

namespace tessera::fpga {

// One thread answers and never computes, because every thread of XRT's side waits for it; each compute unit has its own.
class DeviceModel {
 public:
  explicit DeviceModel(FaultPlan& faults) : faults_(faults) {}
  // nullopt: a call that no answer is known for. `last`: the device was closed; answer, then end.
  std::optional<Response> answer(const ShimRequest& request, bool* last);

 private:
  Response load(const Fields& fields);
  // Compute units of the kernels, at the addresses that the description in `xml` gives them.
  bool place_units(const std::string& xml, const KernelLibrary& library);
  Response allocate(const Fields& fields);
  Response to_device(const Fields& fields);
  Response to_host(const Fields& fields);
  Response read_registers(uint64_t address);
  void write_registers(uint64_t address, std::string_view data);
  ComputeUnit* unit_at(uint64_t address);

  FaultPlan& faults_;
  DeviceMemory memory_;
  std::vector<std::unique_ptr<ComputeUnit>> units_;
};

}  // namespace tessera::fpga
