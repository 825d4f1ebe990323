// Reads the flags that several commands share, with their units.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "framework/registry.h"
#include "scheduler/session.h"

namespace tessera {

// Budgets of `run` and `plan` where none are given.
inline constexpr Duration kDefaultLatency = milliseconds(20);
inline constexpr Bytes kDefaultMemory = mib(8);
inline constexpr const char* kDefaultPolicy = "sti";
// Who proves bounds for `compare`, where it is registered.
inline constexpr const char* kReferencePolicy = "optimal";

struct OutputFlags {
  bool json = false;
  uint64_t seed = 0;
};

// What machine to use, and how.
struct MachineFlags {
  std::vector<std::string> devices;  // empty: those that need no vendor's library; {"all"}: every one
  std::string platform;              // a described machine's file
  bool virtual_time = false;
  bool jitter = false;  // in virtual time: what calibration learned of this machine's jitter, setup and contention
  int threads = 0;      // 0: all
  BytesPerSecond bandwidth{0};
  std::vector<std::pair<std::string, Bytes>> device_memory;  // from --memory gpu0=64MiB
  std::string calibration;  // a folder with this machine's figures, which are taken as they are; empty: the cache
  BackendOptions backend_options() const { return {threads, bandwidth}; }
};

// What a request may use, and how it is decided.
struct RequestFlags {
  std::string policy = kDefaultPolicy;
  std::optional<Duration> latency;
  std::optional<Bytes> memory;
  Bytes preload{0};
  double quantile = 0.95;
  bool best_effort = false;
  std::optional<Bits> bits;
  std::optional<int> depth, width;
  Knobs knobs;
};

struct ModelFlags {
  std::string model;  // empty: the embedded one
  std::string shape;  // a model without weights
  bool cold = false;
};

// A value read by `parse` (a function that returns Result); its message becomes the flag's. `to` lives as long as the app.
template <typename T, typename Parse>
CLI::Option* add_quantity(CLI::App& app, const std::string& name, T& to, Parse parse, const char* unit, const char* help) {
  return app
      .add_option_function<std::string>(
          name,
          [&to, parse, name](const std::string& text) {
            auto value = parse(text);
            if (!value.ok()) throw CLI::ValidationError(name, value.error().message);
            to = value.take();
          },
          help)
      ->type_name(unit)
      ->allow_extra_args(false);
}

void add_output_flags(CLI::App& app, OutputFlags& flags);
void add_machine_flags(CLI::App& app, MachineFlags& flags);
// --memory's device forms go to `machine`.
void add_request_flags(CLI::App& app, RequestFlags& flags, MachineFlags& machine);
void add_model_flags(CLI::App& app, ModelFlags& flags);
void add_bandwidth_flag(CLI::App& app, MachineFlags& flags);

// Validators: a path or name that must be there (scripts pass "" for a variable that is not set); a whole number.
CLI::Validator not_empty();
CLI::Validator at_least(int64_t least);

// Parses argv (argv[0]: the command's name). Empty: go on. Else the exit code: 0 after --help, 2 after a message on stderr
// (and in JSON on stdout, where that is asked for).
// `texts`, where given, takes what is no flag, and all that follows "--".
std::optional<int> parse_flags(CLI::App& app, int argc, const char* const* argv, std::vector<std::string>* texts = nullptr);

// Checks the names in the flags: the policy and its knobs. kInvalid lists the known ones and the nearest.
Status check_policy(const RequestFlags& flags);
// Checks bits, depth and width against the model.
Status check_fits(const RequestFlags& flags, const ModelShape& shape);
RequestOptions request_options(const RequestFlags& flags, const OutputFlags& output, Duration latency, Bytes memory);

}  // namespace tessera
