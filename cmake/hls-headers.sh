#!/usr/bin/env bash
# Gets the open ap_types headers (ap_fixed.h and what it includes; Apache-2.0, Xilinx), with which the HLS kernels' fixed-point
# instances compile under g++. They come in the wheel of hls4ml on PyPI, of which nothing else is kept and nothing is installed.
#   hls-headers.sh OUT_DIR        (does nothing where OUT_DIR holds them already)
set -euo pipefail
out=$1
version=1.3.0 sha256=01bf1de2cd9bca56699b9fe3385cb1735026b022f9580fe1d73faf192dfb90f2
wheel=hls4ml-$version-py3-none-any.whl
inside=hls4ml/templates/vivado/ap_types

[ -f "$out/.complete" ] && exit 0
python3 -m pip --version >/dev/null 2>&1 || { echo "hls-headers: no pip (Debian: python3-pip); or unpack $inside of $wheel into $out" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip download -q --no-deps --only-binary=:all: -d "$work" "hls4ml==$version"
echo "$sha256  $work/$wheel" | sha256sum --check --quiet
python3 -m zipfile -e "$work/$wheel" "$work/wheel"
# Only the headers that carry the Apache licence themselves: hls_stream.h and others of that folder do not (hls/README.md).
rm -rf "$out"
mkdir -p "$out/etc"
cp "$work/wheel/$inside"/ap_{common,decl,fixed,fixed_base,fixed_ref,fixed_special,int,int_base,int_ref,int_special}.h "$out"
cp "$work/wheel/$inside/etc/ap_private.h" "$out/etc"
cp "$work/wheel/hls4ml-$version.dist-info/licenses/LICENSE" "$out"
touch "$out/.complete"
