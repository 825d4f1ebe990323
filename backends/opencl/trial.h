// Times a device's tiles on a layer of the model's shape.
#pragma once

#include "backends/opencl/device.h"

namespace tessera::opencl {

// The fastest of the candidates for few and for many tokens; taken up by the device. Nothing else runs meanwhile.
Result<Tuning> try_tiles(Device& device, const ModelShape& shape);

}  // namespace tessera::opencl
