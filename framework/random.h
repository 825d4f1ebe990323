// Draws the same numbers on every machine: the distributions of the standard library do not.
#pragma once

#include <cstdint>

namespace tessera {

// The next of a stream of 64 even bits: splitmix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators",
// OOPSLA 2014). Any start will do; neighbouring ones have nothing in common.
constexpr uint64_t splitmix64(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace tessera
