// Defines what a call of matmul works on, and what passes between its stages.
#pragma once

#include "hls/common/arithmetic.h"
#include "hls/common/element.h"
#include "hls/common/stream.h"
#include "hls/kernels.h"
#include "hls/matmul/tile.h"

namespace tessera::hls::mm {

inline constexpr uint32_t kMostPanels = kMostOut / kColumns;
inline constexpr uint32_t kMostChunks = kMostIn / kLineFloats;
inline constexpr uint32_t kMostEntries = 256;  // of a dictionary
inline constexpr uint32_t kExactBits = 32;

// What a call works on. Scalars only: copied to each stage.
struct Job {
  uint32_t tokens, in, out, panels, tiles;
  uint32_t x_stride, y_stride;
  uint32_t bits, element, mode;
  uint64_t x_at, y_at;             // elements: floats; y doubles where summed
  uint64_t weights_at;             // lines
  uint32_t indices_byte;           // of the matrix: where indices or dense panels begin
  uint32_t outliers;               // in all
  uint64_t position_at, value_at;  // halves (16 bits)
  uint32_t chunks() const { return (in + kLineFloats - 1) / kLineFloats; }
};

// What precedes the tiles, on chip.
template <typename Tag>
struct Dictionary {
  typename Arithmetic<Tag>::Weight lane[kColumns][kMostEntries];  // a copy for each lane
};
struct PanelStarts {
  uint32_t at[kMostPanels + 1];  // outliers before each panel
};
struct Bias {
  float at[kMostOut];
};

template <typename Tag>
struct WeightRow {
  typename Arithmetic<Tag>::Weight column[kColumns];
};
template <typename Tag>
struct SumRow {
  typename Arithmetic<Tag>::Sum column[kColumns];
};
// Element k of row r at [r][k / 16][k % 16].
template <typename Tag>
using Tile = typename Arithmetic<Tag>::Activation[MatmulTile<Tag>::kRows][kMostChunks][kLineFloats];

constexpr uint32_t rounded(uint32_t n, uint32_t multiple) { return (n + multiple - 1) / multiple * multiple; }

inline bool valid(const Job& job) {
  const bool coded = job.bits >= 1 && job.bits <= 8;
  return job.tokens <= kMostTokens && job.in >= 1 && job.in <= kMostIn && job.out >= 1 && job.out <= kMostOut &&
         job.x_stride >= job.in && job.y_stride >= job.out && (coded || job.bits == kExactBits) &&
         job.element <= kElementBf16 && job.mode <= kAccumulate;
}

}  // namespace tessera::hls::mm
