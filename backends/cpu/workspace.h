// Lays out the working memory of a task: what estimate() announces is what submit uses.
#pragma once

#include <cstdint>

#include "framework/operands.h"

namespace tessera::cpu {

// What the layout depends on.
struct WorkSize {
  int batch = 1;
  int longest = 0;  // tokens of the longest sequence
  int slices = 0;
  int threads = 1;
  int64_t tokens() const { return int64_t{batch} * longest; }
};
WorkSize work_size(const CostKey& key, int threads);
WorkSize work_size(const Operands& operands, int threads);

constexpr int round_up(int n, int to) { return (n + to - 1) / to * to; }

// Offsets and sizes in bytes, 64-aligned. Attention's and the FFN's parts share one place: they never live together.
struct Workspace {
  int64_t q = 0, keys = 0, values = 0;                       // f32: q [slices], others [group] slices
  int64_t hidden = 0;                                        // [slices][block rows][padded share] f32
  int64_t key_slice = 0, value_slice = 0, hidden_slice = 0;  // bytes of one slice of the above; q's is value_slice
  int64_t scratch = 0;                                       // one of scratch_bytes for each thread
  int64_t scratch_bytes = 0;
  int64_t acc = 0;     // in a scratch: f64 [kMaxBlockRows][kTileColumns], behind two decoded panels
  int64_t bytes = 0;   // all
  int group = 1;       // slices whose keys and values live at once
  int block_rows = 0;  // rows of an FFN block
};
Workspace lay_out(const ModelShape& shape, Op op, const WorkSize& size);

}  // namespace tessera::cpu
