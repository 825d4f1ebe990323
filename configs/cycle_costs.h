// Prices FPGA cards that are not here by the cycle models of the HLS kernels.
#pragma once

#include <memory>

#include "configs/toml_table.h"
#include "framework/cost_model.h"

namespace tessera::configs {

// Of a device of kind "fpga": its figures, [device.cycles]. Modelled cycles learn nothing from what is observed.
Result<std::unique_ptr<CostModel>> cycle_costs(TomlTable& file, const ModelShape& shape);

}  // namespace tessera::configs
