// Computes the operators with plain loops (framework/reference_ops.h), and refuses operands that do not fit together.
#pragma once

#include <atomic>

#include "framework/operands.h"
#include "framework/result.h"

namespace slow {

// Whether the device runs this op; transfers are the backend's.
bool computes_op(tessera::Op op);
// kInvalid names the operand and what it needs. Everything that compute() relies on.
tessera::Status check(const tessera::Task& task, const tessera::Operands& operands);
// `operands` were checked.
tessera::Status compute(const tessera::Task& task, const tessera::Operands& operands, const std::atomic<bool>& cancelled);
// Whether [offset, offset + bytes) lies in a buffer that the host addresses.
bool holds(const tessera::MemoryRef& ref, int64_t bytes);

}  // namespace slow
