// Fills in steps.
#include "backends/fpga/program.h"

#include <algorithm>
#include <cassert>

namespace tessera::fpga {

uint32_t Program::copy(StepKind kind, const Span& span, uint32_t after) {
  Step step;
  step.kind = kind;
  step.after = after;
  step.region = span.region->id;
  step.offset = span.offset;
  step.bytes = span.bytes;
  steps_.push_back(step);
  copies_.push_back(span);
  uses(span);
  return size() - 1;
}

uint32_t Program::to_device(const Span& span) { return copy(StepKind::kToDevice, span, 0); }

uint32_t Program::to_host(const Span& span, uint32_t after) { return copy(StepKind::kToHost, span, after); }

uint32_t Program::run(const KernelSignature& kernel, uint32_t after, std::initializer_list<Pass> arguments) {
  assert(arguments.size() == kernel.arguments.size() && arguments.size() <= kMaxArguments);
  Step step;
  step.kind = StepKind::kRun;
  step.after = after;
  kernel.name.copy(step.kernel, sizeof step.kernel - 1);
  for (const Pass& pass : arguments) step.argument[step.arguments++] = {pass.kind, pass.value};
  steps_.push_back(step);
  return size() - 1;
}

}  // namespace tessera::fpga
