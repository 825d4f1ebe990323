// Checks every byte of a store and lists each damage.
#include <cstdio>

#include "shards/store.h"
#include "tools/commands.h"
#include "tools/exit_codes.h"
#include "tools/flags.h"
#include "tools/terminal.h"

namespace tessera {
namespace {

Json report_json(const std::string& store, const VerifyReport& report) {
  Json document = new_document();
  document["store"] = store;
  document["ok"] = report.damages.empty();
  document["files"] = report.files;
  document["extents"] = report.extents;
  document["bytes"] = report.bytes;
  Json& damages = document["damages"] = Json::array();
  for (const Error& damage : report.damages)
    damages.push_back({{"code", error_word(damage.code)}, {"message", damage.message}});
  return document;
}

}  // namespace

int verify_command(int argc, const char* const* argv) {
  CLI::App app("Reads and checks every byte of a store; exit code 4 where something is damaged.", "verify");
  app.footer("Example: tessera verify /tmp/minilm.store");
  OutputFlags output;
  std::string store;
  app.add_option("STORE", store, "The store's folder")->required()->check(not_empty());
  add_output_flags(app, output);
  if (const auto code = parse_flags(app, argc, argv)) return *code;

  const auto report = verify_store(store);
  if (!report.ok()) return fail("verify", report.error(), output.json);
  if (output.json) print_json(report_json(store, *report));
  for (const Error& damage : report->damages) std::fprintf(stderr, "tessera verify: %s\n", damage.message.c_str());
  if (!output.json) {
    const Painter paint(colours_wanted());
    const std::string read = std::to_string(report->files) + " files, " + std::to_string(report->extents) + " extents, " +
                             to_string(Bytes{report->bytes});
    if (report->damages.empty())
      std::printf("%s: %s, every byte checked\n", paint(Paint::kGood, "sound").c_str(), read.c_str());
    else
      std::printf("%s: %zu damages in %s\n", paint(Paint::kBad, "damaged").c_str(), report->damages.size(), read.c_str());
  }
  return report->damages.empty() ? kExitDone : kExitData;
}

}  // namespace tessera
