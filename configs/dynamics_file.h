// Reads what a described machine does beyond its cost models: the table [dynamics] of a platform file.
#pragma once

#include "configs/toml_table.h"
#include "framework/dynamics.h"
#include "scheduler/session.h"

namespace tessera::configs {

// `file` is the platform's; `machine` has its devices and their costs. Errors name file and line.
Result<Dynamics> read_dynamics(TomlTable& file, const Machine& machine);

}  // namespace tessera::configs
