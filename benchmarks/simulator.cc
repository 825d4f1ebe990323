// Measures how far simulated requests are from real ones: the same plans on this machine and in virtual time.
//
//   bench_simulator [--store STORE] [--checkpoint models/minilm6-sst2] [--plans 240] [--rounds 9] [--again] [--csv FILE]
//
// Plans of five policies, over latencies, token counts, depths, bits and memories, no two alike, are decided once and then
// held: both sides run the very same ones. Real requests go round after round, one of each plan in turn, from the page
// cache; a plan's real latency is the median of its rounds after a first that is not counted, its simulated one the median
// of 25 draws on the machine's own simulation (its calibration file: costs, jitter, contention, setup). --again calibrates
// first. Ends with 1 where fewer than 200 plans ran, the median error is above 10 %, or its 95th percentile above 30 %.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include <unistd.h>

#include "benchmarks/other_programs.h"
#include "benchmarks/simulator_cases.h"
#include "framework/registry.h"
#include "scheduler/simulation.h"
#include "shards/accuracy_profile.h"
#include "shards/store.h"

namespace tessera {
void register_backends();
void register_policies();
namespace {

constexpr double kMedianTarget = 0.10, kTailTarget = 0.30;
constexpr int kDraws = 25, kLessons = 10;
constexpr size_t kTaught = 30;
constexpr double kDisturbed = 0.08;  // of one core, by others
constexpr int kPatience = 5;         // so many times the rounds, and the calibrations, that are asked for
constexpr size_t kFewestPlans = 200;

std::filesystem::path made;  // a store for this run only; empty: there is none

void remove_made() {
  std::error_code ignored;
  if (!made.empty()) std::filesystem::remove_all(made, ignored);
}

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "bench_simulator: %s\n", why.c_str());
  std::exit(4);
}

template <typename T>
T need(Result<T> result) {
  if (!result.ok()) stop(result.error().message);
  return result.take();
}

struct Arguments {
  std::string store, checkpoint = "models/minilm6-sst2", csv;
  int plans = 240, rounds = 9;
  bool again = false;
};

Arguments parse(int count, char** words) {
  Arguments a;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--again") {
      a.again = true;
      continue;
    }
    if (i + 1 == count) stop(word + " needs a value");
    const char* value = words[++i];
    if (word == "--store")
      a.store = value;
    else if (word == "--checkpoint")
      a.checkpoint = value;
    else if (word == "--csv")
      a.csv = value;
    else if (word == "--plans")
      a.plans = std::max(1, std::atoi(value));
    else if (word == "--rounds")
      a.rounds = std::max(1, std::atoi(value));
    else
      stop("unknown flag " + word);
  }
  return a;
}

struct Side {
  Machine machine;
  Calibration calibration;
};

Side open_side(const Store& store, bool again, bool read_only) {
  Side side;
  side.machine = need(local_machine({}, {"cpu0"}));
  CalibrationOptions options;
  options.version = "bench_simulator";
  options.policy = "std-pipeline";
  options.again = again;
  options.read_only = read_only;
  side.calibration = need(calibrate(side.machine, store, options));
  return side;
}

Answer run(Session& session, const Case& c, int round) {
  std::vector<int32_t> ids(static_cast<size_t>(c.tokens));
  for (size_t t = 0; t < ids.size(); ++t)
    ids[t] = static_cast<int32_t>((t * 7919 + static_cast<size_t>(round) * 101) % 20'000);
  return need(session.run(c.options, ids, std::vector<int32_t>(ids.size(), 0)));
}

const char* kind_of(const Task& task) {
  switch (task.cost.op) {
    case Op::kLoadRows:
      return "rows";
    case Op::kLoadExit:
      return "head";
    case Op::kEmbed:
      return "embed";
    case Op::kExit:
      return "exit";
    default:
      return task.kind == TaskKind::kLoad ? "shards" : "layers";
  }
}

void add_kinds(const Answer& answer, std::map<std::string, std::vector<double>>& sums) {
  std::map<std::string, double> sum;
  for (const Task& task : answer.executed->graph.tasks()) {
    const TaskTiming& t = answer.report.tasks[task.id];
    sum[kind_of(task)] += (t.end - t.start).ms();
  }
  sum["setup"] = (answer.latency - answer.report.makespan).ms();
  for (const auto& [kind, ms] : sum) sums[kind].push_back(ms);
}

// Keeps what can run and is not planned yet; runs each once on both sides, uncounted.
std::vector<Case> warmed(std::vector<Case> asked, size_t most, const Store& store, const AccuracyModel& accuracy, Side& real,
                         Side& simulated) {
  std::vector<Case> kept;
  std::set<std::string> known;
  for (Case& c : asked) {
    if (kept.size() == most) break;
    c.real = need(Session::open(store.shape(), &store, accuracy, real.machine, {}));
    if (need(c.real->plan(c.options, c.tokens))->infeasible) continue;
    (void)run(*c.real, c, 0);
    const auto planned = need(c.real->plan(c.options, c.tokens));  // now that the exit head is resident: as it will stay
    if (planned->infeasible) continue;
    c.text = describe(c, planned->plan);
    if (!known.insert(c.policy + c.text).second) continue;
    c.simulated = need(Session::open(store.shape(), &store, accuracy, simulated.machine, {}));
    (void)run(*c.simulated, c, 0);
    kept.push_back(std::move(c));
  }
  return kept;
}

// Requests that teach the machine's file what `tessera run` would have taught it: of plans that are not measured later.
void teach(std::vector<Case>& cases, const Store& store, const AccuracyModel& accuracy, Side& real) {
  size_t taught = 0;
  while (taught < kTaught && !cases.empty()) {
    const Case c = std::move(cases.back());
    cases.pop_back();
    const auto session = need(Session::open(store.shape(), &store, accuracy, real.machine, {}));
    bool feasible = true;
    for (int round = 0; feasible && round < kLessons; ++round) feasible = !run(*session, c, round).planned->infeasible;
    taught += feasible ? 1 : 0;
  }
  if (const Status saved = save_learned(real.machine, real.calibration); !saved.ok()) stop(saved.error().message);
}

void measure_real(std::vector<Case>& cases, int rounds) {
  for (Case& c : cases) (void)run(*c.real, c, 0);  // its pages are touched now
  int kept = 0;
  for (int round = 1; kept < rounds && round <= rounds * kPatience; ++round) {
    const Others others;
    std::vector<Answer> answers;
    for (Case& c : cases) answers.push_back(run(*c.real, c, round));
    if (others.share() > kDisturbed && round + rounds - kept <= rounds * kPatience) continue;
    ++kept;
    for (size_t i = 0; i < cases.size(); ++i) {
      cases[i].real_ms.push_back(answers[i].latency.ms());
      add_kinds(answers[i], cases[i].real_by_kind);
    }
    if (others.share() > kDisturbed)
      std::printf("round %d was disturbed: others took %.0f %%\n", kept, 100 * others.share());
  }
}

void measure_simulated(std::vector<Case>& cases) {
  for (Case& c : cases)
    for (int draw = 0; draw < kDraws; ++draw) {
      c.options.draw = static_cast<uint64_t>(draw);
      const Answer answer = run(*c.simulated, c, draw);
      c.simulated_ms.push_back(answer.latency.ms());
      c.replayed_ms = answer.planned->plan.predicted.expected.ms();
      add_kinds(answer, c.simulated_by_kind);
    }
}

void print_row(const char* name, const std::vector<const Case*>& cases) {
  std::vector<double> errors, signed_errors, replay;
  int within = 0, all = 0;
  for (const Case* c : cases) {
    errors.push_back(std::fabs(c->error()));
    signed_errors.push_back(c->error());
    replay.push_back(std::fabs(c->replayed_ms / median(c->real_ms) - 1));
    const double low = quantile(c->simulated_ms, 0.05), high = quantile(c->simulated_ms, 0.95);
    for (const double ms : c->real_ms) within += ms >= low && ms <= high ? 1 : 0;
    all += static_cast<int>(c->real_ms.size());
  }
  std::printf("| %-12s | %5zu | %5.1f %% | %5.1f %% | %5.1f %% | %+5.1f %% | %5.1f %% | %5.1f %% | %4.0f %% |\n", name,
              cases.size(), 100 * median(errors), 100 * quantile(errors, 0.95), 100 * quantile(errors, 1),
              100 * median(signed_errors), 100 * median(replay), 100 * quantile(replay, 0.95),
              all == 0 ? 0.0 : 100.0 * within / all);
}

// "rows 0.10 / 0.12": each kind of task, real / simulated.
std::string by_kind(const Case& c) {
  std::string text;
  for (const auto& [kind, ms] : c.real_by_kind) {
    char part[80];
    const auto there = c.simulated_by_kind.find(kind);
    std::snprintf(part, sizeof(part), " %s %.2f / %.2f", kind.c_str(), median(ms),
                  there == c.simulated_by_kind.end() ? 0.0 : median(there->second));
    text += part;
  }
  return text;
}

void print_worst(const std::vector<Case>& cases) {
  std::vector<const Case*> order;
  for (const Case& c : cases) order.push_back(&c);
  std::sort(order.begin(), order.end(),
            [](const Case* a, const Case* b) { return std::fabs(a->error()) > std::fabs(b->error()); });
  std::printf("\nworst cases: error, real (least to most of its rounds) against simulated; by kind of task\n");
  for (size_t i = 0; i < std::min<size_t>(12, order.size()); ++i) {
    const Case& c = *order[i];
    std::printf("  %+5.1f %%  %-12s %s: %.2f ms (%.2f to %.2f) against %.2f;%s\n", 100 * c.error(), c.policy.c_str(),
                c.text.c_str(), median(c.real_ms), quantile(c.real_ms, 0), quantile(c.real_ms, 1), median(c.simulated_ms),
                by_kind(c).c_str());
  }
}

void write_csv(const std::string& path, const std::vector<Case>& cases) {
  if (path.empty()) return;
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) stop(path + ": cannot be written");
  std::fprintf(file,
               "policy,plan,real_ms,real_least_ms,real_most_ms,simulated_ms,replayed_ms,error,real / simulated by kind\n");
  for (const Case& c : cases)
    std::fprintf(file, "%s,\"%s\",%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,\"%s\"\n", c.policy.c_str(), c.text.c_str(),
                 median(c.real_ms), quantile(c.real_ms, 0), quantile(c.real_ms, 1), median(c.simulated_ms), c.replayed_ms,
                 c.error(), by_kind(c).c_str());
  std::fclose(file);
}

void print_contention(const Calibration& calibration) {
  for (const CalibratedDevice& d : calibration.devices)
    if (d.overlap)
      std::printf(
          "%s in requests, over what was measured: loads x %.2f, layers x %.2f alone; at once beyond that: exact layers x "
          "%.2f, coded ones x %.2f, exact loads x %.2f, coded ones x %.2f\n",
          d.name.c_str(), d.overlap->load_alone, d.overlap->layer_alone, d.overlap->layer_exact, d.overlap->layer_coded,
          d.overlap->load_exact, d.overlap->load_coded);
}

// Reads every file of the store, so that from now on all come from the page cache.
void warm_up(const std::string& folder) {
  std::vector<char> block(1 << 20);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    while (in.read(block.data(), static_cast<std::streamsize>(block.size()))) {}
  }
}

// Calibrates where that is asked for, and teaches; again where others worked meanwhile.
Side open_taught(const Arguments& arguments, const Store& store, const AccuracyModel& accuracy, std::vector<Case>& cases) {
  for (int attempt = 1;; ++attempt) {
    const Others others;
    Side real = open_side(store, arguments.again, false);
    teach(cases, store, accuracy, real);
    if (!arguments.again || attempt == kPatience || others.share() <= kDisturbed) return real;
    std::printf("calibrating was disturbed: others took %.0f %% of a core\n", 100 * others.share());
  }
}

// Prints what came of it; whether the targets are kept.
bool conclude(const std::vector<Case>& cases, int rounds) {
  std::map<std::string, std::vector<const Case*>> by_policy;
  std::vector<const Case*> all;
  std::vector<double> errors;
  for (const Case& c : cases) {
    by_policy[c.policy].push_back(&c);
    all.push_back(&c);
    errors.push_back(std::fabs(c.error()));
  }
  std::printf("\n%zu plans of %zu policies, %d rounds; error = simulated / real - 1\n\n", cases.size(), by_policy.size(),
              rounds);
  std::printf(
      "| policy       | plans |  median |     p95 |   worst |    bias | replay: |     p95 | in 90 %% |\n"
      "|--------------|------:|--------:|--------:|--------:|--------:|--------:|--------:|-------:|\n");
  for (const auto& [name, some] : by_policy) print_row(name.c_str(), some);
  print_row("all", all);
  print_worst(cases);
  const bool kept = cases.size() >= kFewestPlans && median(errors) <= kMedianTarget && quantile(errors, 0.95) <= kTailTarget;
  std::printf("\n%s: median at most 10 %%, p95 at most 30 %%, 200 plans or more\n", kept ? "kept" : "NOT KEPT");
  return kept;
}

bool bench_store(const Arguments& arguments, const std::string& folder) {
  warm_up(folder);
  const auto store = need(Store::open(folder));
  bool profiled = false;
  StoredProfile profile = need(load_profile(*store, "", &profiled));
  if (!profiled) profile.model = random_importance(store->shape(), 1);
  std::vector<Case> cases = all_cases(store->shape());
  shuffle(cases);
  Side real = open_taught(arguments, *store, profile.model, cases);
  Side simulated = open_side(*store, false, true);  // from the file
  simulated.machine.virtual_time = true;
  simulate(simulated.machine, simulated.calibration, 1);
  print_contention(simulated.calibration);
  cases = warmed(std::move(cases), static_cast<size_t>(arguments.plans), *store, profile.model, real, simulated);
  measure_real(cases, arguments.rounds);
  measure_simulated(cases);
  write_csv(arguments.csv, cases);
  return conclude(cases, arguments.rounds);
}

int bench(const Arguments& arguments) {
  if (!arguments.store.empty()) return bench_store(arguments, arguments.store) ? 0 : 1;
  made = std::filesystem::temp_directory_path() / ("tessera_bench_store_" + std::to_string(::getpid()));
  std::atexit(remove_made);  // also where an error ends the run
  (void)need(make_store(arguments.checkpoint, made.string(), {}));
  return bench_store(arguments, made.string()) ? 0 : 1;
}

}  // namespace
}  // namespace tessera

int main(int count, char** words) {
  tessera::register_backends();
  tessera::register_policies();
  tessera::policies().add("held", [] { return std::make_unique<tessera::HeldPolicy>(); });
  return tessera::bench(tessera::parse(count, words));
}
