// An OpenCL driver that is broken: loading it aborts or never returns, as TESSERA_BROKEN_ICD says.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((constructor)) static void load(void) {
  const char* how = getenv("TESSERA_BROKEN_ICD");
  if (how && strcmp(how, "hang") == 0)
    for (;;) pause();
  if (how && strcmp(how, "exit") == 0) _exit(0);
  abort();
}
