// Loads out-of-tree plug-ins (framework/plugin.h) into the process's registries.
#pragma once

#include <string>
#include <vector>

#include "framework/units.h"

namespace tessera {

// One file that was found, and what became of it.
struct Plugin {
  std::string path;
  std::vector<std::string> policies, backends;  // registered names
  std::string refused;                          // why it, or one of its names, was refused; empty: it was not
};

struct PluginOptions {
  // Of files that were tried and found good: $XDG_CACHE_HOME/tessera/plugins, else ~/.cache/tessera/plugins.
  std::string cache_directory;
  Duration limit = milliseconds(5000);  // for trying one
};

// `search_path`: folders, of which every *.so is loaded, and files, separated by colons. A file that is new (by path, size,
// times, and by this program) is first tried in a forked child: opened, compared, registered, its policies and backends made
// and, unless they are on demand, their devices listed. What crashes there, hangs, throws or was built for another tessera
// is refused, and nothing of it enters this process. Names that are taken are refused one by one. What was refused is tried
// again the next time.
// Call once, after the built-in names were registered and before the process has a second thread.
std::vector<Plugin> load_plugins(const std::string& search_path, const PluginOptions& options = {});

// Of TESSERA_PLUGIN_PATH; nothing where it is not set, or the process runs with another user's rights.
std::vector<Plugin> load_plugins();

}  // namespace tessera
