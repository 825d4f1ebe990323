#!/usr/bin/env bash
# Checks that includes follow the arrows between rooms (docs/design.md). Prints each offence; exit 1 if there is one.
#   check-arrows.sh SOURCE_DIR
set -euo pipefail
cd "$1"
bad=0

# allow ROOM "first path components that its quoted includes may have" "angle includes that it must not have (regex)"
allow() {
  local room=$1 allowed=$2 banned=$3 line
  while IFS= read -r line; do
    echo "arrow: $line (room $room may include: $allowed)"; bad=1
  done < <(find "$room" \( -name '*.h' -o -name '*.cc' \) -print0 2>/dev/null | xargs -0 -r grep -HnE '^#include "' |
    grep -vE "#include \"(${allowed// /|})/" || true)
  [ -n "$banned" ] || return 0
  while IFS= read -r line; do
    echo "arrow: $line (not in room $room)"; bad=1
  done < <(find "$room" \( -name '*.h' -o -name '*.cc' \) -print0 2>/dev/null | xargs -0 -r grep -HnE "^#include <($banned)" || true)
}

allow framework "framework" "nlohmann|toml\+\+|CL/|xrt|CLI|hwy|liburing"
allow shards "framework shards" "toml\+\+|CL/|xrt|CLI|hwy|liburing"
allow policies "framework policies/parts" "nlohmann|toml\+\+|CL/|xrt|CLI|hwy|liburing|tbb|oneapi"
allow scheduler "framework shards scheduler" "toml\+\+|CL/|xrt|CLI|hwy|liburing"
# Described cards are priced by the kernels' cycle models: hls/cycles and what it includes, standard C++ alone.
allow configs "framework shards scheduler configs hls/cycles" "CL/|xrt|CLI|hwy|liburing"
allow hls "hls" "nlohmann|toml\+\+|CLI|hwy|liburing|tbb|oneapi|spdlog"
for folder in backends/*/; do
  name=$(basename "$folder")
  extra=""
  [ "$name" = fpga ] && extra=" hls"
  allow "backends/$name" "framework shards tests/conformance hwy backends/$name$extra" "nlohmann|toml\+\+|CLI"
done

# framework's headers stand on the standard library alone.
while IFS= read -r line; do echo "arrow: $line (headers of framework/ include std only)"; bad=1; done \
  < <(grep -HnE '^#include <(tbb|oneapi|spdlog|fmt)' framework/*.h || true)
# No core file names a concrete policy or backend.
while IFS= read -r line; do echo "arrow: $line (core files name no plug-in)"; bad=1; done \
  < <(grep -HnE '"(sti|load-exec|std-pipeline|adversarial)"' framework/*.cc shards/*.cc scheduler/*.cc 2>/dev/null || true)

[ $bad = 0 ] && echo "arrows: all includes point down"
exit $bad
