#!/usr/bin/env bash
# Checks, by disassembly, that the CPU backend's NEON kernels multiply and add four floats at a time. Prints what was counted.
#   check-neon.sh OBJDUMP ARCHIVE
set -euo pipefail
"$1" --disassemble --demangle --no-show-raw-insn "$2" | awk '
  /^[0-9a-f]+ <.*>:$/ { neon = /N_NEON/ }
  neon && $2 == "fmla" && /v[0-9]+\.4s/ { fmla++ }
  neon && $2 == "fmadd" { scalar++ }
  neon { all++ }
  END {
    printf "neon: %d fmla of 4 floats, %d fmadd of one, in %d instructions of N_NEON\n", fmla, scalar, all
    exit !(fmla >= 60 && fmla > 4 * scalar)
  }'
