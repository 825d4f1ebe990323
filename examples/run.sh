#!/usr/bin/env bash
# Builds each example against an installed tessera and runs it: what CTest's `examples` and .ci/run do.
#   run.sh BUILD WORK    installs the built folder BUILD under WORK, and builds the examples there
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$1" && pwd)
mkdir -p "$2" && work=$(cd "$2" && pwd)
export XDG_CACHE_HOME=$work/cache CMAKE_PREFIX_PATH=$work/prefix
unset TESSERA_PLUGIN_PATH

rm -rf "$work/prefix"
cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
tessera=$work/prefix/bin/tessera
text="a gripping, beautifully acted film that stays with you."
patient=(--latency 60s --memory 64MiB)

example() {  # NAME: builds it in $work/NAME
  cmake -S "$here/$1" -B "$work/$1" >"$work/$1.log"
  cmake --build "$work/$1" >>"$work/$1.log" || { cat "$work/$1.log"; exit 1; }
}
expect() {  # WHAT COMMAND...: its output has WHAT
  local what=$1; shift
  local output
  output=$("$@" 2>&1) || { echo "$output"; echo "examples: failed: $*"; exit 1; }
  grep -qF -- "$what" <<<"$output" || { echo "$output"; echo "examples: no '$what' from: $*"; exit 1; }
  echo "examples: ${*##*/} has '$what'"
}

echo "examples: every installed header stands by itself"
(cd "$work/prefix/include/tessera" && find . -name '*.h' | sed 's|^\./\(.*\)|#include "\1"|' | sort) >"$work/all_headers.cc"
"${CXX:-c++}" -std=c++20 -fsyntax-only -DTESSERA_VERSION='"0"' -I "$work/prefix/include/tessera" "$work/all_headers.cc"

expect positive "$tessera" run "$text" "${patient[@]}"

example out-of-tree-policy
export TESSERA_PLUGIN_PATH=$work/out-of-tree-policy
expect least-read.so "$tessera" policies
expect "by least-read" "$tessera" run "$text" --policy least-read "${patient[@]}"

if [ -x "$work/prefix/bin/tessera-conformance" ]; then
  expect PASSED "$work/prefix/bin/tessera-conformance" --policy=least-read
fi

example out-of-tree-backend
export TESSERA_PLUGIN_PATH=$work/out-of-tree-policy:$work/out-of-tree-backend
expect slow.so "$tessera" backends
expect "on disk0, slow0" "$tessera" run "$text" --devices slow0 --policy least-read "${patient[@]}"
if [ -x "$work/prefix/bin/tessera-conformance" ]; then
  expect PASSED "$work/prefix/bin/tessera-conformance" --backend=slow
fi
unset TESSERA_PLUGIN_PATH

example embed-in-program
expect positive "$work/embed-in-program/answer" "$work/prefix/share/tessera/models/minilm6-sst2" "$text"
echo "examples: all done"
