// Declares the shared flags on CLI11 and reads their values.
#include "tools/flags.h"

#include <algorithm>
#include <cstdio>

#include "configs/units.h"
#include "tools/exit_codes.h"

namespace tessera {
namespace {

// A value read by `parse` (a function that returns Result); its message becomes the flag's.
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

Result<Bits> parse_bits(const std::string& text) {
  int bits = 0;
  if (!CLI::detail::lexical_cast(text, bits) || !valid_bits(bits))
    return Error{ErrorCode::kInvalid, "'" + text + "' is no bitwidth; known: 1, 2, 3, 4, 5, 6, 7, 8, 32 (exact)"};
  return static_cast<Bits>(bits);
}

// "8MiB", or "gpu0=64MiB".
void read_memory(const std::string& text, RequestFlags& flags, MachineFlags& machine) {
  const size_t equals = text.find('=');
  const std::string amount = equals == std::string::npos ? text : text.substr(equals + 1);
  auto bytes = parse_bytes(amount);
  if (!bytes.ok()) throw CLI::ValidationError("--memory", bytes.error().message);
  if (equals == std::string::npos || text.substr(0, equals) == "host")
    flags.memory = *bytes;
  else
    machine.device_memory.emplace_back(text.substr(0, equals), *bytes);
}

void read_knob(const std::string& text, Knobs& knobs) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) throw CLI::ValidationError("--set", "'" + text + "' is not name=value");
  knobs[text.substr(0, equals)] = text.substr(equals + 1);
}

std::string join(const std::vector<int>& numbers) {
  std::string text;
  for (const int n : numbers) text += (text.empty() ? "" : ", ") + std::to_string(n);
  return text;
}

// Long names and short ones of all options, for "did you mean".
std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

int wrong_use(const CLI::App& app, const std::string& message) {
  std::fprintf(stderr, "tessera %s: %s\n", app.get_name().c_str(), message.c_str());
  return kExitWrongUse;
}

}  // namespace

void add_output_flags(CLI::App& app, OutputFlags& flags) {
  app.add_option_function<std::string>(
         "--format",
         [&flags](const std::string& text) {
           if (text != "table" && text != "json")
             throw CLI::ValidationError("--format", unknown_name("format", text, {"table", "json"}));
           flags.json = text == "json";
         },
         "table (default) or json: JSON alone on stdout")
      ->type_name("NAME");
  app.add_option("--seed", flags.seed, "Random seed (default 0)")->type_name("N");
}

void add_bandwidth_flag(CLI::App& app, MachineFlags& flags) {
  add_quantity(app, "--bandwidth", flags.bandwidth, parse_bandwidth, "RATE",
               "Hold reads from storage to this rate, e.g. 83MB/s");
}

void add_machine_flags(CLI::App& app, MachineFlags& flags) {
  app.add_option("--devices", flags.devices, "Devices that may compute: names, or all (default)")
      ->delimiter(',')
      ->type_name("A,B|all")
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--platform", flags.platform, "A described machine's file; with --virtual it runs in virtual time")
      ->type_name("FILE");
  app.add_flag("--virtual", flags.virtual_time, "Run in virtual time, from cost models alone");
  app.add_option("--threads", flags.threads, "Threads of the CPU (default: all cores)")
      ->type_name("K")
      ->check(CLI::Range(1, 4096));
  add_bandwidth_flag(app, flags);
}

void add_request_flags(CLI::App& app, RequestFlags& flags, MachineFlags& machine) {
  app.add_option("--policy", flags.policy, "Who decides (`tessera policies` lists them; default sti)")->type_name("NAME");
  add_quantity(app, "--latency", flags.latency, parse_duration, "TIME", "Latency budget, e.g. 20ms");
  app.add_option_function<std::vector<std::string>>(
         "--memory",
         [&flags, &machine](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) read_memory(text, flags, machine);
         },
         "Memory budget of the host, e.g. 8MiB; gpu0=64MiB limits a device")
      ->delimiter(',')
      ->type_name("BYTES")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  add_quantity(app, "--preload", flags.preload, parse_bytes, "BYTES",
               "Of the memory, what may hold shards before the request (default 0B)");
  app.add_option("--quantile", flags.quantile, "Of the cost model, for policies that plan with one (default 0.95)")
      ->type_name("Q")
      ->check(CLI::Range(0.5, 0.999));
  app.add_flag("--best-effort", flags.best_effort, "Where the budgets cannot be met: the least-late plan");
  add_quantity(app, "--bits", flags.bits, parse_bits, "1..8|32", "One bitwidth for every shard; 32 is exact");
  app.add_option("--depth,--exit", flags.depth, "Answer from the exit after layer N")->type_name("N");
  app.add_option("--width", flags.width, "Slices of each layer")->type_name("M");
  app.add_option_function<std::vector<std::string>>(
         "--set",
         [&flags](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) read_knob(text, flags.knobs);
         },
         "A knob of the policy; may be repeated")
      ->type_name("NAME=VALUE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

void add_model_flags(CLI::App& app, ModelFlags& flags) {
  app.add_option("--model", flags.model, "A store, or a Hugging Face folder (default: the embedded model)")
      ->type_name("DIR");
  app.add_flag("--cold", flags.cold, "Reads bypass the page cache");
}

std::optional<int> parse_flags(CLI::App& app, int argc, const char* const* argv, std::vector<std::string>* texts) {
  // Not a positional of CLI11's: that would take "[a, b]" for a list.
  app.allow_extras();
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help("tessera").c_str(), stdout);
    return kExitDone;
  } catch (const CLI::ParseError& error) { return wrong_use(app, error.what()); }
  bool only_texts = false;
  for (const std::string& extra : app.remaining()) {
    if (!only_texts && extra == "--") {
      only_texts = true;
    } else if (!only_texts && extra.size() > 1 && extra[0] == '-') {
      return wrong_use(app, unknown_name("flag", extra.substr(0, extra.find('=')), flag_names(app)) +
                                (texts ? "; a text that starts with '-' comes after --" : ""));
    } else if (texts != nullptr) {
      texts->push_back(extra);
    } else {
      return wrong_use(app, "what to do with '" + extra + "'? See tessera " + app.get_name() + " --help");
    }
  }
  return std::nullopt;
}

Status check_policy(const RequestFlags& flags) {
  const auto* entry = policies().find(flags.policy);
  if (entry == nullptr) {
    std::vector<std::string> names;
    for (const auto& known : policies().entries()) names.push_back(known.name);
    return Error{ErrorCode::kInvalid, unknown_name("policy", flags.policy, names)};
  }
  if (flags.knobs.empty()) return {};
  std::vector<std::string> known;
  for (const KnobDescription& knob : entry->make()->knobs()) known.push_back(knob.name);
  for (const auto& [name, value] : flags.knobs)
    if (std::find(known.begin(), known.end(), name) == known.end())
      return Error{ErrorCode::kInvalid, "--set: " + unknown_name("knob of " + flags.policy, name, known)};
  return {};
}

Status check_fits(const RequestFlags& flags, const ModelShape& shape) {
  if (flags.depth && !shape.legal_depth(*flags.depth))
    return Error{ErrorCode::kInvalid, "--depth " + std::to_string(*flags.depth) + ": " + shape.name + " has " +
                                          std::to_string(shape.layers) + " layers and answers after " + join(shape.depths)};
  if (flags.width && !shape.legal_width(*flags.width))
    return Error{ErrorCode::kInvalid, "--width " + std::to_string(*flags.width) + ": " + shape.name + " has " +
                                          std::to_string(shape.slices) + " slices a layer and runs with " +
                                          join(shape.widths) + " of them"};
  if (flags.bits && !shape.has_bits(*flags.bits))
    return Error{ErrorCode::kInvalid, "--bits " + std::to_string(*flags.bits) + ": " + shape.name + " is stored at " +
                                          join({shape.bitwidths.begin(), shape.bitwidths.end()}) +
                                          " bits; make a store that has it with `tessera shard HF_DIR STORE --store-bits " +
                                          std::to_string(*flags.bits) + ",...`"};
  return {};
}

RequestOptions request_options(const RequestFlags& flags, const OutputFlags& output, Duration latency, Bytes memory) {
  RequestOptions options;
  options.budgets = {flags.latency.value_or(latency), flags.memory.value_or(memory), flags.preload};
  options.policy = flags.policy;
  options.knobs = flags.knobs;
  options.depth = flags.depth;
  options.width = flags.width;
  options.bits = flags.bits;
  options.quantile = flags.quantile;
  options.best_effort = flags.best_effort;
  options.seed = output.seed;
  return options;
}

}  // namespace tessera
