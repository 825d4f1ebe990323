// What bench_simulator runs on both sides: plans that are decided once and then held, and what is counted of them.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "framework/registry.h"
#include "scheduler/session.h"

namespace tessera {

inline double quantile(std::vector<double> v, double q) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  return v[std::min(v.size() - 1, static_cast<size_t>(q * static_cast<double>(v.size())))];
}
inline double median(const std::vector<double>& v) { return quantile(v, 0.5); }

// Decides as the policy of knob "of" does for the latency of knob "latency", once for each case and state of the buffer:
// both sides then run the same plan, whatever their costs have become.
class HeldPolicy final : public Policy {
 public:
  std::string_view name() const override { return "held"; }
  std::string_view summary() const override { return "holds another policy's plans"; }
  std::vector<KnobDescription> knobs() const override {
    return {{"of", "", "", "the policy"}, {"case", "", "", "whose plan"}, {"latency", "ns", "", "its budget"}};
  }
  Result<Decision> decide(const PlanningView& view) override {
    static std::map<std::string, Decision> held;
    std::string key = view.knobs.at("case");
    for (const int depth : view.residency.exits) key += ' ' + std::to_string(depth);
    for (const ResidentShard& s : view.residency.shards)
      key += ' ' + std::to_string(s.id.layer) + '.' + std::to_string(s.id.slice) + '@' + std::to_string(s.bits);
    if (const auto known = held.find(key); known != held.end()) return known->second;
    PlanningView asked = view;
    asked.budgets.latency = {std::stoll(view.knobs.at("latency"))};
    asked.knobs.clear();
    TESSERA_ASSIGN(Decision decision, policies().find(view.knobs.at("of"))->make()->decide(asked));
    return held.emplace(key, std::move(decision)).first->second;
  }
};

struct Case {
  RequestOptions options;
  std::string policy;
  int tokens = 0;
  std::unique_ptr<Session> real, simulated;
  std::string text;  // what the plan is
  std::vector<double> real_ms, simulated_ms;
  double replayed_ms = 0;                                                      // what the plan predicts: replay times margin
  std::map<std::string, std::vector<double>> real_by_kind, simulated_by_kind;  // ms: a run's sum over its tasks of a kind
  double error() const { return median(simulated_ms) / median(real_ms) - 1; }
};

inline std::vector<Case> all_cases(const ModelShape& shape) {
  const Duration latencies[] = {milliseconds(4), milliseconds(8), milliseconds(14), milliseconds(25), milliseconds(60)};
  const Bytes memories[] = {mib(6), mib(12), mib(48)};
  std::vector<Case> cases;
  const auto add = [&](const char* policy, int tokens, Duration latency, Bytes memory, std::optional<int> depth,
                       std::optional<Bits> bits) {
    if (policies().find(policy) == nullptr) return;
    Case c;
    c.policy = policy;
    c.tokens = std::min(tokens, shape.max_tokens);
    c.options.policy = "held";
    c.options.budgets = {kForever, memory, {}};
    c.options.depth = depth;
    c.options.bits = bits;
    c.options.knobs = {{"of", policy}, {"case", std::to_string(cases.size())}, {"latency", std::to_string(latency.ns)}};
    cases.push_back(std::move(c));
  };
  for (const int tokens : {8, 12, 20, 32, 48, 64, 100, 128})
    for (const Duration latency : latencies)
      for (const Bytes memory : memories)
        for (const char* policy : {"sti", "greedy-byte", "elastic"}) add(policy, tokens, latency, memory, {}, {});
  for (const int tokens : {8, 16, 24, 40, 64, 96, 128})
    for (const int depth : shape.depths)
      for (const Bits bits : shape.bitwidths)
        for (const char* policy : {"std-pipeline", "load-exec"}) add(policy, tokens, kForever, mib(48), depth, bits);
  return cases;
}

// Spread over all that could be asked for, always the same ones.
inline void shuffle(std::vector<Case>& cases) {
  for (size_t i = cases.size(); i > 1; --i) std::swap(cases[i - 1], cases[hash_draw({7, i}) % i]);
}

inline std::string describe(const Case& c, const Plan& plan) {
  std::map<int, int> bits;
  for (const Bits b : plan.bits) ++bits[b];
  std::string text = "T=" + std::to_string(c.tokens) + " depth " + std::to_string(plan.depth) + ", shards";
  for (const auto& [b, count] : bits)
    if (b != kAbsent) text += ' ' + std::to_string(count) + "x" + std::to_string(b) + 'b';
  return text + ", loads " + std::to_string(plan.loads.size());
}

}  // namespace tessera
