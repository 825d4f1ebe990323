// Measures a store's accuracy profile; what was measured survives an interruption.
#include <cstdio>

#include "shards/profiler.h"
#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/interrupt.h"
#include "tools/machine_source.h"
#include "tools/terminal.h"

namespace tessera {
namespace {

struct ProfileFlags {
  OutputFlags output;
  ModelFlags model;
  MachineFlags machine;
  ProfileOptions options;
};

void declare(CLI::App& app, ProfileFlags& flags) {
  app.footer(
      "Example: tessera profile STORE --data train.tsv --dev dev.tsv --task sst2\n"
      "Interrupted, it goes on where it stopped when it is called again.");
  app.add_option("STORE", flags.model.model, "The store to profile")->required()->check(not_empty());
  app.add_option("--data", flags.options.data_path, "TSV of sentences; labels may be missing where --dev is given")
      ->required()
      ->type_name("TSV")
      ->check(not_empty());
  app.add_option("--dev", flags.options.dev_path, "Labelled TSV that accuracy is measured on (default: the rows of --data)")
      ->type_name("TSV")
      ->check(not_empty());
  app.add_option("--task", flags.options.task, "The profile's name (default: default)")->type_name("NAME");
  app.add_option("--sentences", flags.options.divergence_sentences, "Sentences of --data that are used")
      ->type_name("N")
      ->check(at_least(1));
  app.add_option("--dev-rows", flags.options.dev_rows, "Labelled rows used at most")->type_name("N")->check(at_least(1));
  app.add_option("--max-tokens", flags.options.max_tokens, "Longer rows are cut")->type_name("N")->check(CLI::Range(3, 512));
  app.add_option("--fit-plans", flags.options.fit_plans, "Random plans that the map from loss to accuracy is fitted on")
      ->type_name("N")
      ->check(at_least(1));
  app.add_option("--check-plans", flags.options.check_plans, "Random plans that the reported error is taken over")
      ->type_name("N")
      ->check(at_least(1));
  app.add_flag("--fresh", flags.options.fresh, "Forget what an interrupted profile measured");
  app.add_option("--devices", flags.machine.devices, "The device that computes (default cpu0)")
      ->type_name("NAME")
      ->expected(1);
  app.add_option("--threads", flags.machine.threads, "Threads of the CPU (default: all cores)")
      ->type_name("K")
      ->check(CLI::Range(1, 4096));
  add_output_flags(app, flags.output);
}

Result<DeviceBinding> computing_device(const Machine& machine) {
  for (size_t d = 0; d < machine.bindings.size(); ++d)
    if (computes(machine.platform.devices[d].kind)) return machine.bindings[d];
  return Error{ErrorCode::kUnavailable, "no device here computes"};
}

Result<int> execute(ProfileFlags& flags) {
  TESSERA_ASSIGN(const std::string directory, store_directory(flags.model.model));
  TESSERA_ASSIGN(const auto store, Store::open(directory));
  TESSERA_ASSIGN(const auto tokenizer, Tokenizer::from_compiled(store->tokenizer_path()));
  TESSERA_ASSIGN(const Machine machine, local_machine(flags.machine.backend_options(), flags.machine.devices));
  TESSERA_ASSIGN(const DeviceBinding device, computing_device(machine));
  const InterruptsPolled polled;
  Progress progress("profile");
  flags.options.seed = flags.output.seed != 0 ? flags.output.seed : flags.options.seed;
  flags.options.cancel = &interrupted();
  flags.options.version = TESSERA_VERSION;
  flags.options.progress = [&progress](const ProfileProgress& now) { progress.update(now.done, now.total, now.left); };
  TESSERA_ASSIGN(const StoredProfile profile,
                 profile_store(*store, *tokenizer, *device.backend, device.device, flags.options));
  progress.clear();
  const std::string path = directory + "/profiles/" + profile.task + ".json";
  if (!flags.output.json) {
    std::printf("%s\nmeasured on %s\npredicted accuracy is off by %.2f points in the mean; rank correlation %.3f\n",
                path.c_str(), profile.data.c_str(), profile.map_error_points, profile.rank_correlation);
    return 0;
  }
  Json document = new_document();
  document["profile"] = {{"path", path},
                         {"task", profile.task},
                         {"data", profile.data},
                         {"map_error_points", profile.map_error_points},
                         {"rank_correlation", profile.rank_correlation}};
  print_json(document);
  return 0;
}

}  // namespace

int profile_command(int argc, const char* const* argv) {
  CLI::App app("Measures the accuracy of submodels, shards and bitwidths, into the store.", "profile");
  ProfileFlags flags;
  declare(app, flags);
  if (const auto code = parse_flags(app, argc, argv)) return *code;
  const auto code = execute(flags);
  return code.ok() ? *code : fail("profile", code.error(), flags.output.json);
}

}  // namespace tessera
