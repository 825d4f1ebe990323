// Cost keys of every kind, to ask a device about.
#pragma once

#include <string>

#include "framework/task.h"

namespace tessera::conformance {

inline ModelShape some_shape() {
  ModelShape shape;
  shape.layers = 2, shape.slices = shape.heads = 4, shape.hidden = 64, shape.ffn = 128, shape.labels = 2;
  shape.vocab = 50, shape.max_tokens = 512;
  return shape;
}

inline CostKey key_of(Op op, int tokens, int slices, Bits bits, bool decoded) {
  CostKey key;
  key.op = op;
  key.tokens = static_cast<uint16_t>(tokens);
  key.slices = static_cast<uint8_t>(op == Op::kCombine ? 0 : slices);
  key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
  key.decoded = decoded;
  key.reads = 1;
  key.bytes = 4096;
  return key;
}

// Every op at every bitwidth and a few sizes.
template <typename Visit>
void for_all_keys(Visit visit) {
  for (int op = 0; op < kOpCount; ++op)
    for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8, static_cast<int>(kExact)})
      for (const int slices : {1, 4})
        for (const bool decoded : {false, true}) visit(static_cast<Op>(op), static_cast<Bits>(bits), slices, decoded);
}

inline std::string text_of(const CostKey& key) {
  return "op " + std::to_string(static_cast<int>(key.op)) + ", " + std::to_string(key.tokens) + " tokens, " +
         std::to_string(key.slices) + " slices";
}

}  // namespace tessera::conformance
