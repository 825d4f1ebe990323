// Times the CPU backend on the embedded model, weights resident: whole requests as the executor submits them.
//
// bench_cpu_layer --golden models/minilm6-sst2/golden.jsonl --store STORE [--tokens 128] [--bits 32] [--coded] [--threads 2]
//                 [--rounds 50]: checks the logits of the first golden sentence, then prints one line of JSON: microseconds,
//                 least and median, of embed + layers + exit, and of single layers.
// --decode: times decoding alone, by bitwidth, on one thread (weights a second).
// --serve: answers each line "N" on stdin with the microseconds of N runs: for interleaving with a peer.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "backends/cpu/kernels.h"
#include "backends/cpu/weights.h"
#include "framework/clock.h"
#include "framework/registry.h"
#include "tests/backends/cpu_model.h"

namespace tessera {
void register_backends();
namespace {

using nlohmann::json;

struct Options {
  std::string golden = "models/minilm6-sst2/golden.jsonl", store;
  int tokens = 128, bits = kExact, threads = 2, rounds = 50;
  bool coded = false, decode = false, serve = false;
};

Options parse(int count, char** words) {
  Options o;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const char* value = i + 1 < count ? words[i + 1] : "";
    if (word == "--coded") o.coded = true;
    if (word == "--decode") o.decode = true;
    if (word == "--serve") o.serve = true;
    if (word == "--golden") o.golden = value;
    if (word == "--store") o.store = value;
    if (word == "--tokens") o.tokens = std::max(1, std::atoi(value));
    if (word == "--bits") o.bits = std::atoi(value);
    if (word == "--threads") o.threads = std::atoi(value);
    if (word == "--rounds") o.rounds = std::max(1, std::atoi(value));
  }
  return o;
}

double microseconds_of(const std::function<void()>& work) {
  const Duration start = WallClock::instance().now();
  work();
  return (WallClock::instance().now() - start).us();
}

json times(int rounds, const std::function<void()>& work) {
  std::vector<double> us(rounds);
  for (double& t : us) t = microseconds_of(work);
  std::sort(us.begin(), us.end());
  return {{"least_us", us.front()}, {"median_us", us[us.size() / 2]}, {"p95_us", us[us.size() * 95 / 100]}};
}

json golden_line(const std::string& path) {
  std::ifstream lines(path);
  std::string line;
  if (!std::getline(lines, line)) {
    std::cerr << path << ": cannot be read; give --golden\n";
    std::exit(2);
  }
  return json::parse(line);
}

// Largest distance from the recorded logits; more than 2e-3 at exact weights is an error.
double check(Backend& cpu, const testing::ResidentModel& model, const json& golden, bool exact) {
  testing::Forward forward(cpu, model, golden["ids"].get<std::vector<int32_t>>());
  const auto logits = forward.run(model.store().shape().layers, model.store().shape().slices);
  double off = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    off = std::max(off, std::abs(logits[i] - golden["logits"][i].get<double>()));
  }
  if (exact && !(off <= 2e-3)) {
    std::cerr << "logits are off by " << off << "; nothing is timed\n";
    std::exit(1);
  }
  return off;
}

// Tokens of the golden sentence over and over, as a peer script does too.
std::vector<int32_t> ids_of(const json& golden, int tokens) {
  const auto once = golden["ids"].get<std::vector<int32_t>>();
  std::vector<int32_t> ids(tokens);
  for (int t = 0; t < tokens; ++t) ids[t] = once[t % once.size()];
  return ids;
}

// Weights a second of one thread, all matrices of one layer, panel pairs as products use them.
json decode_rates(const Store& store) {
  json rates;
  for (const Bits bits : store.shape().bitwidths) {
    const testing::ResidentModel model(store, bits, WeightForm::kCoded);
    std::vector<cpu::SliceMatrices> views;
    for (const WeightRef& w : model.layer(0, store.shape().slices)) views.push_back(*cpu::view_slice(store.shape(), w));
    testing::Held scratch(4 * 2 * kPanel * std::max(store.shape().hidden, store.shape().ffn));
    int64_t weights = 0;
    double least = 1e30;
    for (int round = 0; round < 20; ++round) {
      weights = 0;
      least = std::min(least, microseconds_of([&] {
                         for (const auto& slice : views) {
                           for (const auto& m : slice) {
                             for (int p = 0; p < m.dims.panels(); p += 2) {
                               cpu::fp32_panels(m, p, std::min(2, m.dims.panels() - p),
                                                reinterpret_cast<float*>(scratch.data()));
                             }
                             weights += m.dims.padded_weights();
                           }
                         }
                       }));
    }
    rates[std::to_string(bits)] = static_cast<double>(weights) / least * 1e6;
  }
  return rates;
}

int run(const Options& o) {
  register_backends();
  auto opened = Store::open(o.store);
  if (!opened.ok()) {
    std::cerr << opened.error().message << "\n";
    return 2;
  }
  const auto store = opened.take();
  if (o.decode) {
    std::cout << json{{"isa", cpu::target_name()}, {"weights_per_second", decode_rates(*store)}}.dump() << "\n";
    return 0;
  }
  const auto backend = backends().find("cpu")->make({.threads = o.threads});
  const testing::ResidentModel model(*store, static_cast<Bits>(o.bits), o.coded ? WeightForm::kCoded : WeightForm::kDecoded);
  const json golden = golden_line(o.golden);
  const double off = check(*backend, model, golden, o.bits == kExact);
  const ModelShape& shape = store->shape();
  testing::Forward forward(*backend, model, ids_of(golden, o.tokens));
  const auto whole = [&] { forward.run(shape.layers, shape.slices); };
  if (o.serve) {
    for (int runs; std::cin >> runs;) {
      json us = json::array();
      for (int i = 0; i < runs; ++i) us.push_back(microseconds_of(whole));
      std::cout << us.dump() << std::endl;
    }
    return 0;
  }
  for (int i = 0; i < 5; ++i) whole();
  json out = {{"isa", cpu::target_name()}, {"tokens", o.tokens}, {"bits", o.bits}, {"coded", o.coded}};
  out["threads"] = backend->describe()[0].threads;
  out["weight_bytes"] = model.weight_bytes();
  out["workspace_bytes"] = forward.workspace_bytes();
  out["logits_off"] = off;
  out["request"] = times(o.rounds, whole);
  out["layer"] = times(o.rounds, [&] { forward.step(Op::kLayer, 0, shape.slices); });
  std::cout << out.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace tessera

int main(int count, char** words) { return tessera::run(tessera::parse(count, words)); }
