// Measures what the executor costs per task, beside oneTBB's flow graph on the same graphs in the same run.
//
// Graphs: (a) 100,000 independent tasks, (b) a chain of 100,000, (c) a random DAG of 20,000 tasks with 4
// predecessors on average, each drawn from all earlier tasks. Empty tasks, 2 devices (null backend) against 2 threads,
// medians of interleaved rounds: build + run, and the same graph run again. Freeing the graph is outside the time for both.
// Usage: bench_executor [ROUNDS]. Ends with 1 where a task did not run exactly once after its predecessors, or where a node
// takes more than 350 bytes.
#include "framework/executor.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>

#include <tbb/flow_graph.h>
#include <tbb/global_control.h>

#include "framework/clock.h"
#include "framework/registry.h"
#include "framework/task_graph.h"

namespace tessera {
void register_backends();

namespace {

constexpr double kMostBytesPerNode = 350;  // a node with its edges (framework/task.h)
constexpr double kMostMicroseconds = 1;    // build + run of (c), per task

struct Dag {
  const char* name;
  std::vector<uint8_t> device;
  std::vector<uint32_t> offset{0};  // [tasks + 1] into before
  std::vector<TaskId> before;
  size_t size() const { return device.size(); }
};

Dag make_dag(const char* name, size_t tasks, int mean_predecessors, bool chain) {
  std::mt19937_64 random(20'000);
  Dag dag{name, {}, {0}, {}};
  for (TaskId id = 0; id < tasks; ++id) {
    dag.device.push_back(random() % 2);
    if (chain && id > 0) dag.before.push_back(id - 1);
    const uint64_t count = random() % (2 * mean_predecessors + 1);  // uniform around the mean
    for (uint64_t e = 0; id > 0 && e < count; ++e) dag.before.push_back(random() % id);
    dag.offset.push_back(static_cast<uint32_t>(dag.before.size()));
  }
  return dag;
}

TaskGraph build(const Dag& dag) {
  TaskGraphBuilder builder;
  builder.reserve(dag.size(), dag.before.size());
  for (TaskId id = 0; id < dag.size(); ++id) {
    Task task;
    task.cost.device = dag.device[id];
    builder.add(task);
    for (uint32_t e = dag.offset[id]; e < dag.offset[id + 1]; ++e) builder.depend(id, dag.before[e]);
  }
  return builder.build().take();
}

// Counts what runs, and whether its predecessors had run.
class Check {
 public:
  explicit Check(const Dag& dag) : dag_(dag), runs_(dag.size()) {}
  void ran(TaskId id) {
    for (uint32_t e = dag_.offset[id]; e < dag_.offset[id + 1]; ++e)
      if (runs_[dag_.before[e]].load(std::memory_order_acquire) == 0) early_.store(true);
    runs_[id].fetch_add(1, std::memory_order_release);
  }
  bool ok() const {
    return !early_.load() && std::all_of(runs_.begin(), runs_.end(), [](const auto& n) { return n.load() == 1; });
  }

 private:
  const Dag& dag_;
  std::vector<std::atomic<int>> runs_;
  std::atomic<bool> early_{false};
};

class CheckingBinder final : public TaskBinder {
 public:
  explicit CheckingBinder(Check& check) : check_(check) {}
  Result<Operands> bind(const Task& task) override {
    check_.ran(task.id);
    return Operands{};
  }
  void ended(const Task&, TaskState) override {}

 private:
  Check& check_;
};

// oneTBB's graph of the same DAG. Nodes cannot move, hence the deque.
struct FlowGraph {
  using Node = tbb::flow::continue_node<tbb::flow::continue_msg>;
  tbb::flow::graph graph;
  std::deque<Node> nodes;
  std::vector<Node*> sources;

  template <typename Body>
  FlowGraph(const Dag& dag, Body body) {
    for (TaskId id = 0; id < dag.size(); ++id) {
      nodes.emplace_back(graph, [id, body](const tbb::flow::continue_msg&) { body(id); });
      if (dag.offset[id] == dag.offset[id + 1]) sources.push_back(&nodes.back());
      for (uint32_t e = dag.offset[id]; e < dag.offset[id + 1]; ++e) tbb::flow::make_edge(nodes[dag.before[e]], nodes[id]);
    }
  }
  void run() {
    for (Node* source : sources) source->try_put(tbb::flow::continue_msg());
    graph.wait_for_all();
  }
};

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

struct Times {
  std::vector<double> build, run, again;  // us per task
  double total() const {
    std::vector<double> sum;
    for (size_t i = 0; i < build.size(); ++i) sum.push_back(build[i] + run[i]);
    return median(sum);
  }
};

template <typename Build, typename Run>
void measure(Times& times, size_t tasks, Build make, Run run) {
  const WallClock& clock = WallClock::instance();
  const auto per_task = [&](Duration since) { return (clock.now() - since).us() / static_cast<double>(tasks); };
  const Duration t0 = clock.now();
  auto graph = make();
  times.build.push_back(per_task(t0));
  const Duration t1 = clock.now();
  run(graph);
  times.run.push_back(per_task(t1));
  const Duration t2 = clock.now();
  run(graph);
  times.again.push_back(per_task(t2));
}

bool verify(const Dag& dag, Executor& executor) {
  Check ours(dag), theirs(dag);
  CheckingBinder binder(ours);
  const bool done = executor.run(build(dag), &binder, {}).status.ok();
  FlowGraph(dag, [&](TaskId id) { theirs.ran(id); }).run();
  return done && ours.ok() && theirs.ok();
}

void print(const char* graph, const char* system, const Times& times, const char* note) {
  std::printf("%-28s %-18s %8.3f %8.3f %8.3f %8.3f  %s\n", graph, system, median(times.build), median(times.run),
              times.total(), median(times.again), note);
}

bool bench(const Dag& dag, Executor& executor, int rounds, double target_us) {
  if (!verify(dag, executor)) {
    std::fprintf(stderr, "%s: a task did not run exactly once after its predecessors\n", dag.name);
    return false;
  }
  Times ours, theirs;
  for (int round = 0; round < rounds; ++round) {
    measure(
        ours, dag.size(), [&] { return build(dag); },
        [&](const TaskGraph& g) {
          if (!executor.run(g, nullptr, {}).status.ok()) std::abort();
        });
    measure(
        theirs, dag.size(), [&] { return std::make_unique<FlowGraph>(dag, [](TaskId) {}); },
        [](const std::unique_ptr<FlowGraph>& g) { g->run(); });
  }
  const double bytes = build(dag).bytes_per_node();
  char note[128];
  std::snprintf(note, sizeof(note), "%.0f bytes/node%s", bytes,
                target_us == 0              ? ""
                : ours.total() <= target_us ? "; within 1 us"
                                            : "; MORE THAN 1 us");
  print(dag.name, "tessera", ours, note);
  print("", "oneTBB flow graph", theirs, "");
  if (bytes <= kMostBytesPerNode) return true;
  std::fprintf(stderr, "%s: %.0f bytes a node; at most %.0f\n", dag.name, bytes, kMostBytesPerNode);
  return false;
}

int run(int rounds) {
  register_backends();
  const auto* entry = backends().find("null");
  if (entry == nullptr) {
    std::fprintf(stderr, "backend 'null' is not built in\n");
    return 1;
  }
  const std::unique_ptr<Backend> null = entry->make({});
  const std::unique_ptr<Executor> executor = make_wall_executor({{null.get(), 0}, {null.get(), 1}});
  const tbb::global_control two_threads(tbb::global_control::max_allowed_parallelism, 2);

  std::printf("us per task, median of %d rounds; every task verified to run once after its predecessors\n", rounds);
  std::printf("%-28s %-18s %8s %8s %8s %8s\n", "graph", "system", "build", "run", "total", "re-run");
  bool ok = bench(make_dag("(a) 100,000 independent", 100'000, 0, false), *executor, rounds, 0);
  ok = bench(make_dag("(b) chain of 100,000", 100'000, 0, true), *executor, rounds, 0) && ok;
  ok = bench(make_dag("(c) random DAG of 20,000", 20'000, 4, false), *executor, rounds, kMostMicroseconds) && ok;
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) { return tessera::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 5); }
