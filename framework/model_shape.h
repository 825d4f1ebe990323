// Describes a model as a scheduler sees it: dimensions, what may be cut, and what each piece weighs.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "framework/units.h"

namespace tessera {

// Alphabet used for shapes everywhere: B batch, T tokens, D hidden, H heads, F FFN width, L layers, M slices, V vocabulary.

// One (layer, slice): a head's Q, K, V rows and O columns with 1/M of the FFN (STI, section 3).
struct ShardId {
  int16_t layer = 0;
  int16_t slice = 0;
  auto operator<=>(const ShardId&) const = default;
};

// A set of a layer's slices; bit j is slice j. M is at most 64.
using SliceMask = uint64_t;
inline constexpr int kMaxSlices = 64;
constexpr SliceMask first_slices(int m) { return m >= 64 ? ~SliceMask{0} : (SliceMask{1} << m) - 1; }
constexpr int slice_count(SliceMask s) { return std::popcount(s); }

// Bits per weight: 0 absent, 1..8 coded, 32 exact (stored at `stored_exact_bits`).
using Bits = uint8_t;
inline constexpr Bits kAbsent = 0;
inline constexpr Bits kExact = 32;
// Dense index of a bitwidth: 0 absent, 1..8, 9 exact.
inline constexpr int kBitsLevels = 10;
constexpr int bits_level(Bits b) { return b == kExact ? 9 : b; }
constexpr Bits level_bits(int level) { return level == 9 ? kExact : static_cast<Bits>(level); }
constexpr bool valid_bits(int b) { return (b >= 1 && b <= 8) || b == kExact; }

// Plain value. Sizes are bytes on storage, padding included: what a load moves and what a coded resident holds.
struct ModelShape {
  std::string name;
  int layers = 0;      // L
  int slices = 0;      // M (= heads H)
  int hidden = 0;      // D
  int heads = 0;       // H
  int ffn = 0;         // F
  int vocab = 0;       // V
  int max_tokens = 0;  // longest input, from the position table
  int token_types = 2;
  int labels = 0;
  double layer_norm_eps = 1e-12;
  std::vector<std::string> label_names;
  std::vector<int> depths;         // legal exits, ascending
  std::vector<int> widths;         // legal slice counts of a layer, ascending
  std::vector<Bits> bitwidths;     // what the store holds, ascending, kExact last if present
  int stored_exact_bits = 32;      // 16 for an fp16/bf16 checkpoint
  std::vector<Bytes> shard_bytes;  // [L][M][kBitsLevels]; 0 where the store has no such version
  std::vector<Bytes> exit_bytes;   // [L]: exit head of depth l + 1
  Bytes row_block;                 // one read of a word or position row (aligned block)
  Bytes resident_bytes;            // norms, biases, token types: held for the model's whole life

  int head_width() const { return hidden / heads; }
  int ffn_share() const { return ffn / slices; }
  // Weights of one shard: 4 * D * D/H + 2 * D * F/M.
  int64_t shard_weights() const;
  Bytes bytes_of(ShardId id, Bits bits) const;
  bool has_bits(Bits bits) const;
  bool legal_depth(int n) const;
  bool legal_width(int m) const;
};

}  // namespace tessera
