// Makes the machine that a command runs on: this one, calibrated on first use, or a described one in virtual time.
#pragma once

#include "scheduler/session.h"
#include "tools/flags.h"

namespace tessera {

// `plan_only`: nothing will run, so a described machine needs no --virtual. kInvalid names unknown devices and bad
// combinations of flags.
Result<Machine> open_machine(const MachineFlags& flags, const ModelShape& shape, bool plan_only);

}  // namespace tessera
