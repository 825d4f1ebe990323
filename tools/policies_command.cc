// Lists the registered policies and their knobs.
#include <algorithm>
#include <cstdio>

#include "framework/registry.h"
#include "tools/commands.h"
#include "tools/flags.h"
#include "tools/loaded_plugins.h"
#include "tools/terminal.h"

namespace tessera {
namespace {

Json knobs_json(const Policy& policy) {
  Json list = Json::array();
  for (const KnobDescription& knob : policy.knobs())
    list.push_back({{"name", knob.name}, {"unit", knob.unit}, {"default", knob.default_value}, {"meaning", knob.meaning}});
  return list;
}

void print_table(const Painter& paint) {
  size_t widest = 0;
  for (const auto& entry : policies().entries()) widest = std::max(widest, entry.name.size());
  const int column = static_cast<int>(widest) + 2;
  size_t longest = 0;
  for (const auto& entry : policies().entries()) longest = std::max(longest, entry.source.size());
  for (const auto& entry : policies().entries()) {
    const auto policy = entry.make();
    std::printf("%s%s%s\n", paint(Paint::kBold, pad(entry.name, column)).c_str(),
                pad(entry.source, static_cast<int>(longest) + 2).c_str(), std::string(policy->summary()).c_str());
    for (const KnobDescription& knob : policy->knobs())
      std::printf("%s--set %s=%s%s  %s\n", std::string(static_cast<size_t>(column) + 2, ' ').c_str(), knob.name.c_str(),
                  knob.default_value.c_str(), knob.unit.empty() ? "" : (" [" + knob.unit + "]").c_str(),
                  knob.meaning.c_str());
  }
}

}  // namespace

int policies_command(int argc, const char* const* argv) {
  CLI::App app("Lists who may decide, with the source of each and its knobs.", "policies");
  app.footer("Example: tessera policies --format json");
  OutputFlags output;
  add_output_flags(app, output);
  if (const auto code = parse_flags(app, argc, argv)) return *code;
  if (!output.json) {
    print_table(Painter(colours_wanted()));
    print_refused_plugins();
    return 0;
  }
  Json document = new_document();
  Json& list = document["policies"] = Json::array();
  for (const auto& entry : policies().entries()) {
    const auto policy = entry.make();
    list.push_back(
        {{"name", entry.name}, {"source", entry.source}, {"summary", policy->summary()}, {"knobs", knobs_json(*policy)}});
  }
  document["plugins"] = plugins_json();
  print_json(document);
  return 0;
}

}  // namespace tessera
