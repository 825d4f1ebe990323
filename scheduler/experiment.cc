// Enumerates the cells of a tournament, names them, and checks the description.
#include "scheduler/experiment.h"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <span>

#include "framework/registry.h"
#include "shards/hash.h"

namespace tessera {
namespace {

constexpr size_t kIdDigits = 16;

Error invalid(std::string what) { return {ErrorCode::kInvalid, std::move(what)}; }

// The text that a cell's id is the digest of: "name=length:value" lines, so that no two different cells read the same.
class Identity {
 public:
  void add(std::string_view name, std::string_view value) {
    text_.append(name).append("=").append(std::to_string(value.size())).append(":").append(value).append("\n");
  }
  void add(std::string_view name, int64_t value) { add(name, std::to_string(value)); }
  std::string digest() const {
    return content_digest(std::as_bytes(std::span(text_.data(), text_.size()))).substr(0, kIdDigits);
  }

 private:
  std::string text_;
};

Status check_policy(const std::string& what, const std::string& name) {
  if (policies().find(name) != nullptr) return {};
  return invalid(unknown_name(what, name, policies().names()));
}

Status check_contender(const Contender& contender) {
  TESSERA_TRY(check_policy("policy", contender.policy));
  const auto* entry = policies().find(contender.policy);
  std::vector<std::string> known;
  for (const KnobDescription& knob : entry->make()->knobs()) known.push_back(knob.name);
  for (const auto& [name, value] : contender.knobs)
    if (std::find(known.begin(), known.end(), name) == known.end())
      return invalid(contender.label + ": " + unknown_name("knob of " + contender.policy, name, known));
  const double quantile = contender.quantile.value_or(0.95);
  if (!(quantile >= 0.5 && quantile < 1))
    return invalid(contender.label + ": quantile " + std::to_string(quantile) + " must be at least 0.5 and below 1");
  return {};
}

template <typename T>
bool repeats(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return std::adjacent_find(values.begin(), values.end()) != values.end();
}

Status check_arena(const Arena& arena) {
  const std::string name = "platform " + arena.name + ": ";
  if (arena.latencies.empty() || arena.memories.empty() || arena.preloads.empty())
    return invalid(name + "needs at least one latency, one memory and one preload budget");
  if (repeats(arena.latencies) || repeats(arena.memories) || repeats(arena.preloads))
    return invalid(name + "a budget is there twice");
  if (!arena.model.empty() && !arena.shape.empty()) return invalid(name + "model and shape are two models; give one");
  if (!(arena.io_speed >= 1e-3 && arena.io_speed <= 1e3))
    return invalid(name + "io_speed " + std::to_string(arena.io_speed) + " is not within 0.001 to 1000");
  if (arena.platform == "host" && !arena.shape.empty())
    return invalid(name + "a shape has no weights to calibrate this machine with; give a described platform");
  return {};
}

// How many combinations lists of these lengths have; kMostCells + 1 where there are more.
size_t combinations(std::initializer_list<size_t> lengths) {
  size_t product = 1;
  for (const size_t length : lengths) {
    if (length > 0 && product > kMostCells / length) return kMostCells + 1;
    product *= length;
  }
  return product;
}

// A contender with a preload budget of its own has one cell where others have one for each of the arena's.
bool plays(const Contender& contender, size_t preload) { return !contender.preload || preload == 0; }

// Of one arena and one workload.
void add_cells(const Experiment& e, size_t arena, size_t workload, size_t& groups, std::vector<Cell>& out) {
  const Arena& at = e.arenas[arena];
  for (const Duration latency : at.latencies)
    for (const Bytes memory : at.memories)
      for (size_t p = 0; p < at.preloads.size(); ++p)
        for (const uint64_t seed : e.seeds) {
          for (size_t c = 0; c < e.contenders.size(); ++c)
            if (plays(e.contenders[c], p))
              out.push_back({out.size(), groups, arena, workload, c, latency, memory,
                             e.contenders[c].preload.value_or(at.preloads[p]), at.preloads[p], seed});
          ++groups;
        }
}

}  // namespace

size_t budgets_of(const Arena& arena) {
  return combinations({arena.latencies.size(), arena.memories.size(), arena.preloads.size()});
}

std::string default_label(const Contender& contender) {
  std::vector<std::string> parts;
  if (contender.depth) parts.push_back("depth=" + std::to_string(*contender.depth));
  if (contender.width) parts.push_back("width=" + std::to_string(*contender.width));
  if (contender.bits) parts.push_back("bits=" + std::to_string(*contender.bits));
  for (const auto& [name, value] : contender.knobs) parts.push_back(name + "=" + value);
  if (contender.preload) parts.push_back("preload=" + to_string(*contender.preload));
  std::string list;
  for (const std::string& part : parts) list += (list.empty() ? "" : ",") + part;
  return list.empty() ? contender.policy : contender.policy + "(" + list + ")";
}

std::vector<Cell> cells_of(const Experiment& experiment) {
  std::vector<Cell> out;
  size_t groups = 0;
  for (size_t a = 0; a < experiment.arenas.size(); ++a)
    for (size_t w = 0; w < experiment.workloads.size(); ++w) add_cells(experiment, a, w, groups, out);
  return out;
}

std::vector<Cell> cells_of_shard(const Experiment& experiment, SweepShard shard) {
  std::vector<Cell> all = cells_of(experiment);
  if (shard.count <= 1 || all.empty()) return all;
  const bool whole_groups = all.back().group + 1 >= static_cast<size_t>(shard.count);
  std::erase_if(all, [&](const Cell& cell) {
    return static_cast<int>((whole_groups ? cell.group : cell.index) % static_cast<size_t>(shard.count)) != shard.index;
  });
  return all;
}

std::string cell_id(const Experiment& e, const Ingredients& ingredients, const Cell& cell) {
  const Contender& contender = e.contenders[cell.contender];
  Identity id;
  id.add("program", ingredients.program);
  id.add("arena", ingredients.arenas[cell.arena]);
  id.add("platform", e.arenas[cell.arena].name);
  id.add("io_speed", std::to_string(e.arenas[cell.arena].io_speed));
  id.add("workload", ingredients.workloads[cell.workload]);
  id.add("data", ingredients.data);
  id.add("contender", ingredients.contenders[cell.contender]);
  id.add("policy", contender.policy);
  id.add("label", contender.label);
  for (const auto& [name, value] : contender.knobs) {
    id.add("knob", name);
    id.add("value", value);
  }
  id.add("depth", contender.depth.value_or(0));
  id.add("width", contender.width.value_or(0));
  id.add("bits", contender.bits.value_or(0));
  id.add("quantile", std::to_string(contender.quantile.value_or(e.quantile)));
  id.add("latency", cell.latency.ns);
  id.add("memory", cell.memory.n);
  id.add("preload", cell.preload.n);
  id.add("seed", std::to_string(cell.seed));
  id.add("sentences", e.sentences);
  id.add("tokens", e.tokens);
  id.add("repetitions", e.repetitions);
  id.add("best_effort", e.best_effort);
  id.add("reference", e.reference);
  return id.digest();
}

RequestOptions options_of(const Experiment& experiment, const Cell& cell) {
  const Contender& contender = experiment.contenders[cell.contender];
  RequestOptions options;
  options.budgets = {cell.latency, cell.memory, cell.preload};
  options.policy = contender.policy;
  options.knobs = contender.knobs;
  options.depth = contender.depth;
  options.width = contender.width;
  options.bits = contender.bits;
  options.quantile = contender.quantile.value_or(experiment.quantile);
  options.best_effort = experiment.best_effort;
  options.seed = cell.seed;
  return options;
}

Status check_experiment(const Experiment& e) {
  if (e.contenders.empty()) return invalid("nobody competes; name policies");
  if (e.arenas.empty()) return invalid("no platform; name described machines, or host");
  if (e.workloads.empty() || e.seeds.empty()) return invalid("needs at least one workload and one seed");
  if (repeats(e.seeds)) return invalid("a seed is there twice");
  if (repeats(e.workloads)) return invalid("a workload is there twice");
  std::set<std::string> labels, names;
  for (const Contender& contender : e.contenders) {
    TESSERA_TRY(check_contender(contender));
    if (!labels.insert(contender.label).second)
      return invalid("two contenders are called '" + contender.label + "'; give one of them a label");
  }
  size_t cells = 0;
  for (const Arena& arena : e.arenas) {
    TESSERA_TRY(check_arena(arena));
    if (!names.insert(arena.name).second)
      return invalid("two platforms are called '" + arena.name + "'; give one of them a name");
    cells += combinations({budgets_of(arena), e.workloads.size(), e.seeds.size(), e.contenders.size()});
    if (cells > kMostCells) return invalid("more than " + std::to_string(kMostCells) + " cells; split the experiment");
  }
  if (e.repetitions < 1 || e.repetitions > 100'000)
    return invalid("repetitions " + std::to_string(e.repetitions) + " is not within 1 to 100000");
  if (e.tokens < 1) return invalid("tokens must be at least 1");
  if (!(e.quantile >= 0.5 && e.quantile < 1))
    return invalid("quantile " + std::to_string(e.quantile) + " must be at least 0.5 and below 1");
  if (e.decide_limit.ns <= 0) return invalid("decide_limit must be more than " + to_string(e.decide_limit));
  if (e.worker_memory && *e.worker_memory < kLeastWorkerMemory)
    return invalid("worker_memory " + to_string(*e.worker_memory) + ": a worker needs at least " +
                   to_string(kLeastWorkerMemory));
  if (!e.reference.empty()) TESSERA_TRY(check_policy("reference", e.reference));
  if (!e.baseline.empty() && !labels.contains(e.baseline))
    return invalid(unknown_name("baseline", e.baseline, {labels.begin(), labels.end()}));
  return {};
}

}  // namespace tessera
