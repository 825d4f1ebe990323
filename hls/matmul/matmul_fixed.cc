// The top of matmul in 16-bit fixed point.
#include "hls/common/fixed.h"
#include "hls/common/kernel_table.h"
#include "hls/matmul/matmul.h"

using tessera::hls::Line;

extern "C" void matmul_fixed(const Line* x, const Line* weights, const uint16_t* positions, const uint16_t* values,
                             const float* bias, Line* y, uint32_t x_at, uint32_t weights_at, uint32_t bias_at, uint32_t y_at,
                             uint32_t status_at, uint32_t tokens, uint32_t in, uint32_t out, uint32_t x_stride,
                             uint32_t y_stride, uint32_t bits, uint32_t element, uint32_t mode, uint32_t* status) {
#pragma HLS INTERFACE m_axi port = x bundle = x offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = weights bundle = weights offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = positions bundle = positions offset = slave
#pragma HLS INTERFACE m_axi port = values bundle = values offset = slave
#pragma HLS INTERFACE m_axi port = bias bundle = bias offset = slave
#pragma HLS INTERFACE m_axi port = y bundle = y offset = slave num_write_outstanding = 32 num_read_outstanding = 32
#pragma HLS INTERFACE m_axi port = status bundle = status offset = slave
#pragma HLS INTERFACE s_axilite port = return
  tessera::hls::mm::Job job = {};
  job.tokens = tokens;
  job.in = in;
  job.out = out;
  job.x_stride = x_stride;
  job.y_stride = y_stride;
  job.bits = bits;
  job.element = element;
  job.mode = mode;
  job.x_at = uint64_t{x_at} * tessera::hls::kLineFloats;
  job.y_at = uint64_t{y_at} * (mode == tessera::hls::kStore ? tessera::hls::kLineFloats : tessera::hls::kLineDoubles);
  job.weights_at = weights_at;
  status[status_at] = tessera::hls::mm::run<tessera::hls::Fixed16>(x, weights, positions, values, bias, bias_at, y, job);
}

TESSERA_HLS_KERNEL(matmul_fixed, "x", "weights", "positions", "values", "bias", "y", "x_at", "weights_at", "bias_at", "y_at",
                   "status_at", "tokens", "in", "out", "x_stride", "y_stride", "bits", "element", "mode", "status");
