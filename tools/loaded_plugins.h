// Keeps what became of the plug-ins on TESSERA_PLUGIN_PATH, for messages and lists.
#pragma once

#include "scheduler/plugins.h"
#include "tools/commands.h"

namespace tessera {

// Loads them; warns of each that was refused. Once, before any thread is started.
void load_named_plugins();
const std::vector<Plugin>& loaded_plugins();

// Lines and JSON for the commands that list what there is: [{"path", "policies", "backends", "refused"}].
void print_refused_plugins();
Json plugins_json();

}  // namespace tessera
