// Declares the shared flags on CLI11 and reads their values.
#include "tools/flags.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "configs/units.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"

namespace tessera {
namespace {

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

// Whether JSON is asked for: told before the flags could be parsed.
bool json_wanted(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--") return false;
    if (word == "--format=json" || (word == "--format" && i + 1 < argc && argv[i + 1] == std::string_view("json")))
      return true;
  }
  return false;
}

}  // namespace

CLI::Validator not_empty() {
  return CLI::Validator([](const std::string& text) { return text.empty() ? std::string("'' names nothing") : ""; }, "");
}

CLI::Validator at_least(int64_t least) {
  return CLI::Validator(
      [least](const std::string& text) {
        int64_t value = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (failure == std::errc() && end == text.data() + text.size() && value >= least) return std::string();
        std::string wrong(1, '\'');  // GCC 12 warns of "'" + text (its bug 105651)
        return wrong.append(text).append("' is not a whole number of at least ").append(std::to_string(least));
      },
      "");
}

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
  app.add_option("--seed", flags.seed, "Random seed (default 0)")->type_name("N")->check(at_least(0));
}

void add_bandwidth_flag(CLI::App& app, MachineFlags& flags) {
  const auto at_least_a_megabyte = [](const std::string& text) -> Result<BytesPerSecond> {
    auto rate = parse_bandwidth(text);
    if (!rate.ok() || rate->value >= 1e6) return rate;
    return Error{ErrorCode::kInvalid, text + " is less than 1MB/s, the least that loads are held to"};
  };
  add_quantity(app, "--bandwidth", flags.bandwidth, at_least_a_megabyte, "RATE",
               "Hold reads from storage to this rate, e.g. 83MB/s");
}

void add_machine_flags(CLI::App& app, MachineFlags& flags) {
  app.add_option("--devices", flags.devices,
                 "Devices that may compute: names, or all (default: those that need no vendor's library)")
      ->delimiter(',')
      ->type_name("A,B|all")
      ->expected(1)  // argument; each is a list
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  app.add_option("--platform", flags.platform, "A described machine's file; with --virtual it runs in virtual time")
      ->type_name("FILE")
      ->check(not_empty());
  app.add_flag("--virtual", flags.virtual_time, "Run in virtual time, from cost models alone");
  app.add_flag("--jitter", flags.jitter,
               "With --virtual: draw this machine's jitter, setup and contention from its calibration, by --seed");
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
  app.add_option("--depth,--exit", flags.depth, "Answer from the exit after layer N")->type_name("N")->check(at_least(0));
  app.add_option("--width", flags.width, "Slices of each layer")->type_name("M")->check(at_least(0));
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
      ->type_name("DIR")
      ->check(not_empty());
  app.add_flag("--cold", flags.cold, "Reads bypass the page cache");
}

std::optional<int> parse_flags(CLI::App& app, int argc, const char* const* argv, std::vector<std::string>* texts) {
  // Not a positional of CLI11's: that would take "[a, b]" for a list.
  app.allow_extras();
  const auto wrong_use = [&](const std::string& message) {
    return fail(app.get_name(), {ErrorCode::kInvalid, message}, json_wanted(argc, argv));
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help("tessera").c_str(), stdout);
    return kExitDone;
  } catch (const CLI::ParseError& error) { return wrong_use(error.what()); }
  bool only_texts = false;
  for (const std::string& extra : app.remaining()) {
    if (!only_texts && extra == "--") {
      only_texts = true;
    } else if (!only_texts && extra.size() > 1 && extra[0] == '-') {
      return wrong_use(unknown_name("flag", extra.substr(0, extra.find('=')), flag_names(app)) +
                       (texts ? "; a text that starts with '-' comes after --" : ""));
    } else if (texts != nullptr) {
      texts->push_back(extra);
    } else {
      return wrong_use("what to do with '" + extra + "'? See tessera " + app.get_name() + " --help");
    }
  }
  return std::nullopt;
}

Status check_policy(const RequestFlags& flags) {
  const auto* entry = policies().find(flags.policy);
  if (entry == nullptr) return Error{ErrorCode::kInvalid, unknown_name("policy", flags.policy, policies().names())};
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
