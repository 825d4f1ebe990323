// Draws from distributions, and refuses descriptions of machines that cannot be.
#include "framework/dynamics.h"

#include <algorithm>
#include <cmath>

#include "framework/random.h"

namespace tessera {
namespace {

using Wide = __int128;

constexpr size_t kMostQuantiles = 65;
// Bounds that keep every product within 128 bits, and every event count finite.
constexpr int64_t kMostFactor = 1000 * kPpm;
constexpr int64_t kLeastSpeed = kPpm / 1000;
constexpr Duration kShortest = microseconds(1), kLongest = milliseconds(1'000'000'000);
constexpr int64_t kHottest = 1'000'000'000;                  // microkelvin
constexpr int64_t kWidestBandwidth = 1'000'000'000'000'000;  // bytes a second
constexpr int64_t kSlowestSetup = 1'000'000'000'000;         // ns

Error invalid(const std::string& what) { return {ErrorCode::kInvalid, "dynamics: " + what}; }

std::string of(size_t device) { return "device " + std::to_string(device) + ": "; }

bool lasts(Duration d) { return d >= kShortest && d <= kLongest; }

bool within(int64_t value, int64_t least, int64_t most) { return value >= least && value <= most; }

bool ordered(const Quantiles& q, int64_t least, int64_t most) {
  return std::is_sorted(q.at.begin(), q.at.end()) &&
         (q.empty() || (q.at.front() >= least && q.at.back() <= most && q.at.size() <= 10'000));
}

Status check_swing(const Swing& s) {
  if (s.shape == Swing::Shape::kNone) return {};
  if (!within(s.amplitude, 0, kPpm - kLeastSpeed)) return invalid("swing amplitude " + std::to_string(s.amplitude) + " ppm");
  if (!lasts(s.period)) return invalid("swing period " + to_string(s.period) + "; 1 us to 10^6 s");
  if (s.phase < Duration{} || s.phase > kLongest) return invalid("swing phase " + to_string(s.phase));
  return {};
}

Status check_thermal(const Thermal& t) {
  if (t.rise == 0) return {};
  if (!within(t.rise, 1, kHottest) || !within(t.start, 0, kHottest)) return invalid("heat beyond 1000 K");
  if (!lasts(t.time_constant)) return invalid("thermal time constant " + to_string(t.time_constant) + "; 1 us to 10^6 s");
  if (!within(t.slowed, kLeastSpeed, kPpm)) return invalid("throttled speed " + std::to_string(t.slowed) + " ppm");
  if (t.resume_at < 0 || t.resume_at > t.throttle_at) return invalid("a throttled device resumes above where it throttles");
  return {};
}

Status check_frequency(const FrequencyLevels& f) {
  if (f.levels.empty()) return {};
  if (f.levels.size() > 64) return invalid("more than 64 frequency levels");
  if (!lasts(f.sample)) return invalid("governor's sample " + to_string(f.sample) + "; 1 us to 10^6 s");
  if (!within(f.up, 1, kPpm)) return invalid("governor's threshold " + std::to_string(f.up) + " ppm");
  int64_t below = 0;
  for (const FrequencyLevels::Level& level : f.levels) {
    if (!within(level.speed, std::max(below + 1, kLeastSpeed), kMostFactor) || !within(level.power, 0, kMostFactor))
      return invalid("frequency levels must rise, from 1000 ppm");
    below = level.speed;
  }
  return {};
}

Status check_shared(const SharedBandwidth& s, int devices) {
  if (!within(s.bandwidth, 1, kWidestBandwidth)) return invalid(s.name + ": bandwidth " + std::to_string(s.bandwidth));
  for (auto member = s.members.begin(); member != s.members.end(); ++member) {
    const auto same = [&](const SharedBandwidth::Member& other) { return other.device == member->device; };
    if (std::any_of(s.members.begin(), member, same))
      return invalid(s.name + ": device " + std::to_string(member->device) + " is a member twice");
    if (member->device >= devices || !within(member->demand, 1, kWidestBandwidth))
      return invalid(s.name + ": member " + std::to_string(member->device) + " asks for " + std::to_string(member->demand));
  }
  for (const auto& b : s.background) {
    const bool steady = b.period == Duration{};
    if (!within(b.demand, 0, kWidestBandwidth) || (!steady && !lasts(b.period)) || b.busy < Duration{} ||
        (!steady && b.busy > b.period) || b.phase < Duration{} || b.phase > kLongest)
      return invalid(s.name + ": background that is busy " + to_string(b.busy) + " of " + to_string(b.period));
  }
  return {};
}

}  // namespace

uint64_t hash_draw(std::initializer_list<uint64_t> words) {
  uint64_t state = 0;
  for (const uint64_t word : words) {
    uint64_t start = state ^ word;
    state = splitmix64(start);
  }
  return state;
}

int64_t Quantiles::draw(uint64_t random, int64_t otherwise) const {
  if (at.empty()) return otherwise;
  const Wide place = static_cast<Wide>(random) * static_cast<Wide>(at.size() - 1);  // whole entries above bit 64
  const auto entry = static_cast<size_t>(place >> 64);
  if (entry + 1 >= at.size()) return at.back();
  const auto share = static_cast<Wide>(static_cast<uint64_t>(place) >> 1);  // of 2^63
  return at[entry] + static_cast<int64_t>((static_cast<Wide>(at[entry + 1] - at[entry]) * share) >> 63);
}

Quantiles quantiles_of(std::vector<double> values, double scale) {
  std::erase_if(values, [&](double v) { return !std::isfinite(v) || v < 0 || v * scale > 9e18; });
  std::sort(values.begin(), values.end());
  Quantiles out;
  if (values.empty()) return out;
  const size_t count = std::min(values.size(), kMostQuantiles);
  for (size_t i = 0; i < count; ++i) {
    const size_t steps = std::max<size_t>(count - 1, 1), place = i * (values.size() - 1);
    const size_t below = place / steps, above = std::min(below + 1, values.size() - 1);
    const double share = static_cast<double>(place % steps) / static_cast<double>(steps);
    out.at.push_back(static_cast<int64_t>(std::floor((values[below] * (1 - share) + values[above] * share) * scale + 0.5)));
  }
  return out;
}

Status check_dynamics(const Dynamics& d, int devices) {
  if (d.devices.size() > static_cast<size_t>(devices))
    return invalid(std::to_string(d.devices.size()) + " devices described, " + std::to_string(devices) + " there");
  const auto named = [](size_t id, const Status& status) {
    return status.ok() ? status : Status(Error{status.error().code, of(id) + status.error().message});
  };
  for (size_t id = 0; id < d.devices.size(); ++id) {
    const DeviceDynamics& device = d.devices[id];
    TESSERA_TRY(named(id, check_swing(device.swing)));
    TESSERA_TRY(named(id, check_thermal(device.thermal)));
    TESSERA_TRY(named(id, check_frequency(device.frequency)));
    if (device.lost_at < Duration{}) return invalid(of(id) + "lost before the machine begins");
    const auto rises = [](const Quantiles& q) { return ordered(q, 0, kMostFactor); };
    const bool ops = std::all_of(device.jitter.begin(), device.jitter.end(), rises);
    if (!ops || !std::all_of(device.jitter_by_kind.begin(), device.jitter_by_kind.end(),
                             [&](const auto& entry) { return rises(entry.second); }))
      return invalid(of(id) + "quantiles of jitter must rise, from 0 to 1000");
  }
  for (const SharedBandwidth& s : d.shared) TESSERA_TRY(check_shared(s, devices));
  for (const ContentionFactor& c : d.contention)
    if (c.slowed >= devices || c.beside >= devices || c.slowed == c.beside || !within(c.plain, kLeastSpeed, kMostFactor) ||
        !within(c.coded, kLeastSpeed, kMostFactor))
      return invalid("contention of device " + std::to_string(c.slowed) + " beside " + std::to_string(c.beside));
  for (const RequestJitter* r : {&d.first, &d.later})
    if (!ordered(r->ratio, 0, kMostFactor) || !ordered(r->setup, 0, kSlowestSetup))
      return invalid("quantiles of requests must rise");
  return {};
}

}  // namespace tessera
