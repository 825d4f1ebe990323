#!/usr/bin/env bash
# Builds oneTBB from Debian's source package with ThreadSanitizer into DIR (cached), so that its synchronisation is seen.
#   tsan-tbb.sh DIR
# Where no source package can be had, leaves DIR without .complete: the tsan preset then runs TBB's loops on one thread.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mkdir -p "$1" && cd "$1" && pwd)
[ -f "$dir/.complete" ] && exit 0
echo "tsan-tbb: building oneTBB with -fsanitize=thread into build/tsan-tbb (once, a few minutes)" >&2
private=$dir/.apt
. "$here/private-apt.sh"
private_apt "$private" deb-src
if ! (apt-get -qq "${apt_options[@]}" update && cd "$private" && apt-get -qq "${apt_options[@]}" source onetbb) >&2; then
  echo "tsan-tbb: no source package of oneTBB to be had; its loops will run on one thread under tsan" >&2
  exit 0
fi
source=$(find "$private" -maxdepth 1 -type d -name 'onetbb-*' | head -n 1)
cmake -S "$source" -B "$private/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTBB_TEST=OFF -DTBB_STRICT=OFF \
  -DTBB_SANITIZE=thread -DTBBMALLOC_BUILD=OFF -DTBB4PY_BUILD=OFF -DCMAKE_INSTALL_PREFIX="$dir" \
  -DCMAKE_CXX_FLAGS="-fsanitize=thread" >"$dir/build.log" 2>&1
cmake --build "$private/build" >>"$dir/build.log" 2>&1
cmake --install "$private/build" >>"$dir/build.log" 2>&1
rm -rf "$private"
touch "$dir/.complete"
