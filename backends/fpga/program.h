// Builds programs for the worker: steps, and what they read and write.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "backends/fpga/interface.h"
#include "backends/fpga/protocol.h"
#include "backends/fpga/region.h"

namespace tessera::fpga {

using RegionRef = std::shared_ptr<BackendRegion>;

// Bytes of a region.
struct Span {
  RegionRef region;
  int64_t offset = 0;
  int64_t bytes = 0;
  uint32_t line() const { return static_cast<uint32_t>(offset / 64); }
  uint32_t float_at() const { return static_cast<uint32_t>(offset / 4); }
  Span from(int64_t at, int64_t size) const { return {region, offset + at, size}; }
};

// An argument of a kernel, in the order of its signature.
struct Pass {
  ArgumentKind kind;
  uint32_t value;
  Pass(const Span& buffer) : kind(ArgumentKind::kBuffer), value(buffer.region->id) {}  // NOLINT(google-explicit-constructor)
  Pass(uint32_t scalar) : kind(ArgumentKind::kScalar), value(scalar) {}                // NOLINT(google-explicit-constructor)
  Pass(ArgumentKind status) : kind(status), value(0) {}                                // NOLINT(google-explicit-constructor)
};

class Program {
 public:
  // Each gives the step's place; a later step names it to wait for it and all before it.
  void add(const Step& step) { steps_.push_back(step); }
  uint32_t to_device(const Span& span);
  uint32_t to_host(const Span& span, uint32_t after);
  uint32_t run(const KernelSignature& kernel, uint32_t after, std::initializer_list<Pass> arguments);
  // What runs read before the program has written it, and what they leave. For regions that die with their worker.
  void reads(const Span& span) { reads_.push_back(span); }
  void writes(const Span& span) { writes_.push_back(span); }
  // Keeps a region that steps name.
  void uses(const Span& span) { uses_.push_back(span); }

  const std::vector<Step>& steps() const { return steps_; }
  const std::vector<Span>& all_reads() const { return reads_; }
  const std::vector<Span>& all_writes() const { return writes_; }
  const std::vector<Span>& all_uses() const { return uses_; }
  const std::vector<Span>& copies() const { return copies_; }
  uint32_t size() const { return static_cast<uint32_t>(steps_.size()); }

 private:
  uint32_t copy(StepKind kind, const Span& span, uint32_t after);
  std::vector<Step> steps_;
  std::vector<Span> reads_, writes_, uses_, copies_;
};

}  // namespace tessera::fpga
