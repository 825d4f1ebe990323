// Declares the flags of `tessera compare` and puts experiment and flags together.
#include "tools/compare_flags.h"

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <set>

#include <spdlog/spdlog.h>

#include "configs/loader.h"
#include "configs/units.h"

namespace tessera {
namespace {

Error invalid(std::string what) { return {ErrorCode::kInvalid, std::move(what)}; }

void add_list(CLI::App& app, const char* name, std::vector<std::string>& to, const char* type, const char* help) {
  app.add_option(name, to, help)->type_name(type)->expected(1)->take_all()->allow_extra_args(false)->check(not_empty());
}

std::vector<std::string> items(const std::vector<std::string>& texts) {
  std::vector<std::string> out;
  for (const std::string& text : texts)
    for (std::string& item : split_outside(text)) out.push_back(std::move(item));
  return out;
}

template <typename T, typename Parse>
Status read_items(const char* flag, const std::vector<std::string>& texts, Parse parse, std::vector<T>& to) {
  if (texts.empty()) return {};
  to.clear();
  for (const std::string& item : items(texts)) {
    const Result<T> value = parse(item);
    if (!value.ok()) return invalid(std::string(flag) + ": " + value.error().message);
    to.push_back(*value);
  }
  return {};
}

Result<uint64_t> parse_seed(const std::string& text) {
  uint64_t seed = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (failure == std::errc() && end == text.data() + text.size() && seed <= INT64_MAX) return seed;
  return invalid("'" + text + "' is no seed; seeds are whole numbers");
}

Experiment plain_experiment() {
  Experiment experiment;
  Arena host = arena_of("host");
  host.latencies = {kDefaultLatency};
  host.memories = {kDefaultMemory};
  host.preloads = {Bytes{0}};
  experiment.arenas.push_back(std::move(host));
  return experiment;
}

// Platforms by flag take model and budgets of the experiment's first.
Status read_arenas(const CompareFlags& flags, Experiment& experiment) {
  if (!flags.platforms.empty()) {
    const Arena first = experiment.arenas.front();
    experiment.arenas.clear();
    for (const std::string& platform : items(flags.platforms)) {
      Arena arena = first;
      arena.io_speed = 1;
      arena.platform = platform;
      arena.name = arena_of(platform).name;
      experiment.arenas.push_back(std::move(arena));
    }
  }
  if (!flags.model.model.empty() && !flags.model.shape.empty())
    return invalid("--model and --shape are two models; give one");
  for (Arena& arena : experiment.arenas) {
    if (!flags.model.model.empty() || !flags.model.shape.empty()) {
      arena.model = flags.model.model;
      arena.shape = flags.model.shape;
    }
    TESSERA_TRY(read_items("--latencies", flags.latencies, parse_duration, arena.latencies));
    TESSERA_TRY(read_items("--memories", flags.memories, parse_budget_bytes, arena.memories));
    TESSERA_TRY(read_items("--preloads", flags.preloads, parse_budget_bytes, arena.preloads));
  }
  return {};
}

Status read_data(const CompareFlags& flags, Experiment& experiment) {
  if (flags.no_accuracy) experiment.data.clear();
  if (!flags.data.empty()) {
    experiment.data = flags.data;
    if (!std::filesystem::exists(flags.data)) return Error{ErrorCode::kData, flags.data + ": no such file"};
  } else if (!experiment.data.empty() && !std::filesystem::exists(experiment.data)) {
    spdlog::warn("{} is not here: accuracy is not measured; give --data FILE.tsv", experiment.data);
    experiment.data.clear();
  }
  return {};
}

// Bounds come from the policy that proves them, where there is one; the baseline is the command's own default policy.
void set_judges(const CompareFlags& flags, Experiment& experiment) {
  std::string& reference = experiment.reference;
  std::string& baseline = experiment.baseline;
  if (!flags.reference.empty()) reference = flags.reference;
  if (!flags.baseline.empty()) baseline = flags.baseline;
  if (reference.empty() && policies().find(kReferencePolicy) != nullptr) reference = kReferencePolicy;
  for (const Contender& contender : experiment.contenders)
    if (baseline.empty() && contender.label == kDefaultPolicy) baseline = contender.label;
  for (std::string* judge : {&reference, &baseline})
    if (*judge == "none") judge->clear();
}

Status read_requests(const CompareFlags& flags, Experiment& experiment) {
  if (!flags.workloads.empty()) experiment.workloads = items(flags.workloads);
  TESSERA_TRY(read_items("--seeds", flags.seeds, parse_seed, experiment.seeds));
  if (flags.seeds.empty() && flags.output.seed != 0) experiment.seeds = {flags.output.seed};
  if (flags.tokens) experiment.tokens = *flags.tokens;
  if (flags.repetitions) experiment.repetitions = *flags.repetitions;
  if (flags.quantile) experiment.quantile = *flags.quantile;
  if (flags.decide_limit) experiment.decide_limit = *flags.decide_limit;
  if (flags.worker_memory) experiment.worker_memory = flags.worker_memory;
  if (flags.sentences) experiment.sentences = *flags.sentences;
  experiment.best_effort = experiment.best_effort || flags.best_effort;
  return {};
}

std::optional<int> environment_number(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  int value = 0;
  const std::string_view all(text);
  const auto [end, failure] = std::from_chars(all.data(), all.data() + all.size(), value);
  if (failure != std::errc() || end != all.data() + all.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<SweepShard> rank_from(const char* rank, const char* size) {
  const auto index = environment_number(rank), count = environment_number(size);
  if (!index || !count || *count < 1 || *index >= *count) return std::nullopt;
  return SweepShard{*index, *count};
}

// One element of a Slurm job array: ids need not start at 0, nor go by 1.
std::optional<SweepShard> array_element() {
  const auto id = environment_number("SLURM_ARRAY_TASK_ID"), count = environment_number("SLURM_ARRAY_TASK_COUNT");
  if (!id || !count || *count < 1) return std::nullopt;
  const int first = environment_number("SLURM_ARRAY_TASK_MIN").value_or(0);
  const int step = std::max(1, environment_number("SLURM_ARRAY_TASK_STEP").value_or(1));
  const int index = (*id - first) / step;
  if (index < 0 || index >= *count) return std::nullopt;
  return SweepShard{index, *count};
}

// Ranks of an MPI job or of a Slurm step, within the element of the array where there is one.
Result<SweepShard> shard_from_environment() {
  const auto array = array_element();
  std::optional<SweepShard> rank = rank_from("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
  if (!rank) rank = rank_from("PMI_RANK", "PMI_SIZE");
  if (!rank) rank = rank_from("SLURM_PROCID", "SLURM_NTASKS");
  if (!array && !rank)
    return invalid(
        "--shard auto: neither OMPI_COMM_WORLD_RANK, PMI_RANK, SLURM_PROCID nor SLURM_ARRAY_TASK_ID (with their sizes) is "
        "set; start it by mpirun, srun or in a job array, or give --shard i/n");
  const SweepShard outer = array.value_or(SweepShard{}), inner = rank.value_or(SweepShard{});
  return SweepShard{outer.index * inner.count + inner.index, outer.count * inner.count};
}

}  // namespace

std::vector<std::string> split_outside(const std::string& text) {
  std::vector<std::string> out;
  std::string item;
  int depth = 0;
  for (const char c : text) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (c == ',' && depth <= 0) {
      if (!item.empty()) out.push_back(item);
      item.clear();
    } else {
      item += c;
    }
  }
  if (!item.empty()) out.push_back(item);
  return out;
}

void declare_compare(CLI::App& app, CompareFlags& flags) {
  app.footer(
      "Examples: tessera compare configs/experiments/quick.toml\n"
      "          tessera compare --policies sti,std-pipeline --latencies 10ms,20ms --memories 8MiB,16MiB --data dev.tsv\n"
      "          tessera compare --merge OUT/shard-* --out OUT\n"
      "A second run goes on where the first one ended. Fields, files and clusters: docs/compare.md, docs/cluster.md.");
  add_list(app, "--policies", flags.policies, "A,B(k=v)",
           "Who competes (`tessera policies` lists them), with knobs, bits, depth, width, quantile or preload");
  add_list(app, "--latencies", flags.latencies, "T,...", "Latency budgets (default 20ms)");
  add_list(app, "--memories", flags.memories, "BYTES,...", "Memory budgets of the host, or unlimited (default 8MiB)");
  add_list(app, "--preloads", flags.preloads, "BYTES,...", "Preload budgets, of the memory (default 0B)");
  add_list(app, "--platforms", flags.platforms, "FILE,...|host", "Described machines; host: this one, by its calibration");
  add_list(app, "--workloads", flags.workloads, "FILE,...", "Sequences of requests (default: one-shot requests)");
  add_list(app, "--seeds", flags.seeds, "N,...", "Seeds (default 0)");
  app.add_option("--data", flags.data, "Measure accuracy on this data set")->type_name("TSV")->check(not_empty());
  app.add_flag("--no-accuracy", flags.no_accuracy, "Do not measure accuracy");
  app.add_option("--sentences", flags.sentences, "Only the first N of the data")->type_name("N")->check(at_least(1));
  app.add_option("--model", flags.model.model, "A store, or a Hugging Face folder (default: the embedded model)")
      ->type_name("DIR")
      ->check(not_empty());
  app.add_option("--shape", flags.model.shape, "A model described without weights")->type_name("FILE")->check(not_empty());
  app.add_option("--tokens", flags.tokens, "Length of one-shot requests (default 128)")->type_name("N")->check(at_least(1));
  app.add_option("--repetitions", flags.repetitions, "Runs of each one-shot request")->type_name("N")->check(at_least(1));
  app.add_option("--quantile", flags.quantile, "Of the cost model (default 0.95)")
      ->type_name("Q")
      ->check(CLI::Range(0.5, 0.999));
  app.add_flag("--best-effort", flags.best_effort, "Where the budgets cannot be met: the least-late plan");
  app.add_option("--baseline", flags.baseline, "Label that gap_closed is measured from (default sti); none")
      ->type_name("NAME");
  app.add_option("--reference", flags.reference, "Policy that proves bounds (default optimal); none")->type_name("NAME");
  add_quantity(app, "--decide-limit", flags.decide_limit, parse_duration, "T",
               "A decision that takes longer is ended (default 10s)");
  add_quantity(app, "--worker-memory", flags.worker_memory, parse_budget_bytes, "BYTES",
               "A worker that takes more memory is ended (default 4GiB, or its share of 3/4 of this machine's); unlimited");
  app.add_option("--jobs", flags.jobs, "Worker processes (default: all cores)")->type_name("N")->check(CLI::Range(1, 4096));
  app.add_option("--shard", flags.shard, "Play only the i-th of n shares, into OUT/shard-i-of-n; auto: by rank")
      ->type_name("I/N|auto");
  app.add_flag("--merge", flags.merge, "Put the results of the folders that are named together, into OUT");
  app.add_option("--out", flags.out, "Results' folder (default results/NAME)")->type_name("DIR")->check(not_empty());
  app.add_flag("--update", flags.update, "Go on in a folder although the experiment has changed");
  app.add_flag("--no-report", flags.no_report, "Do not make the report");
  add_output_flags(app, flags.output);
}

Result<Experiment> experiment_of(const CompareFlags& flags) {
  if (flags.files.size() > 1) return invalid("one experiment at a time; '" + flags.files[1] + "' is a second one");
  Experiment experiment = plain_experiment();
  if (!flags.files.empty()) { TESSERA_ASSIGN(experiment, load_experiment(flags.files[0])); }
  if (!flags.policies.empty()) {
    experiment.baseline.clear();
    TESSERA_TRY(read_items("--policies", flags.policies, parse_contender, experiment.contenders));
  }
  if (experiment.contenders.empty()) return invalid("who competes? Give an experiment's file, or --policies A,B");
  TESSERA_TRY(read_arenas(flags, experiment));
  TESSERA_TRY(read_requests(flags, experiment));
  TESSERA_TRY(read_data(flags, experiment));
  set_judges(flags, experiment);
  TESSERA_TRY(check_experiment(experiment));
  return experiment;
}

Result<SweepShard> shard_of(const std::string& text) {
  if (text.empty()) return SweepShard{};
  if (text == "auto") return shard_from_environment();
  SweepShard shard;
  const size_t slash = text.find('/');
  const auto read = [&](size_t from, size_t to, int& value) {
    const auto [end, failure] = std::from_chars(text.data() + from, text.data() + to, value);
    return failure == std::errc() && end == text.data() + to;
  };
  if (slash == std::string::npos || !read(0, slash, shard.index) || !read(slash + 1, text.size(), shard.count) ||
      shard.count < 1 || shard.index < 0 || shard.index >= shard.count)
    return invalid("--shard " + text + ": write i/n with 0 <= i < n, or auto");
  return shard;
}

}  // namespace tessera
