// Rows to embed and exit heads, as stored, with what the reference makes of them.
#pragma once

#include <vector>

#include "tests/conformance/runner.h"

namespace tessera::conformance {

struct EmbedCase {
  EmbedCase(const RandomLayer& layer, int tokens);
  EmbedCase(const EmbedCase&) = delete;
  EmbedCase& operator=(const EmbedCase&) = delete;
  RowRefs refs;
  std::vector<float> want;  // [T, D]

 private:
  std::vector<std::vector<float>> rows_;  // word, position, type
  std::vector<std::byte> word_, position_;
  std::vector<const std::byte*> word_at_, position_at_;
  std::vector<const float*> type_at_;
};

// Two sequences of different lengths: each one's first token is classified.
struct ExitCase {
  explicit ExitCase(const RandomLayer& layer);
  ExitCase(const ExitCase&) = delete;
  ExitCase& operator=(const ExitCase&) = delete;
  ExitRefs refs;
  std::vector<int32_t> starts{0, 5, 12};
  std::vector<float> x;     // [12, D]
  std::vector<float> want;  // [2, labels]

 private:
  std::vector<std::vector<float>> plain_;
  std::vector<std::vector<std::byte>> stored_;
};

}  // namespace tessera::conformance
