// Says into which tiles products are cut on a device: what `tune` measures and the calibration file keeps.
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "backends/opencl/discovery.h"
#include "framework/result.h"

namespace tessera::opencl {

// A work-group of lanes x panels work-items, each of `rows` rows by one panel of 16 columns, `depth` inputs at a time.
struct Tile {
  int lanes = 1;
  int panels = 1;
  int rows = 1;    // 1, 2, 4 or 8
  int depth = 32;  // inputs of a tile in local memory
  int stage = 0;   // 1: rows go through local memory too (GPUs); 0: read where they lie (caches)
  auto operator<=>(const Tile&) const = default;
};

// Up to this many tokens a product is cut with `few`.
inline constexpr int kFewTokens = 32;

struct Tuning {
  Tile few;
  Tile many;
  auto operator<=>(const Tuning&) const = default;
  const Tile& of(int tokens) const { return tokens <= kFewTokens ? few : many; }
};

int64_t local_bytes(const Tile& tile);
bool fits(const Tile& tile, const DeviceFacts& device);
// What is worth measuring on such a device, best guess first; all fit. At least one.
std::vector<Tile> candidates(const DeviceFacts& device, bool few);
Tuning default_tuning(const DeviceFacts& device);

// "tessera-opencl 1 | few 4 2 8 64 0 | many 4 2 8 64 0".
std::string to_text(const Tuning& tuning);
Result<Tuning> from_text(std::string_view text, const DeviceFacts& device);

}  // namespace tessera::opencl
