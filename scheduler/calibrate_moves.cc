// Measures transfers between host memory and a device's own buffers, both ways.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "framework/clock.h"
#include "scheduler/calibrate_probe.h"

namespace tessera::calibration {
namespace {

constexpr int kLeastRounds = 4, kMostRounds = 11, kDriftRounds = 7;
constexpr int kMoves = 8;  // of one transfer, to see what each costs beside its bytes
constexpr int64_t kMovedBytes = 256 << 10;
constexpr int64_t kSizes[] = {2 << 10, 32 << 10, 256 << 10, 2 << 20};  // activations of a few tokens to a layer's weights

class TransferProbe {
 public:
  TransferProbe(const DeviceBinding& mover, const DeviceBinding& owner) : mover_(mover), memory_(owner, true) {}

  Status prepare() {
    const int64_t most = *std::max_element(std::begin(kSizes), std::end(kSizes));
    host_bytes_.assign(static_cast<size_t>(most), std::byte{1});
    host_.host = host_bytes_.data();
    host_.bytes = {most};
    TESSERA_ASSIGN(device_, memory_.zeros(most));
    return {};
  }

  // `bytes` in so many moves, behind each other at both ends.
  Result<double> run(int64_t bytes, bool to_host, int count = 1) {
    std::vector<Move> moves;
    for (int i = 0; i < count; ++i) {
      const MemoryRef here{&host_, bytes / count * i}, there{device_, bytes / count * i};
      moves.push_back({to_host ? here : there, to_host ? there : here, {bytes / count}});
    }
    Task task;
    task.kind = TaskKind::kTransfer;
    task.payload = to_host ? Payload::kHidden : Payload::kWeights;
    task.cost.op = Op::kTransfer;
    task.cost.to_host = to_host;
    task.cost.bytes = bytes;
    task.cost.reads = static_cast<uint8_t>(count);
    Operands o;
    o.moves = moves;
    const Duration start = WallClock::instance().now();
    TESSERA_ASSIGN(const Ticket ticket, mover_.backend->submit(mover_.device, task, o));
    if (ticket != kDone) TESSERA_TRY(mover_.backend->wait(mover_.device, ticket, kForever));
    return (WallClock::instance().now() - start).seconds();
  }

 private:
  const DeviceBinding mover_;
  DeviceMemory memory_;
  std::vector<std::byte> host_bytes_;
  Buffer host_;
  Buffer* device_ = nullptr;
};

struct Direction {
  bool to_host = false;
  std::vector<double> seconds[std::size(kSizes)];
};

// What each move after the first takes beyond its bytes.
Result<Duration> per_move(TransferProbe& probe) {
  std::vector<double> one, many;
  for (int round = 0; round <= kLeastRounds; ++round) {
    TESSERA_ASSIGN(const double together, probe.run(kMovedBytes, false));
    TESSERA_ASSIGN(const double apart, probe.run(kMovedBytes, false, kMoves));
    if (round == 0) continue;
    one.push_back(together);
    many.push_back(apart);
  }
  return from_seconds(std::max(0.0, median(many) - median(one)) / (kMoves - 1));
}

// Where what was measured has no fit, there is none: the backend's own estimate answers.
std::optional<PowerFit> fit_of(const Direction& direction) {
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < std::size(kSizes); ++i)
    for (const double s : direction.seconds[i])
      if (s > 0) points.emplace_back(static_cast<double>(kSizes[i]), s);
  auto fit = fit_power(points);
  return fit.ok() ? std::optional(fit.take()) : std::nullopt;
}

}  // namespace

Result<TransferFigures> measure_transfers(const DeviceBinding& mover, const DeviceBinding& owner, Duration budget) {
  TransferProbe probe(mover, owner);
  TESSERA_TRY(probe.prepare());
  Direction directions[2] = {{false, {}}, {true, {}}};
  const Duration start = WallClock::instance().now();
  for (int round = 0; round <= kMostRounds; ++round) {
    if (round > kLeastRounds && WallClock::instance().now() - start > budget) break;
    for (Direction& direction : directions)
      for (size_t i = 0; i < std::size(kSizes); ++i) {
        TESSERA_ASSIGN(const double seconds, probe.run(kSizes[i], direction.to_host));
        if (round > 0) direction.seconds[i].push_back(seconds);  // the first pays for page faults and set-up
      }
  }
  TransferFigures figures;
  TESSERA_ASSIGN(figures.per_move, per_move(probe));
  for (const Direction& direction : directions) {
    (direction.to_host ? figures.to_host : figures.to_device) = fit_of(direction);
    for (size_t i = 0; i < std::size(kSizes); ++i)
      figures.points.push_back({Op::kTransfer, 0, 1, direction.to_host, kSizes[i], summarise(direction.seconds[i])});
  }
  return figures;
}

Result<double> drift_of_transfers(const DeviceBinding& mover, const DeviceBinding& owner, const TransferFigures& figures) {
  TransferProbe probe(mover, owner);
  TESSERA_TRY(probe.prepare());
  std::vector<double> off;
  for (const MovePoint& point : figures.points) {
    if (point.bytes > kSizes[std::size(kSizes) - 1] || point.taken.estimate.mean <= Duration{}) continue;
    std::vector<double> seconds;
    for (int round = 0; round <= kDriftRounds; ++round) {
      TESSERA_ASSIGN(const double s, probe.run(point.bytes, point.to_host));
      if (round > 0) seconds.push_back(s);
    }
    off.push_back(std::fabs(median(seconds) / point.taken.estimate.mean.seconds() - 1));
  }
  return median(std::move(off));
}

}  // namespace tessera::calibration
