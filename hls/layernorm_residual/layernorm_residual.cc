// The top of layernorm_residual in fp32.
#include "hls/layernorm_residual/layernorm_residual.h"

#include "hls/common/kernel_table.h"

using tessera::hls::Line;

extern "C" void layernorm_residual(Line* part0, const Line* part1, const Line* part2, const Line* part3,
                                   const Line* residual, const Line* norms, Line* y, uint32_t part0_at, uint32_t part1_at,
                                   uint32_t part2_at, uint32_t part3_at, uint32_t residual_at, uint32_t bias_at,
                                   uint32_t weight_at, uint32_t shift_at, uint32_t y_at, uint32_t status_at, uint32_t parts,
                                   uint32_t finish, uint32_t tokens, uint32_t width, float eps, uint32_t* status) {
#pragma HLS INTERFACE m_axi port = part0 bundle = part0 offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = part1 bundle = part1 offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = part2 bundle = part2 offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = part3 bundle = part3 offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = residual bundle = residual offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = norms bundle = norms offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = y bundle = y offset = slave max_write_burst_length = 16
#pragma HLS INTERFACE m_axi port = status bundle = status offset = slave
#pragma HLS INTERFACE s_axilite port = return
  tessera::hls::ln::Job job = {};
  job.parts = parts;
  job.tokens = tokens;
  job.width = width;
  job.part_at[0] = uint64_t{part0_at} * tessera::hls::kLineDoubles;
  job.part_at[1] = uint64_t{part1_at} * tessera::hls::kLineDoubles;
  job.part_at[2] = uint64_t{part2_at} * tessera::hls::kLineDoubles;
  job.part_at[3] = uint64_t{part3_at} * tessera::hls::kLineDoubles;
  job.residual_at = uint64_t{residual_at} * tessera::hls::kLineFloats;
  job.y_at = uint64_t{y_at} * tessera::hls::kLineFloats;
  job.bias_at = bias_at;
  job.weight_at = weight_at;
  job.shift_at = shift_at;
  job.eps = eps;
  status[status_at] = tessera::hls::ln::run<tessera::hls::Real>(part0, part1, part2, part3, residual, norms, y, finish, job);
}

TESSERA_HLS_KERNEL(layernorm_residual, "part0", "part1", "part2", "part3", "residual", "norms", "y", "part0_at", "part1_at",
                   "part2_at", "part3_at", "residual_at", "bias_at", "weight_at", "shift_at", "y_at", "status_at", "parts",
                   "finish", "tokens", "width", "eps", "status");
