// Carries tasks forward on a simulated machine, from change of speed to change of speed.
#include "framework/simulated_machine.h"

#include <algorithm>

#include "framework/cost_model_learned.h"
#include "framework/device_speed.h"
#include "framework/saturating.h"

namespace tessera {
namespace {

using Wide = __int128;
using Outcome = SimulatedMachine::Outcome;

constexpr int64_t kMostChanges = 2'000'000;
constexpr uint64_t kTaskDraw = 1, kRatioDraw = 2, kSetupDraw = 3, kRequestDraw = 4;
// One task in so many has luck of its own, the others have their request's: what slows a request down slows all of it.
constexpr uint64_t kOwnLuck = 8;

int64_t share_of(int64_t value, int64_t ppm) { return static_cast<int64_t>(static_cast<Wide>(value) * ppm / kPpm); }

bool is_layer(Op op) { return op == Op::kLayer || op == Op::kAttentionPart || op == Op::kFfnPart; }

// The slices of a layer whose weights are decoded while it computes, of all; of a load, that come coded.
struct Coding {
  int64_t coded = 0, slices = 1;
};
Coding coding_of(const Task& task) {
  const CostKey& key = task.cost;
  if (key.op == Op::kLoadShards) return {task.bits != 0 && task.bits != kExact ? 1 : 0, 1};
  if (!is_layer(key.op) || key.slices == 0 || key.decoded) return {};
  Coding out{0, key.slices};
  for (int level = 1; level < kBitsLevels; ++level)
    if (level_bits(level) != kExact) out.coded += key.bits[level];
  out.coded = std::min(out.coded, out.slices);
  return out;
}

// What a lane is doing.
struct Lane {
  bool running = false;
  bool begun = false;  // has run a task in this run; a device that computes: a layer
  Outcome outcome = Outcome::kRunning;
  Wide left = 0;      // ns x ppm
  int64_t speed = 1;  // ppm
  Duration limit;     // since the machine began
  Coding coding;
};

// A bandwidth's users at one instant.
int64_t fair_share(const std::vector<int64_t>& sorted_demands, int64_t bandwidth) {
  auto users = static_cast<int64_t>(sorted_demands.size());
  for (const int64_t demand : sorted_demands) {
    const int64_t fair = bandwidth / users;
    if (demand > fair) return fair;  // all that are left ask for as much or more: each gets the same
    bandwidth -= demand;
    --users;
  }
  return INT64_MAX;  // there is enough for all
}

// Whether the background reads, and until when.
struct Reading {
  bool now = true;
  Duration until = kForever;
};
Reading reading(const SharedBandwidth::Background& b, Duration at) {
  if (b.period == Duration{} || b.busy == b.period) return {};
  if (b.busy == Duration{}) return {false, kForever};
  const auto place = static_cast<int64_t>((static_cast<Wide>(at.ns) + b.phase.ns) % b.period.ns);
  if (place < b.busy.ns) return {true, saturating_add(at, {b.busy.ns - place})};
  return {false, saturating_add(at, {b.period.ns - place})};
}

}  // namespace

class SimulatedMachine::State {
 public:
  State(Dynamics description, int devices) : dynamics(std::move(description)), lanes_(devices) {
    dynamics.devices.resize(static_cast<size_t>(devices));
    restart(dynamics.seed);
  }

  void restart(uint64_t seed) {
    dynamics.seed = seed;
    now_ = origin_ = {};
    speeds_.clear();
    for (size_t d = 0; d < lanes_.size(); ++d) {
      speeds_.emplace_back(dynamics.devices[d], static_cast<DeviceId>(d), seed);
      lanes_[d] = {};
    }
  }

  void begin(const RunMoment& moment) {
    if (moment.starts_at < now_) restart(dynamics.seed);
    moment_ = moment;
    origin_ = now_ = moment.starts_at;
    changes_ = 0;
    for (Lane& lane : lanes_) lane = {};
    const Quantiles& ratio = (moment.first ? dynamics.first : dynamics.later).ratio;
    luck_ = hash_draw({dynamics.seed, kRequestDraw, moment.request});
    ratio_ = ratio.draw(hash_draw({dynamics.seed, kRatioDraw, moment.request}), kPpm);
  }

  Status start(const Task& task, Duration nominal, Duration limit) {
    const DeviceId device = task.cost.device;
    DeviceSpeed& speed = speeds_[device];
    speed.pass(now_, false);
    if (speed.lost()) return lost(device);
    Lane& lane = lanes_[device];
    lane.running = true;
    lane.begun = lane.begun || task.kind != TaskKind::kCompute || is_layer(task.cost.op);
    lane.outcome = Outcome::kRunning;
    const Quantiles& jitter = jitter_of(dynamics.devices[device], task.cost);
    const uint64_t own = hash_draw({dynamics.seed, kTaskDraw, moment_.request, moment_.attempt, task.id});
    const uint64_t luck = own % kOwnLuck == 0 ? hash_draw({own}) : luck_;
    lane.left = static_cast<Wide>(std::max<int64_t>(nominal.ns, 0)) * jitter.draw(luck, kPpm) * ratio_ / kPpm;
    lane.limit = saturating_add(origin_, limit);
    lane.coding = coding_of(task);
    stale_ = true;
    return {};
  }

  Duration advance(Duration until) {
    const Duration last = saturating_add(origin_, until);
    for (;;) {
      if (stale_) set_speeds();
      pass(std::min(next_event(), std::max(last, now_)));
      if (judge() || now_ >= last) return now_ - origin_;
      stale_ = true;
      ++changes_;
    }
  }

  Outcome collect(DeviceId device) {
    const Outcome outcome = lanes_[device].outcome;
    if (outcome == Outcome::kRunning) return outcome;
    Lane idle;
    idle.begun = lanes_[device].begun;
    lanes_[device] = idle;
    stale_ = true;
    return outcome;
  }

  Duration setup(uint64_t request, bool first) const {
    const Quantiles& setup = (first ? dynamics.first : dynamics.later).setup;
    return {setup.draw(hash_draw({dynamics.seed, kSetupDraw, request}), 0)};
  }

  DeviceState state(DeviceId device) const {
    DeviceSpeed speed = speeds_[device];
    speed.pass(now_, false);
    return {share_of(share_of(speed.swing(), speed.frequency()), speed.throttled_to()), speed.heat(), speed.throttled(),
            speed.lost()};
  }

  Duration now() const { return now_; }
  Error lost(DeviceId device) const {
    return {ErrorCode::kDevice,
            "the simulated device was lost " + to_string(dynamics.devices[device].lost_at) + " after the machine began"};
  }

  Dynamics dynamics;

 private:
  static const Quantiles& jitter_of(const DeviceDynamics& device, const CostKey& key) {
    if (!device.jitter_by_kind.empty())
      if (const auto known = device.jitter_by_kind.find(LearnedRatios::kind_of(key)); known != device.jitter_by_kind.end())
        return known->second;
    return device.jitter[static_cast<size_t>(key.op)];
  }
  bool running(DeviceId device) const { return lanes_[device].running; }

  // What a member would use of a shared bandwidth if it were alone on it.
  int64_t demand_of(const SharedBandwidth::Member& member) const {
    return std::max<int64_t>(1, share_of(member.demand, speeds_[member.device].swing()));
  }

  void set_speeds() {
    stale_ = false;
    for (size_t d = 0; d < lanes_.size(); ++d)
      if (lanes_[d].running) lanes_[d].speed = speeds_[d].swing();
    for (const SharedBandwidth& shared : dynamics.shared) divide(shared);
    for (size_t d = 0; d < lanes_.size(); ++d)
      if (lanes_[d].running)
        lanes_[d].speed = share_of(share_of(lanes_[d].speed, speeds_[d].frequency()), speeds_[d].throttled_to());
    for (const ContentionFactor& c : dynamics.contention) {
      if (!running(c.slowed) || !(running(c.beside) || (c.lasting && lanes_[c.beside].begun))) continue;
      Lane& lane = lanes_[c.slowed];
      const int64_t factor = c.plain + (c.coded - c.plain) * lane.coding.coded / lane.coding.slices;
      lane.speed = static_cast<int64_t>(static_cast<Wide>(lane.speed) * kPpm / factor);
    }
    for (Lane& lane : lanes_) lane.speed = std::max<int64_t>(lane.speed, 1);
  }

  void divide(const SharedBandwidth& shared) {
    demands_.clear();
    for (const auto& member : shared.members)
      if (running(member.device)) demands_.push_back(demand_of(member));
    if (demands_.empty()) return;
    for (const auto& b : shared.background)
      if (b.demand > 0 && reading(b, now_).now) demands_.push_back(b.demand);
    std::sort(demands_.begin(), demands_.end());
    const int64_t fair = fair_share(demands_, shared.bandwidth);
    for (const auto& member : shared.members) {
      if (!running(member.device)) continue;
      const int64_t demand = demand_of(member);
      if (demand > fair)
        lanes_[member.device].speed = static_cast<int64_t>(static_cast<Wide>(lanes_[member.device].speed) * fair / demand);
    }
  }

  Duration next_event() const {
    Duration next = kForever;
    for (size_t d = 0; d < lanes_.size(); ++d) {
      const Lane& lane = lanes_[d];
      if (!lane.running) continue;
      const Wide needs = (lane.left + lane.speed - 1) / lane.speed;
      const Duration end = needs > INT64_MAX ? kForever : saturating_add(now_, {static_cast<int64_t>(needs)});
      next = std::min({next, end, std::max(lane.limit, now_), std::max(speeds_[d].next_change(), now_)});
    }
    for (const SharedBandwidth& shared : dynamics.shared)
      for (const auto& b : shared.background)
        if (b.demand > 0) next = std::min(next, reading(b, now_).until);
    return next;
  }

  void pass(Duration next) {
    for (size_t d = 0; d < lanes_.size(); ++d) {
      Lane& lane = lanes_[d];
      if (!lane.running) continue;
      lane.left = std::max<Wide>(0, lane.left - static_cast<Wide>(next.ns - now_.ns) * lane.speed);
      speeds_[d].pass(next, true);
    }
    now_ = next;
  }

  // Whether anything ended at this instant.
  bool judge() {
    bool any = false;
    for (size_t d = 0; d < lanes_.size(); ++d) {
      Lane& lane = lanes_[d];
      if (!lane.running) continue;
      if (lane.left == 0)
        lane.outcome = Outcome::kEnded;
      else if (speeds_[d].lost())
        lane.outcome = Outcome::kLost;
      else if (now_ >= lane.limit)
        lane.outcome = Outcome::kOverdue;
      else if (changes_ >= kMostChanges || now_ == kForever)
        lane.outcome = Outcome::kEndless;
      any = any || lane.outcome != Outcome::kRunning;
    }
    return any;
  }

  std::vector<Lane> lanes_;          // by device
  std::vector<DeviceSpeed> speeds_;  // by device
  std::vector<int64_t> demands_;     // of one shared bandwidth, ascending
  RunMoment moment_;
  Duration now_, origin_;  // since the machine began; of the run
  int64_t ratio_ = kPpm;   // of the request
  uint64_t luck_ = 0;      // of the request's tasks
  int64_t changes_ = 0;    // of speeds, in this run
  bool stale_ = true;      // speeds
};

SimulatedMachine::SimulatedMachine(Dynamics dynamics, int devices)
    : state_(std::make_unique<State>(std::move(dynamics), devices)) {}
SimulatedMachine::~SimulatedMachine() = default;
const Dynamics& SimulatedMachine::dynamics() const { return state_->dynamics; }
void SimulatedMachine::restart(uint64_t seed) { state_->restart(seed); }
Duration SimulatedMachine::now() const { return state_->now(); }
Duration SimulatedMachine::setup(uint64_t request, bool first) const { return state_->setup(request, first); }
SimulatedMachine::DeviceState SimulatedMachine::state(DeviceId device) const { return state_->state(device); }
void SimulatedMachine::begin(const RunMoment& moment) { state_->begin(moment); }
Status SimulatedMachine::start(const Task& task, Duration nominal, Duration limit) {
  return state_->start(task, nominal, limit);
}
Duration SimulatedMachine::advance(Duration until) { return state_->advance(until); }
Outcome SimulatedMachine::collect(DeviceId device) { return state_->collect(device); }
Error SimulatedMachine::why(DeviceId device, Outcome outcome) const {
  if (outcome == Outcome::kLost) return state_->lost(device);
  return {ErrorCode::kDevice, "speeds changed " + std::to_string(kMostChanges) +
                                  " times in one run and it did not end; describe slower changes, or faster devices"};
}

}  // namespace tessera
