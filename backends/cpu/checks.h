// Refuses tasks whose operands do not fit together, before anything starts.
#pragma once

#include "framework/operands.h"
#include "framework/result.h"

namespace tessera::cpu {

// Everything that the stages rely on: sizes, ranges, and that what they read is there.
Status check_operands(const Task& task, const Operands& operands, int threads);
// Whether [offset, offset + bytes) lies in the buffer, in memory that the host addresses.
bool holds(const MemoryRef& ref, int64_t bytes);

}  // namespace tessera::cpu
