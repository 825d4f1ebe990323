// Measures how long the accuracy of a plan takes over a data set (shards/plan_evaluator), after checking it.
//
// Checked: exact submodels against the grid of the checkpoint's eval.json (made with another implementation), to 0.25
// points. Timed: uniform plans, which share no layer with the one before; random ones together, in the evaluator's own
// order; and a few sentences at a time. Least of ROUNDS, each round with plans that are not known yet. Usage:
// bench_measured_accuracy STORE DATA.tsv EVAL.json [ROUNDS]. Ends with 1 where an accuracy is not eval.json's.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "framework/clock.h"
#include "framework/registry.h"
#include "shards/plan_evaluator.h"

namespace tessera {
namespace {

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "bench_measured_accuracy: %s\n", why.c_str());
  std::exit(1);
}

template <typename T>
T need(Result<T> result) {
  if (!result.ok()) stop(result.error().message);
  return result.take();
}

using Plans = std::vector<EvaluationWanted>;

struct Bench {
  std::unique_ptr<Store> store;
  std::unique_ptr<PlanEvaluator> evaluator;

  // The first `width` slices of `depth` layers at one bitwidth.
  EffectivePlan uniform(int depth, int width, Bits bits) const {
    const int row = store->shape().slices;
    EffectivePlan plan{depth, std::vector<Bits>(static_cast<size_t>(depth * row), kAbsent)};
    for (int l = 0; l < depth; ++l) std::fill_n(plan.bits.begin() + l * row, width, bits);
    return plan;
  }

  double accuracy(const EffectivePlan& plan) {
    const auto found = need(evaluator->evaluate(Plans{{plan, {}}}));
    const std::vector<int>& given = evaluator->labels();
    int right = 0;
    for (size_t s = 0; s < given.size(); ++s) right += found[0]->labels[s] == given[s];
    return 100.0 * right / static_cast<double>(given.size());
  }

  double seconds(const Plans& plans) {
    const Duration start = WallClock::instance().now();
    (void)need(evaluator->evaluate(plans));
    return (WallClock::instance().now() - start).seconds();
  }
};

bool check(Bench& bench, const std::string& eval_json) {
  std::ifstream in(eval_json);
  const auto file = nlohmann::json::parse(in, nullptr, false);
  if (!file.is_object() || !file.contains("grid")) stop(eval_json + ": has no \"grid\"; give a checkpoint's eval.json");
  const ModelShape& shape = bench.store->shape();
  bool right = true;
  int checked = 0;
  for (const auto& point : file["grid"]) {
    for (const char* name : {"n", "m", "acc"})
      if (!point.is_object() || !point.contains(name) || !point[name].is_number())
        stop(eval_json + ": a point of its grid has no number \"" + name + "\"");
    const int depth = point["n"], width = point["m"];
    if ((depth != 1 && depth != shape.layers) || (width != shape.widths.front() && width != shape.slices)) continue;
    const double got = bench.accuracy(bench.uniform(depth, width, kExact)), want = point["acc"];
    const bool same = std::fabs(got - want) <= 0.25;
    std::printf("%dx%d exact: %.2f %%, eval.json %.2f %%%s\n", depth, width, got, want, same ? "" : "  WRONG");
    right = right && same;
    ++checked;
  }
  if (checked == 0) stop(eval_json + ": its grid has no point of this store");
  return right;
}

// Bits that no plan before had: uniform, but for the first shards, which count up.
EffectivePlan fresh(const Bench& bench, int depth, int width, int number) {
  EffectivePlan plan = bench.uniform(depth, width, 4);
  for (int j = 0; j < width && number > 0; ++j, number /= 5)
    plan.bits[static_cast<size_t>(j)] = static_cast<Bits>(2 + number % 5);
  return plan;
}

int run(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s STORE DATA.tsv EVAL.json [ROUNDS]\n", argv[0]);
    return 2;
  }
  register_backends();
  const auto cpu = backends().find("cpu")->make({});  // before the evaluator, whose memory it gave
  Bench bench;
  bench.store = need(Store::open(argv[1]));
  const auto tokenizer = need(Tokenizer::from_compiled(bench.store->tokenizer_path()));
  bench.evaluator = need(PlanEvaluator::create(*bench.store, *tokenizer, argv[2], *cpu, 0, {}));
  int64_t tokens = 0;
  for (const int t : bench.evaluator->tokens()) tokens += t;
  std::printf("%zu sentences, %lld tokens\n", bench.evaluator->labels().size(), static_cast<long long>(tokens));
  if (!check(bench, argv[3])) return 1;

  const int rounds = argc > 4 ? std::max(1, std::atoi(argv[4])) : 3;
  const int layers = bench.store->shape().layers, slices = bench.store->shape().slices;
  int number = 1;
  for (const auto& [depth, width] :
       {std::pair{layers, slices}, {layers, slices / 2}, {layers / 2, slices}, {1, slices / 2}}) {
    double least = 1e9;
    for (int r = 0; r < rounds; ++r) least = std::min(least, bench.seconds({{fresh(bench, depth, width, ++number), {}}}));
    std::printf("%2dx%-2d  %.2f s a plan\n", depth, width, least);
    std::fflush(stdout);
  }
  std::mt19937 random(1);
  Plans mixed, few;
  for (int i = 0; i < 16; ++i) {
    EffectivePlan plan = bench.uniform(layers - static_cast<int>(random() % 3), slices - static_cast<int>(random() % 6), 2);
    for (Bits& b : plan.bits)
      if (b != kAbsent) b = static_cast<Bits>(2 + random() % 5);
    mixed.push_back({plan, {}});
    plan.bits[0] = plan.bits[0] == 2 ? Bits{3} : Bits{2};
    few.push_back({plan, {static_cast<int32_t>(i), static_cast<int32_t>(i + 1), static_cast<int32_t>(i + 2)}});
  }
  std::printf("random  %.2f s a plan, 16 together\n", bench.seconds(mixed) / 16);
  std::printf("three sentences of a plan  %.1f ms\n", bench.seconds(few) / 16 * 1e3);
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) { return tessera::run(argc, argv); }
