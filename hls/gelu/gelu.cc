// The top of gelu in fp32.
#include "hls/gelu/gelu.h"

#include "hls/common/kernel_table.h"

using tessera::hls::Line;

extern "C" void gelu(const Line* x, Line* y, uint32_t x_at, uint32_t y_at, uint32_t status_at, uint32_t lines,
                     uint32_t* status) {
#pragma HLS INTERFACE m_axi port = x bundle = x offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = y bundle = y offset = slave max_write_burst_length = 16
#pragma HLS INTERFACE m_axi port = status bundle = status offset = slave
#pragma HLS INTERFACE s_axilite port = return
  status[status_at] = tessera::hls::gl::run<tessera::hls::Real>(x, y, x_at, y_at, lines);
}

TESSERA_HLS_KERNEL(gelu, "x", "y", "x_at", "y_at", "status_at", "lines", "status");
