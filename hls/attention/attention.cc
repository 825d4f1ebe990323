// The top of attention in fp32.
#include "hls/attention/attention.h"

#include "hls/common/kernel_table.h"

using tessera::hls::Line;

extern "C" void attention(const Line* q, const Line* k, const Line* v, Line* context, uint32_t q_at, uint32_t k_at,
                          uint32_t v_at, uint32_t context_at, uint32_t status_at, uint32_t tokens, uint32_t width,
                          uint32_t* status) {
#pragma HLS INTERFACE m_axi port = q bundle = q offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = k bundle = k offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = v bundle = v offset = slave max_read_burst_length = 16
#pragma HLS INTERFACE m_axi port = context bundle = context offset = slave max_write_burst_length = 16
#pragma HLS INTERFACE m_axi port = status bundle = status offset = slave
#pragma HLS INTERFACE s_axilite port = return
  tessera::hls::attn::Job job = {};
  job.tokens = tokens;
  job.width = width;
  job.q_at = q_at;
  job.k_at = k_at;
  job.v_at = v_at;
  job.context_at = context_at;
  status[status_at] = tessera::hls::attn::run<tessera::hls::Real>(q, k, v, context, job);
}

TESSERA_HLS_KERNEL(attention, "q", "k", "v", "context", "q_at", "k_at", "v_at", "context_at", "status_at", "tokens", "width",
                   "status");
