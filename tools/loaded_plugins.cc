// Loads plug-ins for the command, and tells what became of them.
#include "tools/loaded_plugins.h"

#include <cstdio>

#include <spdlog/spdlog.h>

namespace tessera {
namespace {

std::vector<Plugin>& kept() {
  static std::vector<Plugin> plugins;
  return plugins;
}

}  // namespace

void load_named_plugins() {
  kept() = load_plugins();
  for (const Plugin& plugin : kept())
    if (!plugin.refused.empty()) spdlog::warn("plug-in {} is refused: {}", plugin.path, plugin.refused);
}

const std::vector<Plugin>& loaded_plugins() { return kept(); }

void print_refused_plugins() {
  for (const Plugin& plugin : kept())
    if (!plugin.refused.empty()) std::printf("refused plug-in %s: %s\n", plugin.path.c_str(), plugin.refused.c_str());
}

Json plugins_json() {
  Json list = Json::array();
  for (const Plugin& plugin : kept())
    list.push_back({{"path", plugin.path},
                    {"policies", plugin.policies},
                    {"backends", plugin.backends},
                    {"refused", plugin.refused.empty() ? Json(nullptr) : Json(plugin.refused)}});
  return list;
}

}  // namespace tessera
