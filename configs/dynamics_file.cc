// Reads [dynamics]: by device swing, heat, frequency, jitter and loss; shared bandwidths, contention, jitter of requests.
#include "configs/dynamics_file.h"

#include <algorithm>
#include <cmath>

#include "framework/registry.h"

namespace tessera::configs {
namespace {

constexpr size_t kMostEntries = 64, kMostQuantiles = 1000;

// A quantity in quotes; `fallback` where the key is absent.
template <typename T>
Result<T> quantity(TomlTable& file, std::string_view key, T fallback, Result<T> (*parse)(std::string_view)) {
  if (!file.has(key)) return fallback;
  const auto text = file.text(key);
  if (!text.ok()) return file.error(key, std::string(key) + " must be a quantity in quotes, with its unit");
  auto value = parse(*text);
  if (!value.ok()) return file.error(key, std::string(key) + ": " + value.error().message);
  return value;
}

// The same, but it must be there.
template <typename T>
Result<T> needed(TomlTable& file, std::string_view key, Result<T> (*parse)(std::string_view), const char* example) {
  TESSERA_TRY(file.need(key, example));
  return quantity(file, key, T{}, parse);
}

template <typename T>
Result<std::vector<T>> quantities(TomlTable& file, std::string_view key, Result<T> (*parse)(std::string_view)) {
  TESSERA_ASSIGN(const auto texts, file.texts(key));
  std::vector<T> values;
  if (texts.size() > kMostQuantiles) return file.error(key, std::string(key) + ": more than 1000 values");
  for (const std::string& text : texts) {
    auto value = parse(text);
    if (!value.ok()) return file.error(key, std::string(key) + ": " + value.error().message);
    values.push_back(*value);
  }
  return values;
}

// Quantiles at evenly spaced probabilities, least first.
Result<Quantiles> shares(TomlTable& file, std::string_view key) {
  Quantiles q;
  TESSERA_ASSIGN(q.at, quantities(file, key, parse_share));
  if (!std::is_sorted(q.at.begin(), q.at.end()))
    return file.error(key, std::string(key) + ": quantiles must rise, from the least to the most");
  return q;
}

Result<Quantiles> durations(TomlTable& file, std::string_view key) {
  TESSERA_ASSIGN(const auto values, quantities(file, key, parse_duration));
  Quantiles q;
  for (const Duration d : values) q.at.push_back(d.ns);
  if (!std::is_sorted(q.at.begin(), q.at.end()))
    return file.error(key, std::string(key) + ": quantiles must rise, from the least to the most");
  return q;
}

// Where a figure comes from, for its reader.
Status read_source(TomlTable& file) {
  if (!file.has("source")) return {};
  const auto source = file.text("source");
  return source.ok() ? Status() : Status(source.error());
}

// Reads the table `key` of `file`, where it is there, and says where it stands if `check` refuses what it says.
template <typename Read>
Status section(TomlTable& file, std::string_view key, Read read) {
  if (!file.has(key)) return {};
  TESSERA_ASSIGN(TomlTable table, file.table(key));
  TESSERA_TRY(read_source(table));
  TESSERA_TRY(read(table));
  return table.finish();
}

// ---- one device

Status read_swing(TomlTable& file, Swing& swing) {
  TESSERA_ASSIGN(const std::string shape, file.text("shape"));
  if (shape == "sine")
    swing.shape = Swing::Shape::kSine;
  else if (shape == "square")
    swing.shape = Swing::Shape::kSquare;
  else if (shape == "walk")
    swing.shape = Swing::Shape::kWalk;
  else
    return file.error("shape", "unknown shape '" + shape + "' of a swing; known: sine, square, walk");
  TESSERA_ASSIGN(swing.amplitude, needed(file, "amplitude", parse_share, "50 %"));
  TESSERA_ASSIGN(swing.period, needed(file, "period", parse_duration, "2 s"));
  TESSERA_ASSIGN(swing.phase, file.duration("phase", {}));
  return {};
}

Status read_thermal(TomlTable& file, Thermal& heat) {
  TESSERA_ASSIGN(heat.rise, needed(file, "rise", parse_heat, "40 K"));
  TESSERA_ASSIGN(heat.time_constant, needed(file, "time_constant", parse_duration, "30 s"));
  TESSERA_ASSIGN(heat.throttle_at, needed(file, "throttle_at", parse_heat, "30 K"));
  TESSERA_ASSIGN(heat.resume_at, quantity(file, "resume_at", heat.throttle_at, parse_heat));
  TESSERA_ASSIGN(heat.slowed, needed(file, "slowed", parse_share, "60 %"));
  TESSERA_ASSIGN(heat.start, quantity(file, "start", int64_t{0}, parse_heat));
  if (heat.rise == 0) return file.error("rise", "rise must be above 0 K");
  return {};
}

Status read_frequency(TomlTable& file, FrequencyLevels& frequency) {
  TESSERA_ASSIGN(const auto speeds, quantities(file, "speeds", parse_share));
  if (speeds.empty()) return file.error("speeds", "a frequency needs its levels; write speeds = [\"40 %\", \"100 %\"]");
  TESSERA_ASSIGN(auto powers, quantities(file, "powers", parse_share));
  if (powers.empty()) powers = speeds;
  if (powers.size() != speeds.size())
    return file.error("powers",
                      "powers has " + std::to_string(powers.size()) + " entries, speeds " + std::to_string(speeds.size()));
  for (size_t i = 0; i < speeds.size(); ++i) frequency.levels.push_back({speeds[i], powers[i]});
  TESSERA_ASSIGN(frequency.sample, needed(file, "sample", parse_duration, "10 ms"));
  TESSERA_ASSIGN(frequency.up, quantity(file, "up", int64_t{800'000}, parse_share));
  return {};
}

Status read_jitter(TomlTable& file, DeviceDynamics& device) {
  TESSERA_ASSIGN(const Quantiles load, shares(file, "load"));
  TESSERA_ASSIGN(const Quantiles transfer, shares(file, "transfer"));
  TESSERA_ASSIGN(const Quantiles compute, shares(file, "compute"));
  for (int op = 0; op < kOpCount; ++op) {
    const auto which = static_cast<Op>(op);
    const bool loads = which == Op::kLoadShards || which == Op::kLoadRows || which == Op::kLoadExit;
    device.jitter[static_cast<size_t>(op)] = loads ? load : which == Op::kTransfer ? transfer : compute;
  }
  return {};
}

Status read_device(TomlTable& file, DeviceDynamics& device) {
  TESSERA_TRY(read_source(file));
  TESSERA_TRY(section(file, "swing", [&](TomlTable& t) { return read_swing(t, device.swing); }));
  TESSERA_TRY(section(file, "thermal", [&](TomlTable& t) { return read_thermal(t, device.thermal); }));
  TESSERA_TRY(section(file, "frequency", [&](TomlTable& t) { return read_frequency(t, device.frequency); }));
  TESSERA_TRY(section(file, "jitter", [&](TomlTable& t) { return read_jitter(t, device); }));
  TESSERA_ASSIGN(device.lost_at, file.duration("lost_at", kForever));
  return file.finish();
}

Result<DeviceId> known_device(const TomlTable& file, std::string_view key, const std::string& name,
                              const Platform& platform) {
  if (const auto id = platform.find(name)) return *id;
  std::vector<std::string> names;
  for (const DeviceDescription& d : platform.devices) names.push_back(d.name);
  return file.error(key, unknown_name("device", name, names));
}

// ---- between devices

// Bytes a second that a device moves, its latency aside; 0 where its costs do not tell.
int64_t own_bandwidth(const Machine& machine, DeviceId device) {
  const DeviceKind kind = machine.platform.devices[device].kind;
  if (kind != DeviceKind::kStorage && kind != DeviceKind::kLink) return 0;
  CostKey key;
  key.device = device;
  key.op = kind == DeviceKind::kStorage ? Op::kLoadShards : Op::kTransfer;
  const Duration empty = machine.costs->estimate(key).mean;
  key.bytes = int64_t{1} << 30;
  const double seconds = (machine.costs->estimate(key).mean - empty).seconds();
  const double rate = static_cast<double>(key.bytes) / seconds;
  return seconds > 0 && rate < 1e15 ? std::llround(rate) : 0;
}

int64_t whole(BytesPerSecond rate) { return std::llround(std::min(rate.value, 1e16)); }

Status read_members(TomlTable& file, const Machine& machine, SharedBandwidth& shared) {
  TESSERA_ASSIGN(const auto names, file.texts("devices"));
  TESSERA_ASSIGN(const auto demands, quantities(file, "demands", parse_bandwidth));
  if (names.empty() || names.size() > kMostEntries)
    return file.error("devices", "a shared bandwidth needs its devices; write devices = [\"disk0\"]");
  if (!demands.empty() && demands.size() != names.size())
    return file.error("demands",
                      "demands has " + std::to_string(demands.size()) + " entries, devices " + std::to_string(names.size()));
  for (size_t i = 0; i < names.size(); ++i) {
    TESSERA_ASSIGN(const DeviceId device, known_device(file, "devices", names[i], machine.platform));
    const int64_t demand = demands.empty() ? own_bandwidth(machine, device) : whole(demands[i]);
    if (demand <= 0)
      return file.error("devices", "what device " + names[i] +
                                       " uses of a bandwidth does not follow from its costs; give demands, one a device");
    shared.members.push_back({device, demand});
  }
  return {};
}

Status read_shared(TomlTable& file, const Machine& machine, SharedBandwidth& shared) {
  TESSERA_TRY(read_source(file));
  TESSERA_ASSIGN(shared.name, file.text("name"));
  TESSERA_ASSIGN(const BytesPerSecond bandwidth, needed(file, "bandwidth", parse_bandwidth, "400 MB/s"));
  shared.bandwidth = whole(bandwidth);
  TESSERA_TRY(read_members(file, machine, shared));
  TESSERA_ASSIGN(auto background, file.tables("background"));
  if (background.size() > kMostEntries) return file.error("background", "more than 64 background loads");
  for (TomlTable& entry : background) {
    TESSERA_TRY(read_source(entry));
    SharedBandwidth::Background load;
    TESSERA_ASSIGN(const BytesPerSecond demand, needed(entry, "bandwidth", parse_bandwidth, "30 MB/s"));
    load.demand = whole(demand);
    TESSERA_ASSIGN(load.period, entry.duration("period", {}));
    TESSERA_ASSIGN(load.busy, entry.duration("busy", load.period));
    TESSERA_ASSIGN(load.phase, entry.duration("phase", {}));
    if (load.busy > load.period) return entry.error("busy", "busy is longer than the period, " + to_string(load.period));
    TESSERA_TRY(entry.finish());
    shared.background.push_back(load);
  }
  return file.finish();
}

Status read_contention(TomlTable& file, const Platform& platform, ContentionFactor& factor) {
  TESSERA_TRY(read_source(file));
  for (const char* key : {"slowed", "beside"}) {
    TESSERA_ASSIGN(const std::string name, file.text(key));
    TESSERA_ASSIGN(const DeviceId device, known_device(file, key, name, platform));
    (key == std::string("slowed") ? factor.slowed : factor.beside) = device;
  }
  if (factor.slowed == factor.beside)
    return file.error("beside", "a device runs one task at a time: it has no contention with itself");
  TESSERA_ASSIGN(factor.plain, quantity(file, "time", kPpm, parse_share));
  TESSERA_ASSIGN(factor.coded, quantity(file, "time_coded", factor.plain, parse_share));
  TESSERA_ASSIGN(factor.lasting, file.boolean("lasting", false));
  if (factor.plain <= 0 || factor.coded <= 0) return file.error("time", "a factor of time must be above 0 %");
  return file.finish();
}

Status read_requests(TomlTable& file, Dynamics& dynamics) {
  TESSERA_ASSIGN(dynamics.later.ratio, shares(file, "time"));
  TESSERA_ASSIGN(dynamics.later.setup, durations(file, "setup"));
  dynamics.first = dynamics.later;
  if (file.has("first_time")) { TESSERA_ASSIGN(dynamics.first.ratio, shares(file, "first_time")); }
  if (file.has("first_setup")) { TESSERA_ASSIGN(dynamics.first.setup, durations(file, "first_setup")); }
  return {};
}

Status read_devices(TomlTable& file, const Platform& platform, Dynamics& dynamics) {
  dynamics.devices.resize(platform.devices.size());
  if (!file.has("device")) return {};
  TESSERA_ASSIGN(TomlTable devices, file.table("device"));
  for (size_t d = 0; d < platform.devices.size(); ++d) {
    if (!devices.has(platform.devices[d].name)) continue;
    TESSERA_ASSIGN(TomlTable device, devices.table(platform.devices[d].name));
    TESSERA_TRY(read_device(device, dynamics.devices[d]));
    Dynamics alone;  // what is wrong with it is told at its place
    alone.devices = {dynamics.devices[d]};
    if (const Status status = check_dynamics(alone, 1); !status.ok())
      return device.error("", platform.devices[d].name + ": " + status.error().message);
  }
  return devices.finish();
}

}  // namespace

Result<Dynamics> read_dynamics(TomlTable& platform_file, const Machine& machine) {
  Dynamics dynamics;
  TESSERA_ASSIGN(TomlTable file, platform_file.table("dynamics"));
  TESSERA_TRY(read_source(file));
  TESSERA_TRY(read_devices(file, machine.platform, dynamics));
  TESSERA_ASSIGN(auto shared, file.tables("shared"));
  TESSERA_ASSIGN(auto contention, file.tables("contention"));
  if (shared.size() > kMostEntries || contention.size() > kMostEntries)
    return file.error("shared", "more than 64 shared bandwidths or contentions");
  for (TomlTable& entry : shared) TESSERA_TRY(read_shared(entry, machine, dynamics.shared.emplace_back()));
  for (TomlTable& entry : contention)
    TESSERA_TRY(read_contention(entry, machine.platform, dynamics.contention.emplace_back()));
  TESSERA_TRY(section(file, "requests", [&](TomlTable& t) { return read_requests(t, dynamics); }));
  TESSERA_TRY(file.finish());
  if (const Status status = check_dynamics(dynamics, static_cast<int>(machine.platform.devices.size())); !status.ok())
    return platform_file.error("dynamics", status.error().message);
  return dynamics;
}

}  // namespace tessera::configs
