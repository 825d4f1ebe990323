// Adds and subtracts counts that come from files and models without overflow.
#pragma once

#include <cstdint>

#include "framework/units.h"

namespace tessera {

inline int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b > 0 ? INT64_MAX : INT64_MIN;
}

inline int64_t saturating_subtract(int64_t a, int64_t b) {
  int64_t difference = 0;
  if (!__builtin_sub_overflow(a, b, &difference)) return difference;
  return b < 0 ? INT64_MAX : INT64_MIN;
}

inline Duration saturating_add(Duration a, Duration b) { return {saturating_add(a.ns, b.ns)}; }

}  // namespace tessera
