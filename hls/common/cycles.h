// Counts what all kernels share in their cycle models. Standard library only: configs/ prices described cards with these.
//
// A model counts the cycles that a kernel's loops take at the II that their pragmas ask for, with memory that keeps up.
// Memory that does not is a second bound: bytes over bandwidth (hls/cycles/layer_cycles.h).
#pragma once

#include <cstdint>

namespace tessera::hls {

// From a read request to its first beat, at 300 MHz: 137.8 ns for a page miss of HBM on an Alveo U280, 106.6 ns for its DDR4
// (Shuhai, Huang et al., FCCM 2020, table IV) are 41 and 32 cycles; the rest for the adapter of the port, assumed.
inline constexpr uint64_t kMemoryLatency = 64;
// From ap_start to the first loop, and from the last write to ap_done: assumed.
inline constexpr uint64_t kStartCycles = 20;
// Latencies of fp32 operators at 300 MHz on UltraScale+ (Vivado floating-point operator PG060; Vitis HLS chooses about
// these).
inline constexpr uint64_t kMultiplyLatency = 4;
inline constexpr uint64_t kAddLatency = 7;
inline constexpr uint64_t kDivideLatency = 12;
inline constexpr uint64_t kExpLatency = 20;

constexpr uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
constexpr uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

// What a call costs: cycles of one compute unit, and what it moves through its ports.
struct CallCost {
  uint64_t cycles = 0;
  uint64_t bytes = 0;
  uint64_t multiply_adds = 0;  // useful ones
  constexpr CallCost& operator+=(const CallCost& other) {
    cycles += other.cycles;
    bytes += other.bytes;
    multiply_adds += other.multiply_adds;
    return *this;
  }
};

}  // namespace tessera::hls
