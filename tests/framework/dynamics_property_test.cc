// Tests simulated machines against one that is stepped nanosecond by nanosecond, written anew from docs/simulator.md.
#include <algorithm>
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "framework/executor.h"
#include "tests/framework/graphs.h"

namespace tessera {
namespace {

using Wide = __int128;

int64_t part(Wide value, int64_t ppm) { return static_cast<int64_t>(value * ppm / kPpm); }

// A device's heat and frequency, counted nanosecond by nanosecond.
struct SlowDevice {
  int64_t heat = 0, heat_work = 0, busy = 0;
  bool throttled = false;
  size_t level = 0;
};

// Lanes run their tasks in id order once their predecessors have ended; memory is not counted.
class FineSteps {
 public:
  FineSteps(const TaskGraph& graph, const Dynamics& dynamics)
      : graph_(graph), dynamics_(dynamics), devices_(graph.device_count()), end_(graph.size(), -1) {}

  std::vector<int64_t> ends() {
    size_t open = graph_.size();
    for (t_ = 0; open > 0; ++t_) {
      while (start_all() || end_all(open)) {}
      work();
      if (t_ > 5'000'000) return {};
    }
    return end_;
  }

 private:
  struct Lane {
    size_t next = 0;
    bool running = false, begun = false;
    Wide left = 0;
  };
  const Task& head(size_t d) const { return graph_.task(graph_.lane(static_cast<DeviceId>(d))[lanes_[d].next]); }

  bool start_all() {
    bool any = false;
    for (size_t d = 0; d < devices_.size(); ++d) {
      if (lanes_[d].running || lanes_[d].next == graph_.lane(static_cast<DeviceId>(d)).size()) continue;
      bool ready = true;
      for (TaskId before = 0; before < graph_.size(); ++before) {
        const auto after = graph_.successors(before);
        if (end_[before] < 0 && std::find(after.begin(), after.end(), head(d).id) != after.end()) ready = false;
      }
      if (!ready) continue;
      lanes_[d].running = lanes_[d].begun = any = true;
      lanes_[d].left = static_cast<Wide>(head(d).planned.ns) * kPpm;
    }
    return any;
  }

  bool end_all(size_t& open) {
    bool any = false;
    for (size_t d = 0; d < devices_.size(); ++d) {
      if (!lanes_[d].running || lanes_[d].left > 0) continue;
      end_[head(d).id] = t_;
      lanes_[d].running = false;
      ++lanes_[d].next;
      --open;
      any = true;
    }
    return any;
  }

  int64_t swing(size_t d) const {
    const Swing& s = dynamics_.devices[d].swing;
    const int64_t place = t_ + s.phase.ns;
    if (s.shape == Swing::Shape::kSquare) return place * 2 / s.period.ns % 2 == 0 ? kPpm + s.amplitude : kPpm - s.amplitude;
    if (s.shape == Swing::Shape::kSine) {
      const int64_t step = place * 32 / s.period.ns % 32;
      const double sine = std::sin(2 * 3.14159265358979323846 * (static_cast<double>(step) + 0.5) / 32);
      return kPpm + s.amplitude * static_cast<int64_t>(std::llround(sine * 1e6)) / kPpm;
    }
    if (s.shape == Swing::Shape::kNone) return kPpm;
    std::vector<int64_t>& walk = walks_[d];
    while (static_cast<int64_t>(walk.size()) <= place * 16 / s.period.ns) {
      const int64_t bound = walk.empty() ? s.amplitude : s.amplitude / 4;
      const uint64_t random = hash_draw({dynamics_.seed, 0x7377696e67, d, walk.empty() ? 0u : 1u, walk.size()});
      int64_t value = walk.empty() ? 0 : walk.back();
      value += static_cast<int64_t>((static_cast<Wide>(random) * (2 * static_cast<Wide>(bound) + 1)) >> 64) - bound;
      if (value > s.amplitude) value = 2 * s.amplitude - value;
      if (value < -s.amplitude) value = -2 * s.amplitude - value;
      walk.push_back(value);
    }
    return kPpm + walk[static_cast<size_t>(place * 16 / s.period.ns)];
  }

  // What a member of a shared bandwidth gets, by giving everyone the same until the least is content, again and again.
  int64_t given(const SharedBandwidth& shared, size_t device) const {
    std::vector<std::pair<int64_t, int>> asks;
    for (const auto& m : shared.members)
      if (lanes_[m.device].running) asks.push_back({std::max<int64_t>(1, part(m.demand, swing(m.device))), m.device});
    for (const auto& b : shared.background)
      if (b.period.ns == 0 || (t_ + b.phase.ns) % b.period.ns < b.busy.ns) asks.push_back({b.demand, -1});
    int64_t left = shared.bandwidth;
    while (!asks.empty()) {
      const auto least = std::min_element(asks.begin(), asks.end());
      const int64_t fair = left / static_cast<int64_t>(asks.size());
      if (least->first > fair) return fair;
      if (least->second == static_cast<int>(device)) return least->first;
      left -= least->first;
      asks.erase(least);
    }
    return 0;
  }

  int64_t speed(size_t d) const {
    int64_t speed = swing(d);
    for (const SharedBandwidth& shared : dynamics_.shared)
      for (const auto& m : shared.members) {
        if (m.device != d) continue;
        const int64_t ask = std::max<int64_t>(1, part(m.demand, swing(d)));
        speed = static_cast<int64_t>(static_cast<Wide>(speed) * std::min(ask, given(shared, d)) / ask);
      }
    const DeviceDynamics& description = dynamics_.devices[d];
    if (!description.frequency.levels.empty()) speed = part(speed, description.frequency.levels[devices_[d].level].speed);
    if (devices_[d].throttled) speed = part(speed, description.thermal.slowed);
    for (const ContentionFactor& c : dynamics_.contention)
      if (c.slowed == d && (lanes_[c.beside].running || (c.lasting && lanes_[c.beside].begun)))
        speed = static_cast<int64_t>(static_cast<Wide>(speed) * kPpm / c.plain);
    return std::max<int64_t>(speed, 1);
  }

  void work() {
    std::vector<int64_t> speeds(devices_.size());
    for (size_t d = 0; d < devices_.size(); ++d) speeds[d] = lanes_[d].running ? speed(d) : 0;
    for (size_t d = 0; d < devices_.size(); ++d) {
      lanes_[d].left -= speeds[d];
      weather(d, lanes_[d].running);
    }
  }

  // The nanosecond from t to t + 1 passes on a device.
  void weather(size_t d, bool runs) {
    const DeviceDynamics& description = dynamics_.devices[d];
    SlowDevice& s = devices_[d];
    const Thermal& heat = description.thermal;
    const auto& levels = description.frequency.levels;
    if (heat.rise > 0) {
      const int64_t power = levels.empty() ? kPpm : levels[s.level].power;
      if (runs) s.heat_work += s.throttled ? part(power, heat.slowed) : power;
      const int64_t tick = heat.time_constant.ns / 256;
      if ((t_ + 1) % tick == 0) {
        const auto target = static_cast<int64_t>(static_cast<Wide>(s.heat_work) * heat.rise / kPpm / tick);
        const double gap = static_cast<double>(target - s.heat) / 256;
        s.heat += static_cast<int64_t>(gap < 0 ? std::floor(gap) : std::ceil(gap));
        s.heat_work = 0;
        if (s.heat >= heat.throttle_at)
          s.throttled = true;
        else if (s.heat <= heat.resume_at)
          s.throttled = false;
      }
    }
    if (levels.empty()) return;
    if (runs) ++s.busy;
    if ((t_ + 1) % description.frequency.sample.ns != 0) return;
    const int64_t load = s.busy * kPpm / description.frequency.sample.ns;
    const int64_t wanted = load * levels[s.level].speed;
    s.busy = 0;
    s.level = 0;
    while (s.level + 1 < levels.size() &&
           (load >= description.frequency.up || levels[s.level].speed * description.frequency.up <= wanted))
      ++s.level;
  }

  const TaskGraph& graph_;
  const Dynamics& dynamics_;
  std::vector<SlowDevice> devices_;
  std::vector<Lane> lanes_ = std::vector<Lane>(devices_.size());
  mutable std::vector<std::vector<int64_t>> walks_ = std::vector<std::vector<int64_t>>(devices_.size());  // by step
  std::vector<int64_t> end_;
  int64_t t_ = 0;
};

// Something of everything, on a scale of microseconds.
Dynamics random_dynamics(std::mt19937_64& random, size_t devices) {
  const auto below = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
  Dynamics d;
  d.seed = random();
  d.devices.resize(devices);
  for (DeviceDynamics& device : d.devices) {
    if (below(2) == 0)
      device.swing = {static_cast<Swing::Shape>(1 + below(3)), below(900'000), {10'000 + below(5000)}, {below(9000)}};
    if (below(2) == 0) {
      const int64_t at = 1 + below(300'000);
      device.thermal = {1'000'000, {10'000 + below(5000)}, at, below(static_cast<uint64_t>(at)), 300'000 + below(600'000),
                        0};
    }
    if (below(2) == 0)
      device.frequency = {{{200'000 + below(1000), 100'000}, {600'000 + below(1000), 400'000}, {1'000'000, 1'100'000}},
                          {1000 + below(4000)},
                          300'000 + below(700'000)};
  }
  for (int64_t buses = below(3); buses > 0; --buses) {
    SharedBandwidth bus{"bus", 1000 + below(1'000'000), {}, {}};
    for (size_t m = 0; m < devices; ++m)
      if (below(2) == 0) bus.members.push_back({static_cast<DeviceId>(m), 1000 + below(1'000'000)});
    if (below(2) == 0)
      bus.background.push_back({1 + below(900'000), {10'000 + below(9000)}, {below(10'000)}, {below(99'999)}});
    if (below(3) == 0) bus.background.push_back({1 + below(400'000), {}, {}, {}});
    d.shared.push_back(bus);
  }
  for (int64_t pairs = devices > 1 ? below(4) : 0; pairs > 0; --pairs) {
    const auto slowed = static_cast<DeviceId>(below(devices));
    const auto beside = static_cast<DeviceId>((slowed + 1 + below(devices - 1)) % devices);
    const int64_t factor = 800'000 + below(2'000'000);
    d.contention.push_back({slowed, beside, factor, factor, below(2) == 0});
  }
  return d;
}

TEST(SimulatedMachineProperty, EqualsOneThatIsSteppedByNanoseconds) {
  int64_t slowed = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    const size_t devices = 1 + random() % 4;
    TaskGraphBuilder builder;
    const TaskId size = 2 + static_cast<TaskId>(random() % 10);
    for (TaskId id = 0; id < size; ++id) {
      const int64_t ns = random() % 5 == 0 ? 0 : static_cast<int64_t>(random() % 6000);
      builder.add(make_task(static_cast<int>(random() % devices), ns));
      if (id > 0 && random() % 3 == 0) builder.depend(id, static_cast<TaskId>(random() % id));
    }
    const TaskGraph graph = builder.build().take();
    const Dynamics dynamics = random_dynamics(random, static_cast<size_t>(graph.device_count()));
    ASSERT_TRUE(check_dynamics(dynamics, graph.device_count()).ok())
        << check_dynamics(dynamics, graph.device_count()).error().message;
    SimulatedMachine machine(dynamics, graph.device_count());
    const RunReport report = make_virtual_executor(nullptr, &machine)->run(graph, nullptr, {});
    std::vector<int64_t> ends;
    for (const TaskTiming& t : report.tasks) ends.push_back(t.end.ns);
    ASSERT_EQ(ends, FineSteps(graph, dynamics).ends()) << "seed " << seed;
    slowed += report.makespan.ns;
  }
  EXPECT_GT(slowed, 60 * 5000);
}

// Whoever is numbered first: the same devices under other ids are as fast.
TEST(SimulatedMachineProperty, TiesHaveNoOrder) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 random(seed);
    Dynamics there = random_dynamics(random, 2);
    for (DeviceDynamics& device : there.devices)
      if (device.swing.shape == Swing::Shape::kWalk) device.swing.shape = Swing::Shape::kSine;  // drawn by device
    Dynamics back = there;
    std::swap(back.devices[0], back.devices[1]);
    for (SharedBandwidth& bus : back.shared) {
      for (auto& member : bus.members) member.device = static_cast<DeviceId>(1 - member.device);
      std::reverse(bus.members.begin(), bus.members.end());
    }
    for (ContentionFactor& c : back.contention) std::swap(c.slowed, c.beside);
    const TaskGraph graph = make_graph({{0, 900}, {1, 900}, {0, 900, {1}}, {1, 900, {0}}, {0, 1800}, {1, 900}, {1, 900}});
    const TaskGraph mirrored = make_graph({{1, 900}, {0, 900}, {1, 900, {1}}, {0, 900, {0}}, {1, 1800}, {0, 900}, {0, 900}});
    SimulatedMachine one(there, 2), other(back, 2);
    const RunReport a = make_virtual_executor(nullptr, &one)->run(graph, nullptr, {});
    const RunReport b = make_virtual_executor(nullptr, &other)->run(mirrored, nullptr, {});
    for (TaskId id = 0; id < graph.size(); ++id)
      ASSERT_EQ(a.tasks[id].end, b.tasks[id].end) << "seed " << seed << " task " << id;
  }
}

}  // namespace
}  // namespace tessera
