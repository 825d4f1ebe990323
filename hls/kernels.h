// Declares the kernels' tops: what a host passes to each, in which units, and what it finds in the status word.
//
//   one slice of a layer, x [T, D] -> partial sums f64 [T, D]:
//
//     x ─► matmul Q, K, V ─► q, k, v ─► attention ─► context ─► matmul O ─┐           (kAttentionPart)
//     y ─► matmul Up ──────► gelu ────────────────────────────► matmul Down ┴─► sums   (kFfnPart)
//     sums, residual, shared bias, norm ─► layernorm_residual ─► y [T, D]              (kCombine)
//
// Memory is seen as lines of 64 bytes. An argument `*_at` says where in its buffer an operand begins: in lines for Line
// pointers, in elements for others. So an operand lies at any multiple of 64 bytes of a larger buffer, and one buffer may be
// passed as several arguments. Pointers that a mode does not use must still name a buffer.
// Kernels read and write whole lines: a buffer reaches to the end of its last line.
// Rows of q, k, v, context and hidden are padded to whole lines (padded_row): a kernel writes zeros there, or leaves it
// alone.
//
// Two instances of each top share one list of arguments: <k> computes in fp32, <k>_fixed in fixed point (hls/README.md).
#pragma once

#include <cstdint>

#include "hls/common/limits.h"
#include "hls/common/line.h"

namespace tessera::hls {

// The word that a kernel writes last. The host clears it before each start; 0 after the end means that the kernel died.
enum KernelStatus : uint32_t {
  kStatusDone = 1,
  kStatusRefused = 2,   // an argument is beyond the kernel's limits: nothing was written
  kStatusOverflow = 3,  // ran to its end, but a value left the range of the grid of sums, or was no number
};

enum MatmulMode : uint32_t {
  kStore = 0,       // y f32 [tokens, out] = x W^T + bias
  kBegin = 1,       // y f64 [tokens, out] = grid(x W^T), no bias: the first slice
  kAccumulate = 2,  // y f64 [tokens, out] += grid(x W^T), no bias: the next slices
};

// Floats of a padded row.
constexpr uint32_t padded_row(uint32_t width) { return (width + kLineFloats - 1) / kLineFloats * kLineFloats; }

}  // namespace tessera::hls

extern "C" {

// y = x [tokens, in] * W^T, W [out, in] as it lies in a shard (shards/shard_format.h): coded with `bits` 1..8, or dense
// panels with bits 32. weights, positions and values name the same buffer, the shard's, on three ports; weights_at is where
// the *matrix* begins in it, in lines. `element`: 0 f32, 1 f16, 2 bf16: of dense panels and of outliers. Row t of x begins
// x_stride floats after row t - 1, of y y_stride floats (kStore) or doubles.
void matmul(const tessera::hls::Line* x, const tessera::hls::Line* weights, const uint16_t* positions,
            const uint16_t* values, const float* bias, tessera::hls::Line* y, uint32_t x_at, uint32_t weights_at,
            uint32_t bias_at, uint32_t y_at, uint32_t status_at, uint32_t tokens, uint32_t in, uint32_t out,
            uint32_t x_stride, uint32_t y_stride, uint32_t bits, uint32_t element, uint32_t mode, uint32_t* status);

// One head over one sequence: context [tokens, width] = softmax(q k^T / sqrt(width)) v. Rows are padded to whole lines.
void attention(const tessera::hls::Line* q, const tessera::hls::Line* k, const tessera::hls::Line* v,
               tessera::hls::Line* context, uint32_t q_at, uint32_t k_at, uint32_t v_at, uint32_t context_at,
               uint32_t status_at, uint32_t tokens, uint32_t width, uint32_t* status);

// y = gelu(x) over `lines` lines of 16 floats; y may be x.
void gelu(const tessera::hls::Line* x, tessera::hls::Line* y, uint32_t x_at, uint32_t y_at, uint32_t status_at,
          uint32_t lines, uint32_t* status);

// Adds parts 1 .. parts - 1 to part 0, f64 [tokens, width] each, on the grid of sums.
//   finish 1: y f32 [tokens, width] = LayerNorm(sum + bias + residual) * weight + shift; part 0 stays as it was
//   finish 0: part 0 = sum, for more than kMostParts of them; residual, norms and y are not used
// bias, weight and shift are [width] floats at multiples of 64 bytes in the buffer `norms`, at bias_at, ... in lines.
// y may be residual.
void layernorm_residual(tessera::hls::Line* part0, const tessera::hls::Line* part1, const tessera::hls::Line* part2,
                        const tessera::hls::Line* part3, const tessera::hls::Line* residual, const tessera::hls::Line* norms,
                        tessera::hls::Line* y, uint32_t part0_at, uint32_t part1_at, uint32_t part2_at, uint32_t part3_at,
                        uint32_t residual_at, uint32_t bias_at, uint32_t weight_at, uint32_t shift_at, uint32_t y_at,
                        uint32_t status_at, uint32_t parts, uint32_t finish, uint32_t tokens, uint32_t width, float eps,
                        uint32_t* status);

// The same in fixed point; only where the open ap_types headers were found at configure time (hls/README.md).
void matmul_fixed(const tessera::hls::Line* x, const tessera::hls::Line* weights, const uint16_t* positions,
                  const uint16_t* values, const float* bias, tessera::hls::Line* y, uint32_t x_at, uint32_t weights_at,
                  uint32_t bias_at, uint32_t y_at, uint32_t status_at, uint32_t tokens, uint32_t in, uint32_t out,
                  uint32_t x_stride, uint32_t y_stride, uint32_t bits, uint32_t element, uint32_t mode, uint32_t* status);
void attention_fixed(const tessera::hls::Line* q, const tessera::hls::Line* k, const tessera::hls::Line* v,
                     tessera::hls::Line* context, uint32_t q_at, uint32_t k_at, uint32_t v_at, uint32_t context_at,
                     uint32_t status_at, uint32_t tokens, uint32_t width, uint32_t* status);
void gelu_fixed(const tessera::hls::Line* x, tessera::hls::Line* y, uint32_t x_at, uint32_t y_at, uint32_t status_at,
                uint32_t lines, uint32_t* status);
void layernorm_residual_fixed(tessera::hls::Line* part0, const tessera::hls::Line* part1, const tessera::hls::Line* part2,
                              const tessera::hls::Line* part3, const tessera::hls::Line* residual,
                              const tessera::hls::Line* norms, tessera::hls::Line* y, uint32_t part0_at, uint32_t part1_at,
                              uint32_t part2_at, uint32_t part3_at, uint32_t residual_at, uint32_t bias_at,
                              uint32_t weight_at, uint32_t shift_at, uint32_t y_at, uint32_t status_at, uint32_t parts,
                              uint32_t finish, uint32_t tokens, uint32_t width, float eps, uint32_t* status);
}
