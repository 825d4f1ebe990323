// Draws arrival times with integers only, so that they are the same on every machine.
#include "scheduler/workload.h"

#include <algorithm>

#include "framework/random.h"

namespace tessera {
namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() { return splitmix64(state_); }
  // In [least, most], evenly: draws that would favour small values are thrown away.
  int64_t between(int64_t least, int64_t most) {
    const uint64_t count = static_cast<uint64_t>(most - least) + 1, fair = UINT64_MAX - UINT64_MAX % count;
    uint64_t drawn = next();
    while (drawn >= fair) drawn = next();
    return least + static_cast<int64_t>(drawn % count);
  }

 private:
  uint64_t state_;
};

constexpr int kFraction = 24;           // bits behind the point of a logarithm
constexpr uint64_t kLn2 = 2977044472u;  // ln 2 * 2^32, rounded

// -ln(u), u uniform in (0, 1): 24 bits behind the point. The base-2 logarithm comes bit by bit, from squaring a mantissa of
// 32 bits: no library whose last bit differs from machine to machine. Largest value: 64 ln 2 = 44.4.
uint64_t exponential(Random& random) {
  const uint64_t drawn = random.next() | 1;  // u = drawn / 2^64
  const int leading = __builtin_clzll(drawn);
  uint64_t mantissa = (drawn << leading) >> 32;  // in [2^31, 2^32): the value 1 to 2
  uint64_t log2 = 0;                             // of the mantissa
  for (int bit = 0; bit < kFraction; ++bit) {
    mantissa = (mantissa * mantissa) >> 31;
    log2 <<= 1;
    if (mantissa >> 32) {
      log2 |= 1;
      mantissa >>= 1;
    }
  }
  const uint64_t minus_log2 = (static_cast<uint64_t>(leading + 1) << kFraction) - log2;  // below 2^31
  return (minus_log2 * (kLn2 >> 1)) >> 31;  // below 2^31 * 2^31 before the shift
}

// mean * value with 24 bits behind the point, saturating far beyond any sequence.
Duration times(Duration mean, uint64_t value) {
  const uint64_t ns = static_cast<uint64_t>(std::min(mean, kLongestGap).ns);
  const uint64_t low = ns & ((uint64_t{1} << kFraction) - 1);
  return {static_cast<int64_t>((ns >> kFraction) * value + ((low * value) >> kFraction))};
}

}  // namespace

std::vector<Duration> arrival_times(const Arrivals& arrivals, uint64_t seed) {
  Random random(seed);
  std::vector<Duration> out;
  out.reserve(static_cast<size_t>(std::max(0, arrivals.requests)));
  Duration now = arrivals.first;
  int64_t left = 0;  // of the running burst
  for (int i = 0; i < arrivals.requests; ++i) {
    switch (arrivals.kind) {
      case Arrivals::Kind::kRegular:
        now = arrivals.first + arrivals.interval * i;
        break;
      case Arrivals::Kind::kPoisson:
        now += times(arrivals.interval, exponential(random));
        break;
      case Arrivals::Kind::kBursts:
        if (left == 0) {
          if (i > 0) now += times(arrivals.interval, exponential(random));
          left = random.between(arrivals.burst_least, arrivals.burst_most);
        } else {
          now += Duration{random.between(arrivals.step_least.ns, arrivals.step_most.ns)};
        }
        --left;
        break;
      case Arrivals::Kind::kRecorded:
        if (static_cast<size_t>(i) >= arrivals.times.size()) return out;
        now = arrivals.first + arrivals.times[static_cast<size_t>(i)];
        break;
    }
    out.push_back(now);
  }
  return out;
}

}  // namespace tessera
