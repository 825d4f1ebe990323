// Follows one device's swing, heat and frequency in exact steps of a grid of its own.
#include "framework/device_speed.h"

#include <algorithm>

namespace tessera {
namespace {

using Wide = __int128;
using Shape = Swing::Shape;

constexpr int64_t kSineSteps = 32, kWalkSteps = 16, kWalkBlock = 4096, kHeatSteps = 256;
// sin(2 pi (k + 1/2) / 32) of the first quarter, ppm.
constexpr int64_t kQuarterSine[] = {98'017, 290'285, 471'397, 634'393, 773'010, 881'921, 956'940, 995'185};

int64_t sine(int64_t step) {
  const int64_t k = step % kSineSteps, half = k % 16;
  const int64_t value = kQuarterSine[half < 8 ? half : 15 - half];
  return k < 16 ? value : -value;
}

int64_t steps_of(Shape shape) { return shape == Shape::kSine ? kSineSteps : shape == Shape::kSquare ? 2 : kWalkSteps; }

// The next multiple of `grid` after `t`.
Duration next_multiple(Duration t, Duration grid) {
  return {static_cast<int64_t>(std::min<Wide>((static_cast<Wide>(t.ns / grid.ns) + 1) * grid.ns, INT64_MAX))};
}

// A share of `target - from` that reaches it in the end: rounded away from zero.
int64_t toward(int64_t from, int64_t target) {
  const int64_t gap = target - from, away = gap < 0 ? -(kHeatSteps - 1) : kHeatSteps - 1;
  return (gap + away) / kHeatSteps;
}

// Uniform in [-bound, bound].
int64_t uniform(uint64_t random, int64_t bound) {
  return static_cast<int64_t>((static_cast<Wide>(random) * (2 * static_cast<Wide>(bound) + 1)) >> 64) - bound;
}

int64_t reflected(int64_t value, int64_t bound) {
  if (value > bound) return 2 * bound - value;
  return value < -bound ? -2 * bound - value : value;
}

}  // namespace

DeviceSpeed::Step DeviceSpeed::swing_step() const {
  const Swing& s = dynamics_->swing;
  const Wide steps = steps_of(s.shape), place = static_cast<Wide>(at_.ns) + s.phase.ns, period = s.period.ns;
  const Wide number = place * steps / period;
  const Wide until = ((number + 1) * period + steps - 1) / steps - s.phase.ns;
  return {static_cast<int64_t>(number), {static_cast<int64_t>(std::min<Wide>(until, INT64_MAX))}};
}

// Pure in the step: a block of steps is walked from its own beginning, which is drawn.
int64_t DeviceSpeed::walk(int64_t step) const {
  const int64_t bound = dynamics_->swing.amplitude;
  const auto random = [&](int64_t at, uint64_t what) {
    return hash_draw({seed_, 0x7377696e67, device_, what, static_cast<uint64_t>(at)});
  };
  const bool onward = walked_step_ >= 0 && walked_step_ <= step && walked_step_ / kWalkBlock == step / kWalkBlock;
  if (!onward) {
    walked_step_ = step / kWalkBlock * kWalkBlock;
    walked_value_ = uniform(random(walked_step_, 0), bound);
  }
  while (walked_step_ < step)
    walked_value_ = reflected(walked_value_ + uniform(random(++walked_step_, 1), bound / 4), bound);
  return walked_value_;
}

int64_t DeviceSpeed::swing() const {
  const Swing& s = dynamics_->swing;
  if (s.shape == Shape::kNone) return kPpm;
  const int64_t step = swing_step().number;
  if (s.shape == Shape::kSine) return kPpm + s.amplitude * sine(step) / kPpm;
  if (s.shape == Shape::kSquare) return step % 2 == 0 ? kPpm + s.amplitude : kPpm - s.amplitude;
  return kPpm + walk(step);
}

int64_t DeviceSpeed::frequency() const {
  const auto& levels = dynamics_->frequency.levels;
  return levels.empty() ? kPpm : levels[level_].speed;
}

int64_t DeviceSpeed::power() const {
  const auto& levels = dynamics_->frequency.levels;
  const int64_t full = levels.empty() ? kPpm : levels[level_].power;
  return static_cast<int64_t>(static_cast<Wide>(full) * throttled_to() / kPpm);
}

Duration DeviceSpeed::heat_tick() const { return {std::max<int64_t>(1, dynamics_->thermal.time_constant.ns / kHeatSteps)}; }

Duration DeviceSpeed::next_tick() const { return dynamics_->thermal.rise == 0 ? kForever : next_multiple(at_, heat_tick()); }

Duration DeviceSpeed::next_sample() const {
  return dynamics_->frequency.levels.empty() ? kForever : next_multiple(at_, dynamics_->frequency.sample);
}

Duration DeviceSpeed::next_change() const {
  Duration next = std::min(next_tick(), next_sample());
  if (dynamics_->swing.shape != Shape::kNone) next = std::min(next, swing_step().until);
  if (dynamics_->lost_at > at_) next = std::min(next, dynamics_->lost_at);
  return next;
}

void DeviceSpeed::throttle() {
  const Thermal& t = dynamics_->thermal;
  if (t.rise == 0) return;
  if (heat_ >= t.throttle_at) throttled_ = true;
  if (heat_ <= t.resume_at && heat_ < t.throttle_at) throttled_ = false;
}

void DeviceSpeed::warm() {
  const Thermal& t = dynamics_->thermal;
  const auto target = static_cast<int64_t>(worked_ * t.rise / kPpm / heat_tick().ns);
  heat_ += toward(heat_, target);
  worked_ = 0;
  throttle();
}

void DeviceSpeed::govern() {
  const FrequencyLevels& f = dynamics_->frequency;
  const Wide load = static_cast<Wide>(busy_.ns) * kPpm / f.sample.ns;
  busy_ = {};
  if (load >= f.up) {
    level_ = f.levels.size() - 1;
    return;
  }
  const Wide wanted = load * f.levels[level_].speed;  // of work done in the sample, ppm^2
  level_ = 0;
  while (static_cast<Wide>(f.levels[level_].speed) * f.up <= wanted) ++level_;
}

void DeviceSpeed::pass(Duration to, bool busy) {
  while (at_ < to) {
    const bool cold = !busy && heat_ == 0 && worked_ == 0, slow = !busy && level_ == 0 && busy_ == Duration{};
    const Duration tick = cold ? kForever : next_tick(), sample = slow ? kForever : next_sample();
    const Duration step = std::min({tick, sample, to});
    if (busy) {
      if (tick != kForever) worked_ += static_cast<Wide>(step.ns - at_.ns) * power();
      if (sample != kForever) busy_ += step - at_;
    }
    at_ = step;
    if (at_ == tick) warm();
    if (at_ == sample) govern();
  }
}

}  // namespace tessera
