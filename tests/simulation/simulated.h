// Opens sessions of BERT-base on the described platforms of configs/, for tests of simulated machines.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "configs/loader.h"
#include "framework/registry.h"
#include "scheduler/session.h"

namespace tessera {
void register_policies();
}  // namespace tessera

namespace tessera::testing {

inline const ModelShape& bert_base() {
  static const ModelShape shape = load_shape(std::string(TESSERA_SOURCE_DIR) + "/configs/models/bert-base.toml").take();
  return shape;
}

struct Simulated {
  explicit Simulated(const std::string& platform, uint64_t seed = 0) {
    static const bool once = [] {
      register_policies();
      return true;
    }();
    (void)once;
    auto loaded = load_platform(std::string(TESSERA_SOURCE_DIR) + "/configs/platforms/" + platform + ".toml", bert_base());
    if (!loaded.ok()) ADD_FAILURE() << loaded.error().message;
    machine = loaded.take();
    if (machine.simulation != nullptr) machine.simulation->restart(seed);
    open();
  }
  void open() {
    session.reset();
    session = Session::open(bert_base(), nullptr, accuracy, machine, {}).take();
  }
  Result<Answer> run(const RequestOptions& options, int tokens = 128) {
    return session->run(options, std::vector<int32_t>(static_cast<size_t>(tokens), 2),
                        std::vector<int32_t>(static_cast<size_t>(tokens), 0));
  }
  AccuracyModel accuracy = random_importance(bert_base(), 1);
  Machine machine;
  std::unique_ptr<Session> session;
};

inline RequestOptions asked(const std::string& policy, Duration latency, Duration starts_at = {}, uint64_t draw = 0) {
  RequestOptions options;
  options.policy = policy;
  options.budgets.latency = latency;
  options.starts_at = starts_at;
  options.draw = draw;
  return options;
}

}  // namespace tessera::testing
