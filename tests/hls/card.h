// Runs kernels in C simulation on one piece of memory, as a card would: every operand at an offset, guards around it.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "hls/kernels.h"
#include "tests/support/close.h"

namespace tessera::hls::testing {

// The memory of a card. Operands are found by the line where they begin.
class Card {
 public:
  template <typename T>
  uint32_t put(const std::vector<T>& values) {
    const uint32_t at = room(values.size() * sizeof(T));
    std::memcpy(&memory_[at], values.data(), values.size() * sizeof(T));
    return at;
  }
  // Room for so many bytes, filled with a pattern, and a guard line behind it.
  uint32_t room(size_t bytes) {
    const size_t at = memory_.size();
    Line guard;
    std::memset(&guard, 0xa5, sizeof guard);
    memory_.resize(at + (bytes + kLineBytes - 1) / kLineBytes + 2, guard);
    return static_cast<uint32_t>(at);
  }
  template <typename T>
  std::vector<T> get(uint32_t at, size_t count) const {
    std::vector<T> values(count);
    std::memcpy(values.data(), &memory_[at], count * sizeof(T));
    return values;
  }
  Line* base() { return memory_.data(); }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(memory_.data());
  }
  // To be called before a kernel; then `untouched` tells whether only [at, at + bytes) and the status changed.
  void remember() { before_ = memory_; }
  ::testing::AssertionResult untouched_but(uint32_t at, size_t bytes, uint32_t status_at) const {
    for (size_t byte = 0; byte < memory_.size() * kLineBytes; ++byte) {
      const auto* now = reinterpret_cast<const unsigned char*>(memory_.data());
      const auto* then = reinterpret_cast<const unsigned char*>(before_.data());
      const bool inside = byte >= size_t{at} * kLineBytes && byte < size_t{at} * kLineBytes + bytes;
      if (!inside && byte / 4 != status_at && now[byte] != then[byte]) {
        return ::testing::AssertionFailure()
               << "byte " << byte << " changed; output is " << bytes << " bytes at line " << at;
      }
    }
    return ::testing::AssertionSuccess();
  }
  // A cleared status word, as an index of words.
  uint32_t status_word() {
    const uint32_t at = put(std::vector<uint32_t>{7, 0, 7});
    return at * kLineFloats + 1;
  }
  uint32_t word(uint32_t at) { return as<uint32_t>()[at]; }

 private:
  std::vector<Line> memory_ = std::vector<Line>(1);  // nothing begins at 0
  std::vector<Line> before_;
};

inline std::vector<float> random_floats(size_t count, uint32_t seed, float sigma = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;  // a sigma of 0 is not allowed
  std::vector<float> values(count);
  for (float& v : values) v = normal(random) * sigma;
  return values;
}

// Rows of `width`, each padded to `stride`; and back.
inline std::vector<float> padded(const std::vector<float>& rows, size_t width, size_t stride, float fill = 0) {
  std::vector<float> out(rows.size() / width * stride, fill);
  for (size_t i = 0; i < rows.size(); ++i) out[i / width * stride + i % width] = rows[i];
  return out;
}
inline std::vector<float> unpadded(const std::vector<float>& rows, size_t width, size_t stride) {
  std::vector<float> out(rows.size() / stride * width);
  for (size_t i = 0; i < out.size(); ++i) out[i] = rows[i / width * stride + i % width];
  return out;
}

using tessera::testing::close;

}  // namespace tessera::hls::testing
