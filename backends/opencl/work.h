// Turns tasks into commands: checks operands, lays out the workspace, launches kernels.
#pragma once

#include "backends/opencl/device.h"
#include "backends/opencl/workspace.h"

namespace tessera::opencl {

// Whether [offset, offset + bytes) of a reference lies in memory of this device.
bool holds(const Device& device, const MemoryRef& ref, int64_t bytes);
Place place_of(const MemoryRef& ref);

// Everything that the kernels rely on: sizes, ranges, and that what they read is there.
Status check_operands(const Device& device, const Task& task, const Operands& operands);

// All of these only enqueue. `moves` takes host and device ends either way.
Status record_moves(const Device& device, Commands& commands, std::span<const Move> moves);
void record_layer(Device& device, Commands& commands, Op op, const Operands& operands);
void record_combine(Device& device, Commands& commands, bool ffn, const Operands& operands);
void record_embed(Device& device, Commands& commands, const Operands& operands);
void record_exit(Device& device, Commands& commands, const Operands& operands);

// Where the packed residents of the operands lie on the device, after a copy where that is needed. `space`: in the
// workspace.
Place residents_on(Device& device, Commands& commands, const ModelShape& shape, const LayerResidents& residents,
                   Place space);

std::string_view name_of(Op op);
// Largest stored element of rows and heads.
int stored_bytes(const ModelShape& shape);

}  // namespace tessera::opencl
