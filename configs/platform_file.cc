// Reads a described machine from a TOML file, and makes the cost models that its figures stand for.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "configs/cycle_costs.h"
#include "configs/dynamics_file.h"
#include "configs/loader.h"
#include "configs/platform_links.h"
#include "configs/toml_table.h"
#include "framework/cost_model_work.h"

namespace tessera {
namespace {

using configs::PlatformLinks;
using configs::TomlTable;

constexpr int64_t kMostDevices = 64;

Result<Provenance> read_provenance(TomlTable& file) {
  if (!file.has("provenance")) return Provenance::kDataSheet;
  TESSERA_ASSIGN(const std::string name, file.text("provenance"));
  std::string known;
  for (Provenance p : {Provenance::kMeasured, Provenance::kRegression, Provenance::kAnalytic, Provenance::kDataSheet,
                       Provenance::kGuessed}) {
    if (name == to_string(p)) return p;
    known += (known.empty() ? "" : ", ") + std::string(to_string(p));
  }
  return file.error("provenance", "unknown provenance '" + name + "'; known: " + known);
}

// ---- storage: bandwidth, or what one piece took

Result<BytesPerSecond> read_bandwidth(TomlTable& file) {
  TESSERA_ASSIGN(BytesPerSecond bandwidth, file.bandwidth("bandwidth", {0}));
  TESSERA_ASSIGN(const Bytes piece, file.bytes("piece_bytes", {0}));
  TESSERA_ASSIGN(const Duration time, file.duration("piece_time", {0}));
  const bool by_piece = piece.n > 0 && time.ns > 0;
  if ((bandwidth.value > 0) == by_piece) {
    return file.error("bandwidth",
                      "a storage device needs either bandwidth, as in \"83 MB/s\", or piece_bytes and piece_time");
  }
  if (by_piece) bandwidth.value = static_cast<double>(piece.n) / time.seconds();
  return bandwidth;
}

Result<std::unique_ptr<CostModel>> storage_costs(TomlTable& file, const ModelShape& shape) {
  Roofline figures;
  TESSERA_ASSIGN(figures.bandwidth, read_bandwidth(file));
  TESSERA_ASSIGN(figures.latency, file.duration("latency", {0}));
  TESSERA_ASSIGN(figures.per_read, file.duration("per_read", {0}));
  TESSERA_ASSIGN(figures.provenance, read_provenance(file));
  return make_roofline(shape, figures);
}

// ---- compute: a roofline

Result<std::unique_ptr<CostModel>> roofline_costs(TomlTable& file, const ModelShape& shape) {
  Roofline figures;
  TESSERA_ASSIGN(figures.flops_per_second, file.flops("flops", 0));
  TESSERA_ASSIGN(figures.bandwidth, file.bandwidth("bandwidth", {0}));
  TESSERA_ASSIGN(figures.decode_weights_per_second, file.weight_rate("decode", 0));
  TESSERA_ASSIGN(figures.latency, file.duration("latency", {0}));
  TESSERA_ASSIGN(figures.provenance, read_provenance(file));
  return make_roofline(shape, figures);
}

// ---- compute: a table of layer times, published for one model and token count

struct PublishedTable {
  ModelShape shape;  // that it was measured on
  int tokens = 0;
  std::vector<int64_t> slices;
  std::vector<Duration> layer;  // by entry of `slices`
  Duration decode;              // per shard
  Duration embed, exit;
  Provenance provenance = Provenance::kDataSheet;
};

CostKey key_of(Op op, int tokens, int slices, Bits bits, bool decoded) {
  CostKey key;
  key.op = op;
  key.tokens = static_cast<uint16_t>(tokens);
  key.slices = static_cast<uint8_t>(slices);
  key.decoded = decoded;
  if (slices > 0) key.bits[bits_level(bits)] = static_cast<uint8_t>(slices);
  return key;
}

Duration scaled(Duration d, double factor) {
  if (factor == 1) return d;
  return {static_cast<int64_t>(std::floor(static_cast<double>(d.ns) * factor + 0.5))};
}

// The points of the table as they would be for `shape`; the published ones where it is the same model.
std::vector<CostPoint> points_for(const PublishedTable& t, const ModelShape& shape) {
  const bool same = shape.hidden == t.shape.hidden && shape.ffn == t.shape.ffn && shape.slices == t.shape.slices;
  std::vector<CostPoint> points;
  const auto add = [&](const CostKey& key, Duration time) {
    CostPoint p;
    p.key = key;
    p.estimate.mean = p.estimate.p95 = time;
    p.estimate.provenance = same ? t.provenance : Provenance::kGuessed;
    points.push_back(p);
  };
  const auto work_ratio = [&](const CostKey& key) {
    return same ? 1.0 : multiply_adds(shape, key) / multiply_adds(t.shape, key);
  };
  const double weight_ratio =
      same ? 1.0 : static_cast<double>(shape.shard_weights()) / static_cast<double>(t.shape.shard_weights());
  for (size_t i = 0; i < t.slices.size(); ++i) {
    const int m = static_cast<int>(t.slices[i]);
    const CostKey whole = key_of(Op::kLayer, t.tokens, m, kExact, true);
    const Duration compute = scaled(t.layer[i], work_ratio(whole));
    add(whole, compute);
    const Duration decode = scaled(t.decode * m, weight_ratio);
    for (int level = 1; level < kBitsLevels; ++level) {
      add(key_of(Op::kLayer, t.tokens, m, level_bits(level), false), compute + decode);
    }
  }
  const CostKey embed = key_of(Op::kEmbed, t.tokens, 0, kExact, false);
  const CostKey exit = key_of(Op::kExit, t.tokens, 0, kExact, false);
  add(embed, scaled(t.embed, work_ratio(embed)));
  add(exit, scaled(t.exit, work_ratio(exit)));
  return points;
}

Status read_measured_shape(TomlTable& file, PublishedTable& t) {
  TESSERA_ASSIGN(const int64_t hidden, file.integer("hidden", 1, 1 << 16));
  TESSERA_ASSIGN(const int64_t ffn, file.integer("ffn", 1, 1 << 18));
  TESSERA_ASSIGN(const int64_t slices, file.integer("of_slices", 1, kMaxSlices));
  TESSERA_ASSIGN(const int64_t tokens, file.integer("tokens", 1, 1 << 15));
  if (hidden % slices != 0 || ffn % slices != 0) {
    return file.error("of_slices", "hidden and ffn must be multiples of of_slices = " + std::to_string(slices));
  }
  t.shape.hidden = static_cast<int>(hidden);
  t.shape.ffn = static_cast<int>(ffn);
  t.shape.slices = t.shape.heads = static_cast<int>(slices);
  t.tokens = static_cast<int>(tokens);
  return {};
}

Result<std::unique_ptr<CostModel>> table_costs(TomlTable& file, const ModelShape& shape) {
  PublishedTable t;
  TESSERA_TRY(read_measured_shape(file, t));
  TESSERA_ASSIGN(t.slices, file.integers("slices", 1, t.shape.slices));
  TESSERA_ASSIGN(const auto times, file.texts("layer"));
  if (times.size() != t.slices.size()) {
    return file.error("layer", "layer has " + std::to_string(times.size()) + " times for " +
                                   std::to_string(t.slices.size()) + " entries of slices");
  }
  for (const std::string& text : times) {
    auto time = parse_duration(text);
    if (!time.ok()) return file.error("layer", "layer: " + time.error().message);
    if (*time > milliseconds(1'000'000)) return file.error("layer", "layer: '" + text + "' is above 1000 s");
    t.layer.push_back(*time);
  }
  TESSERA_ASSIGN(t.decode, file.duration("decode_per_shard", {0}));
  TESSERA_ASSIGN(t.embed, file.duration("embed", {0}));
  TESSERA_ASSIGN(t.exit, file.duration("exit", {0}));
  for (Duration d : {t.decode, t.embed, t.exit})
    if (d > milliseconds(1'000'000))
      return file.error("decode_per_shard", "decode_per_shard, embed or exit is above 1000 s");
  TESSERA_ASSIGN(t.provenance, read_provenance(file));
  return make_table(shape, points_for(t, shape));
}

// ---- devices and memories

Result<DeviceKind> read_kind(TomlTable& file) {
  TESSERA_ASSIGN(const std::string name, file.text("kind"));
  for (DeviceKind k :
       {DeviceKind::kCpu, DeviceKind::kGpu, DeviceKind::kFpga, DeviceKind::kNpu, DeviceKind::kStorage, DeviceKind::kLink})
    if (name == to_string(k)) return k;
  return file.error("kind", "unknown kind of device '" + name + "'; known: cpu, gpu, fpga, npu, storage, link");
}

Result<std::unique_ptr<CostModel>> read_costs(TomlTable& file, DeviceKind kind, const ModelShape& shape) {
  const bool table = file.has("table"), roofline = file.has("roofline"), storage = file.has("storage"),
             cycles = file.has("cycles");
  if (table + roofline + storage + cycles != 1 || storage != (kind == DeviceKind::kStorage)) {
    return file.error("kind", kind == DeviceKind::kStorage
                                  ? "a storage device needs its costs: one table [device.storage]"
                                  : "a compute device needs its costs: one table [device.table], [device.roofline] or, for "
                                    "the HLS kernels on an FPGA, [device.cycles]");
  }
  if (cycles && kind != DeviceKind::kFpga)
    return file.error("cycles", "[device.cycles] prices the HLS kernels: its device is of kind \"fpga\"");
  TESSERA_ASSIGN(TomlTable costs, file.table(table ? "table" : roofline ? "roofline" : storage ? "storage" : "cycles"));
  auto model = table      ? table_costs(costs, shape)
               : roofline ? roofline_costs(costs, shape)
               : storage  ? storage_costs(costs, shape)
                          : configs::cycle_costs(costs, shape);
  if (model.ok()) TESSERA_TRY(costs.finish());
  return model;
}

Status read_device(TomlTable& file, const ModelShape& shape, PlatformLinks& links, Machine& machine) {
  DeviceDescription d;
  TESSERA_ASSIGN(d.name, file.text("name"));
  Platform& platform = machine.platform;
  if (platform.find(d.name)) return file.error("name", "there are two devices named '" + d.name + "'");
  TESSERA_ASSIGN(d.kind, read_kind(file));
  if (file.has("source")) {
    TESSERA_ASSIGN(std::string source, file.text("source"));
    d.properties.emplace_back("source", std::move(source));
  }
  if (file.has("threads")) {
    TESSERA_ASSIGN(const int64_t threads, file.integer("threads", 1, 4096));
    d.threads = static_cast<int>(threads);
  }
  std::unique_ptr<CostModel> costs;
  if (d.kind == DeviceKind::kLink) {
    TESSERA_ASSIGN(costs, links.read_link(file, d.name, read_provenance));
  } else {
    TESSERA_TRY(links.read_memory(file, d));
    TESSERA_ASSIGN(costs, read_costs(file, d.kind, shape));
  }
  TESSERA_TRY(file.finish());
  platform.devices.push_back(std::move(d));
  links.add_costs(static_cast<DeviceId>(platform.devices.size() - 1), std::move(costs));
  return {};
}

Status read_memories(TomlTable& file, Platform& platform) {
  TESSERA_ASSIGN(auto memories, file.tables("memory"));
  if (memories.size() > kMostDevices) return file.error("memory", "more than 64 memories");
  for (TomlTable& entry : memories) {
    MemoryDescription m;
    TESSERA_ASSIGN(m.name, entry.text("name"));
    TESSERA_ASSIGN(m.capacity, entry.bytes("capacity", kUnlimited));
    TESSERA_TRY(entry.finish());
    const auto same = std::find_if(platform.memories.begin(), platform.memories.end(),
                                   [&](const MemoryDescription& other) { return other.name == m.name; });
    if (same == platform.memories.end()) {
      platform.memories.push_back(m);
    } else if (m.name == "host" && same->capacity == kUnlimited) {
      same->capacity = m.capacity;
    } else {
      return entry.error("name", "there are two memories named '" + m.name + "'");
    }
  }
  return {};
}

// What the file says of the machine's dynamics takes the place of what was said before.
Status read_simulation(TomlTable& file, Machine& machine) {
  if (!file.has("dynamics")) return {};
  TESSERA_ASSIGN(Dynamics dynamics, configs::read_dynamics(file, machine));
  machine.simulation =
      std::make_shared<SimulatedMachine>(std::move(dynamics), static_cast<int>(machine.platform.devices.size()));
  return {};
}

Result<Machine> read_machine(TomlTable& file, const ModelShape& shape) {
  Machine machine;
  machine.virtual_time = true;
  machine.costs = std::make_shared<CostBook>();
  TESSERA_ASSIGN(machine.platform.name, file.text("name"));
  if (file.has("source")) TESSERA_TRY(file.text("source"));
  TESSERA_TRY(read_memories(file, machine.platform));
  TESSERA_ASSIGN(auto devices, file.tables("device"));
  if (devices.size() > kMostDevices) return file.error("device", "more than 64 devices");
  PlatformLinks links(shape, machine);
  for (TomlTable& device : devices) TESSERA_TRY(read_device(device, shape, links, machine));
  TESSERA_TRY(links.join());
  TESSERA_TRY(read_simulation(file, machine));
  TESSERA_TRY(file.finish());
  const Platform& platform = machine.platform;
  if (!platform.first(DeviceKind::kStorage)) return file.error("device", "no device of kind \"storage\"");
  const bool computes = std::any_of(platform.devices.begin(), platform.devices.end(),
                                    [](const DeviceDescription& d) { return tessera::computes(d.kind); });
  if (!computes) return file.error("device", "no device that computes");
  return machine;
}

// Another file's machine under another name, with other dynamics.
Result<Machine> read_extended(TomlTable& file, const std::string& path, const ModelShape& shape) {
  TESSERA_ASSIGN(const std::string name, file.text("name"));
  if (file.has("source")) TESSERA_TRY(file.text("source"));
  TESSERA_ASSIGN(const std::string other, file.text("extends"));
  const std::string base = (std::filesystem::path(path).parent_path() / other).string();
  TESSERA_ASSIGN(const toml::table document, configs::parse_toml(base));
  TomlTable base_file(document, base);
  if (base_file.has("extends"))
    return file.error("extends", other + " extends a file itself; extend the one that describes the devices");
  TESSERA_ASSIGN(Machine machine, read_machine(base_file, shape));
  machine.platform.name = name;
  TESSERA_TRY(read_simulation(file, machine));
  TESSERA_TRY(file.finish());
  return machine;
}

}  // namespace

Result<Machine> load_platform(const std::string& path, const ModelShape& shape) {
  TESSERA_ASSIGN(const toml::table document, configs::parse_toml(path));
  TomlTable file(document, path);
  return file.has("extends") ? read_extended(file, path, shape) : read_machine(file, shape);
}

}  // namespace tessera
