// Describes what a simulated machine does beyond its cost models: shared bandwidth, contention, jitter, heat, loss.
//
// Plain values, exact integers: shares and factors in ppm (millionths), heat in microkelvin above the surroundings, time in
// nanoseconds since the machine began. docs/simulator.md has the equations; framework/simulated_machine.h carries them out.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "framework/result.h"
#include "framework/task.h"

namespace tessera {

inline constexpr int64_t kPpm = 1'000'000;

// A value drawn by what it is for (seed, request, task, ...): equal words, equal value, on every machine. One splitmix64
// (framework/random.h) a word, from the word and the value before it.
uint64_t hash_draw(std::initializer_list<uint64_t> words);

// A distribution by its quantiles: entry i of n lies at probability i / (n - 1); between them it is linear.
struct Quantiles {
  std::vector<int64_t> at;  // not decreasing; empty: no spread
  bool empty() const { return at.empty(); }
  // The value at probability random / 2^64, rounded down; `otherwise` where empty.
  int64_t draw(uint64_t random, int64_t otherwise) const;
};
// Of measured values: at most 65 quantiles, interpolated between the sorted values; each value times `scale`, rounded to
// whole numbers. Values that are not finite or negative are left out.
Quantiles quantiles_of(std::vector<double> values, double scale);

// A bandwidth that changes while nobody asks it to, within 1 +- amplitude.
struct Swing {
  // kSine: 32 steps a period. kSquare: half a period above, half below. kWalk: every 1/16 of a period a step of at most a
  // quarter of the amplitude, drawn from (seed, device, step), reflected at the bounds; every 4096 steps it starts anew.
  enum class Shape : uint8_t { kNone, kSine, kSquare, kWalk } shape = Shape::kNone;
  int64_t amplitude = 0;  // ppm, below kPpm
  Duration period, phase;
};

// Newton's law: heat h follows dh/dt = (rise * power - h) / time_constant, power being 1 where busy at full speed.
struct Thermal {
  int64_t rise = 0;  // microkelvin that lasting work at full speed would end at; 0: no heat
  Duration time_constant;
  int64_t throttle_at = 0, resume_at = 0;  // microkelvin: slowed from the one on, until below the other
  int64_t slowed = kPpm;                   // speed while throttled, ppm; power falls alike
  int64_t start = 0;                       // heat when the machine begins
};

// Frequency levels under an on-demand governor (Pallipadi and Starikovskiy, "The Ondemand Governor", OLS 2006): every
// `sample`, where the device was busy for `up` or more of it, the highest level; else the lowest that would have kept it
// below `up`. The machine begins at the lowest.
struct FrequencyLevels {
  struct Level {
    int64_t speed = kPpm, power = kPpm;  // ppm of the cost model's speed, and of full power
  };
  std::vector<Level> levels;  // speeds ascending; empty: one, of full speed
  Duration sample;
  int64_t up = 800'000;
};

struct DeviceDynamics {
  Swing swing;
  Thermal thermal;
  FrequencyLevels frequency;
  Duration lost_at = kForever;  // from then on every task on it fails
  // Of one task's time over what the cost model says, ppm, by Op; before it, by kind of task (cost_model_learned.h).
  std::array<Quantiles, kOpCount> jitter;
  std::map<int, Quantiles> jitter_by_kind = {};
};

// Devices whose transport shares one bandwidth, with what other programs take of it. Each asks for what it could use alone;
// what is there is divided max-min fairly (Bertsekas and Gallager, "Data Networks", 2nd ed., section 6.5.2).
struct SharedBandwidth {
  struct Member {
    DeviceId device = 0;
    int64_t demand = 0;  // bytes a second that it uses alone; > 0
  };
  // Asks for `demand` during the first `busy` of every `period`; always where period is 0.
  struct Background {
    int64_t demand = 0;
    Duration period, busy, phase;
  };
  std::string name;
  int64_t bandwidth = 0;        // bytes a second; > 0
  std::vector<Member> members;  // each device once
  std::vector<Background> background;
};

// While `beside` runs a task, one on `slowed` takes longer by a factor, ppm. Of loads and layers, by how many of their
// slices are coded: between `plain` (none; and all other tasks) and `coded` (all).
struct ContentionFactor {
  DeviceId slowed = 0, beside = 0;
  int64_t plain = kPpm, coded = kPpm;
  // Also while `beside` waits for its next task, from its first one of a run on (where it computes: its first layer), as
  // threads spin for a while.
  bool lasting = false;
};

// What hits all tasks of a request alike, and what passes before its first one.
struct RequestJitter {
  Quantiles ratio;  // ppm
  Quantiles setup;  // ns
};

struct Dynamics {
  std::vector<DeviceDynamics> devices;  // by id; a missing one has none
  std::vector<SharedBandwidth> shared;
  std::vector<ContentionFactor> contention;
  RequestJitter first, later;  // the first request of a session, and those after it
  uint64_t seed = 0;           // of every draw
};

// kInvalid names what cannot be: shares out of range, unknown devices, a period or capacity of 0.
Status check_dynamics(const Dynamics& dynamics, int devices);

}  // namespace tessera
