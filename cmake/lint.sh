#!/usr/bin/env bash
# clang-tidy over the rooms' sources, with the compile commands of a build folder; two files at a time.
#   lint.sh BUILD_DIR
set -euo pipefail
git ls-files 'framework/*.cc' 'shards/*.cc' 'policies/*.cc' 'scheduler/*.cc' 'configs/*.cc' 'tools/*.cc' 'backends/*.cc' |
  grep -v '/conformance\.cc$' | xargs -P "$(nproc)" -n 4 clang-tidy -p "$1" --quiet
