// Lowers computes onto the kernels of hls/kernels.h.
//
//   slice j:  Q K V ─► attention (a sequence each) ─► O ─┐ sums += , slice after slice
//   sums ─► layernorm_residual ─► y;  slice j:  Up ─► gelu ─► Down ─┐ sums +=;  sums ─► layernorm_residual ─► output
// While slice j's attention runs, the next slice's products are already queued on the other compute units.
#pragma once

#include "backends/fpga/program.h"
#include "framework/operands.h"

namespace tessera::fpga {

// Operands that were found in the device's buffers, and checked.
struct LayerOperands {
  const ModelShape* shape = nullptr;
  Op op = Op::kLayer;
  bool ffn_norm = false;            // of kCombine
  std::span<const int32_t> starts;  // framework/operands.h, Batch
  Span input, output, workspace;
  std::vector<Span> partials;
  struct Weights {
    WeightRef ref;
    Span span;
  };
  std::vector<Weights> weights;
  Span residents;                // laid out by ResidentLayout
  bool fresh_residents = false;  // in shared memory, not yet in the device
  int tokens() const { return starts.back(); }
};

// Places of a layer's norms and biases in one region, bytes, multiples of 64.
struct ResidentLayout {
  int64_t query, key, value, attention, attention_weight, attention_shift, up, down, ffn_weight, ffn_shift, bytes;
  explicit ResidentLayout(const ModelShape& shape);
};
void write_residents(const ModelShape& shape, const LayerResidents& residents, std::byte* to);

// Bytes of scratch for `tokens` in all of a batch.
int64_t workspace_bytes(const ModelShape& shape, Op op, int64_t tokens);
// kData or kInvalid where weights do not fit the model.
Status build_compute(const LayerOperands& operands, Program& program);

}  // namespace tessera::fpga
