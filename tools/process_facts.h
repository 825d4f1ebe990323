// Measures the process itself: how long since it started, and its peak memory.
#pragma once

#include <string>

#include "framework/units.h"

namespace tessera {

// Call first in main: takes the CPU time used until then (loading, linking, static initialisers) as the time since the
// process's start. Scheduling delays before main are not seen; the kernel's own start time has only 10 ms resolution.
void mark_main();
Duration before_main();          // exec to main
Duration since_process_start();  // now
// VmHWM of /proc/self/status; 0 where that cannot be read.
Bytes peak_resident();

// The version and the linker's build ids (ELF notes NT_GNU_BUILD_ID, in hex) of the command, of libtessera and of loaded
// plug-ins that have backends: they change with every change of the code.
std::string program_version();

}  // namespace tessera
