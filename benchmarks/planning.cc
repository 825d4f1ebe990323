// Measures what planning costs: time and memory of each policy by size of the model, and planned requests a second.
//
// Views: layers x slices of BERT-base's slices (64 + 256 wide), 6x12, 12x12, 24x32 and 48x64, on the roofline board of
// configs/platforms/small-board.toml with 64 GiB of memory, every depth and width from a quarter up, losses drawn by seed 1;
// latencies of 0.3, 0.6, 0.9 and 1.5 times what the whole model computes. Each plan is replayed and checked as the scheduler
// does. A round decides at each latency; the median round counts (the board is shared: least and median are shown). Memory:
// most that was allocated at once during a decision, by malloc's own count.
// Requests: sessions in virtual time on BERT-base 12x12, planned, replayed, checked and run; each has a latency of its own,
// so that no plan is reused.
// Several devices: BERT-base 12x12 on configs/platforms/trio-board.toml, all three; twelve latencies times nine memories,
// two seeds of losses, in time as the least of the rounds (at most 3). Sum of the losses of what was planned, in nats.
// Usage: bench_planning [ROUNDS [POLICY...]]. Ends with 1 where a plan is illegal or a decision fails.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <string>
#include <string_view>

#include "configs/loader.h"
#include "framework/registry.h"
#include "scheduler/plan_check.h"
#include "scheduler/plan_replay.h"
#include "scheduler/session.h"

namespace {

// Bytes asked of operator new and not given back; one thread counts.
int64_t allocated = 0, most_allocated = 0;

}  // namespace

void* operator new(size_t bytes) {
  void* memory = std::malloc(bytes + alignof(std::max_align_t));
  if (memory == nullptr) std::abort();
  *static_cast<size_t*>(memory) = bytes;
  allocated += static_cast<int64_t>(bytes);
  most_allocated = std::max(most_allocated, allocated);
  return static_cast<char*>(memory) + alignof(std::max_align_t);
}

void operator delete(void* memory) noexcept {
  if (memory == nullptr) return;
  void* start = static_cast<char*>(memory) - alignof(std::max_align_t);
  allocated -= static_cast<int64_t>(*static_cast<size_t*>(start));
  std::free(start);
}

void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace tessera {
void register_policies();

namespace {

constexpr int64_t kMemory = int64_t{64} << 30;
constexpr int kTokens = 128;

double microseconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

ModelShape shape_of(int layers, int slices) {
  ModelShape shape = load_shape(TESSERA_CONFIGS "/models/bert-base.toml").take();
  shape.name = std::to_string(layers) + "x" + std::to_string(slices);
  shape.layers = layers;
  shape.slices = shape.heads = slices;
  shape.hidden = 64 * slices;
  shape.ffn = 256 * slices;
  shape.depths.clear();
  shape.widths.clear();
  for (int n = layers / 4; n <= layers; ++n) shape.depths.push_back(n);
  for (int m = slices / 4; m <= slices; ++m) shape.widths.push_back(m);
  shape.exit_bytes.assign(static_cast<size_t>(layers), Bytes{0});
  shape.shard_bytes.assign(static_cast<size_t>(layers) * slices * kBitsLevels, Bytes{0});
  for (size_t i = 0; i < shape.shard_bytes.size(); ++i) {
    const int level = static_cast<int>(i % kBitsLevels);
    if (level == 0 || !shape.has_bits(level_bits(level))) continue;
    shape.shard_bytes[i] = {shape.shard_weights() * (level_bits(level) == kExact ? 32 : level) / 8};
  }
  return shape;
}

// A model on the board, and how long its layers compute.
struct Grid {
  Grid(int layers, int slices) : Grid(shape_of(layers, slices), "small-board", 1) {
    machine.platform.memories[0].capacity = Bytes{kMemory};
    CostKey key;
    key.device = 1;
    key.tokens = kTokens;
    key.slices = static_cast<uint8_t>(slices);
    key.bits[bits_level(kExact)] = key.slices;
    whole = machine.costs->estimate(key).mean * layers;
  }
  Grid(const ModelShape& of, const std::string& board, uint64_t seed)
      : shape(of),
        accuracy(random_importance(shape, seed)),
        machine(load_platform(TESSERA_CONFIGS "/platforms/" + board + ".toml", shape).take()) {}
  ModelShape shape;
  AccuracyModel accuracy;
  Machine machine;
  Duration whole;
};

// The one policy that chooses nothing is given half the model at 4 bits.
template <typename Request>
void give_by_hand(std::string_view policy, const ModelShape& shape, Request& request) {
  if (policy != "fixed") return;
  request.depth = shape.layers / 2;
  request.width = shape.slices / 2;
  request.bits = Bits{4};
}

// One decision: its time, the memory that it took, and what its plan, if it stands, loses.
struct Decided {
  double us = 0;
  int64_t bytes = 0;
  std::optional<Micro> loss;
};

Result<Decided> decide_once(Policy& policy, const Grid& grid, const std::vector<DeviceId>& devices, Budgets budgets) {
  const Residency none;
  const GraphReplay replay(
      {grid.shape, grid.accuracy, grid.machine.platform, *grid.machine.costs, none, 0, kTokens, budgets.memory, Bytes{0}});
  PlanningView view{grid.shape,
                    grid.accuracy,
                    grid.machine.platform,
                    *grid.machine.costs,
                    replay,
                    none,
                    budgets,
                    devices,
                    0,
                    kTokens,
                    1,
                    false,
                    {},
                    {},
                    {},
                    0.95,
                    {}};
  give_by_hand(policy.name(), grid.shape, view);
  Decided out;
  std::optional<Result<Decision>> decision;
  const int64_t before = most_allocated = allocated;
  out.us = microseconds([&] { decision.emplace(policy.decide(view)); });
  out.bytes = most_allocated - before;
  if (!decision->ok()) return decision->error();
  const Plan* plan = std::get_if<Plan>(&**decision);
  if (plan == nullptr) return out;
  out.loss = grid.accuracy.loss(plan->depth, plan->bits);
  TESSERA_ASSIGN(const ReplayedPlan replayed, replay.replay_fully(*plan));
  TESSERA_TRY(check_plan(view, policy.name(), *plan, replayed, {}));
  return out;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Mean over the latencies at which it found a plan; nothing found: nothing printed.
Status measure(const std::string& name, const Grid& grid, int rounds) {
  const auto policy = policies().find(name)->make();
  std::vector<double> means;
  int64_t bytes = 0;
  int plans = 0;
  for (int round = 0; round < rounds; ++round) {
    double sum = 0;
    plans = 0;
    for (const double share : {0.3, 0.6, 0.9, 1.5}) {
      const Duration latency{static_cast<int64_t>(static_cast<double>(grid.whole.ns) * share)};
      TESSERA_ASSIGN(const Decided decided, decide_once(*policy, grid, {1}, {latency, Bytes{kMemory}}));
      if (!decided.loss) continue;
      ++plans;
      sum += decided.us;
      bytes = std::max(bytes, decided.bytes);
    }
    if (plans == 0) return {};
    means.push_back(sum / plans);
    if (sum > 20e6) break;  // one round of the slow ones is enough
  }
  const double us = median(means), least = *std::min_element(means.begin(), means.end());
  const int shards = grid.shape.layers * grid.shape.slices;
  std::printf("%-16s %6s %6d %11.0f %11.0f %9.0f %11.1f %9.0f %5d of 4\n", name.c_str(), grid.shape.name.c_str(), shards, us,
              least, 1e3 * least / shards, 1e6 / least, static_cast<double>(bytes) / 1024, plans);
  return {};
}

// Requests planned and run in virtual time, a second.
Result<double> requests(const std::string& name, int count) {
  Grid grid(12, 12);
  grid.shape = load_shape(TESSERA_CONFIGS "/models/bert-base.toml").take();
  TESSERA_ASSIGN(const std::unique_ptr<Session> session,
                 Session::open(grid.shape, nullptr, grid.accuracy, grid.machine, Bytes{0}));
  RequestOptions options;
  options.policy = name;
  options.budgets.memory = Bytes{kMemory};
  give_by_hand(name, grid.shape, options);
  const std::vector<int32_t> ids(kTokens, 1);
  Status status;
  const double us = microseconds([&] {
    for (int i = 0; i < count && status.ok(); ++i) {
      const double share = 0.3 + 1.2 * i / count;
      options.budgets.latency = Duration{static_cast<int64_t>(static_cast<double>(grid.whole.ns) * share) + i};
      const Result<Answer> answer = session->run(options, ids, ids);
      if (!answer.ok()) status = answer.error();
    }
  });
  TESSERA_TRY(status);
  return 1e6 * count / us;
}

// All of a machine's devices that compute.
std::vector<DeviceId> computing(const Platform& platform) {
  std::vector<DeviceId> out;
  for (size_t d = 0; d < platform.devices.size(); ++d)
    if (const DeviceKind kind = platform.devices[d].kind; kind != DeviceKind::kStorage && kind != DeviceKind::kLink)
      out.push_back(static_cast<DeviceId>(d));
  return out;
}

Status measure_several(const std::string& name, int rounds) {
  const auto policy = policies().find(name)->make();
  std::vector<double> times;
  Micro losses;
  for (const uint64_t seed : {1, 2}) {
    const Grid grid(load_shape(TESSERA_CONFIGS "/models/bert-base.toml").take(), "trio-board", seed);
    for (const int64_t mib : {8, 12, 16, 24, 32, 48, 64, 128, 65536})
      for (const int ms : {60, 80, 100, 130, 160, 200, 250, 300, 400, 600, 1000, 2000}) {
        double least = 0;
        for (int round = 0; round < std::min(rounds, 3); ++round) {
          TESSERA_ASSIGN(const Decided decided,
                         decide_once(*policy, grid, computing(grid.machine.platform), {milliseconds(ms), Bytes{mib << 20}}));
          if (round == 0) losses.n += decided.loss.value_or(Micro{}).n;
          least = round == 0 ? decided.us : std::min(least, decided.us);
        }
        times.push_back(least);
      }
  }
  double sum = 0;
  for (const double us : times) sum += us;
  std::printf("%-16s %8.0f %8.0f %8.0f %11.3f\n", name.c_str(), sum / static_cast<double>(times.size()), median(times),
              *std::max_element(times.begin(), times.end()), static_cast<double>(losses.n) / 1e6);
  return {};
}

bool failed(const std::string& name, const std::string& why) {
  std::printf("%s: FAILED: %s\n", name.c_str(), why.c_str());
  return true;
}

int run(int rounds, const std::vector<std::string>& names) {
  constexpr int kSizes[][2] = {{6, 12}, {12, 12}, {24, 32}, {48, 64}};
  bool bad = false;
  std::printf("%-16s %6s %6s %11s %11s %9s %11s %9s %10s\n", "policy", "model", "shards", "us, median", "us, least",
              "ns/shard", "plans/s", "KiB", "plans");
  for (const std::string& name : names)
    for (const auto& [layers, slices] : kSizes)
      if (const Status status = measure(name, Grid(layers, slices), rounds); !status.ok())
        bad = failed(name, status.error().message);
  std::printf("\nBERT-base 12x12, planned and run in virtual time, each with a latency of its own:\n");
  for (const std::string& name : names) {
    double best = 0;
    for (int round = 0; round < std::min(rounds, 3); ++round) {
      const Result<double> rate = requests(name, name == "optimal" ? 4 : 400);
      if (!rate.ok()) bad = failed(name, rate.error().message);
      if (rate.ok()) best = std::max(best, *rate);
    }
    std::printf("%-16s %8.0f requests/s\n", name.c_str(), best);
  }
  std::printf("\nBERT-base 12x12 on trio-board's three devices, 216 budgets:\n");
  std::printf("%-16s %8s %8s %8s %11s\n", "policy", "us, mean", "median", "most", "nats, sum");
  for (const std::string& name : names)
    if (const Status status = measure_several(name, name == "optimal" ? 1 : rounds); !status.ok())
      bad = failed(name, status.error().message);
  return bad ? 1 : 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::register_policies();
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 11;
  std::vector<std::string> names;
  for (int i = 2; i < argc; ++i) {
    if (tessera::policies().find(argv[i]) == nullptr) {
      std::printf("no policy %s\n", argv[i]);
      return 2;
    }
    names.emplace_back(argv[i]);
  }
  if (names.empty())
    for (const auto& entry : tessera::policies().entries()) names.push_back(entry.name);
  return tessera::run(rounds, names);
}
