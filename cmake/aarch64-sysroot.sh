#!/usr/bin/env bash
# Unpacks the arm64 development packages into DIR, with an apt configuration of its own: the user's dpkg stays untouched.
#   aarch64-sysroot.sh DIR
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mkdir -p "$1" && cd "$1" && pwd)
packages="libtbb-dev libtbb12 libtbbmalloc2 libtbbbind-2-5 liburing-dev liburing2 libeigen3-dev libhwy-dev libhwy1 libspdlog-dev
 libspdlog1.10 libfmt-dev libfmt9 libcli11-dev nlohmann-json3-dev libtomlplusplus-dev libtomlplusplus3 libxxhash-dev libxxhash0
 libutf8proc-dev libutf8proc2 libgtest-dev libgmock-dev libbenchmark-dev libbenchmark1debian libhwloc15 libudev1 libnuma1
 opencl-headers opencl-c-headers"
[ "$(cat "$dir/.complete" 2>/dev/null)" = "$packages" ] && exit 0
echo "aarch64-sysroot: unpacking arm64 development packages into build/aarch64-sysroot" >&2
private=$dir/.apt
. "$here/private-apt.sh"
private_apt "$private" deb arm64
apt-get -qq "${apt_options[@]}" update
# Names of the runtime packages differ between releases: take those that this one has.
known=$(for p in $packages; do apt-cache "${apt_options[@]}" show "$p" >/dev/null 2>&1 && echo "$p"; done)
# shellcheck disable=SC2086
(cd "$private" && apt-get -qq "${apt_options[@]}" download $known)
for deb in "$private"/*.deb; do dpkg-deb -x "$deb" "$dir"; done
rm -rf "$private"
printf '%s\n' "$packages" >"$dir/.complete"
