// Opens one plug-in: here, or first in a child that may crash.
#pragma once

#include <string>

#include "framework/registry.h"
#include "framework/result.h"

namespace tessera {

struct PluginContents {
  Registry<PolicyFactory> policies;
  Registry<BackendFactory> backends;
};

// Opens the library, compares what it was built with, and lets it register. Errors (kInvalid) say why it is refused.
Result<PluginContents> open_plugin(const std::string& path);

// Does the same in a forked child, and makes there what was registered.
Status probe_plugin(const std::string& path, Duration limit);

}  // namespace tessera
