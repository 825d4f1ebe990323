#!/usr/bin/env bash
# clang-tidy over the rooms' sources, with the compile commands of a build folder that is configured (assertions on: the
# analyzer believes them). One source at a time on each core.
#   lint.sh BUILD_DIR [SINCE]    only what changed since commit SINCE: sources, and those that include a changed header
set -euo pipefail
rooms='^(framework|shards|policies|scheduler|configs|tools|backends)/.*\.cc$'
if [ $# -lt 2 ]; then
  sources=$(git ls-files '*.cc')
else
  changed=$(git diff --name-only --diff-filter=d "$2" --; git ls-files --others --exclude-standard)
  if grep -qxF .clang-tidy <<<"$changed"; then exec "$0" "$1"; fi
  headers=$(grep '\.h$' <<<"$changed" | sed 's|.*|#include "&"|' || true)
  sources=$(grep '\.cc$' <<<"$changed" || true)
  if [ -n "$headers" ]; then sources+=$'\n'$(git grep -lF "$headers" -- '*.cc' || true); fi
fi
sources=$(grep -E "$rooms" <<<"$sources" | grep -v '/conformance\.cc$' | sort -u || true)
echo "lint: $(grep -c . <<<"$sources" || true) sources" >&2
# -Werror and GCC's own warnings are the compiler's business.
xargs -r -P "$(nproc)" -n 1 clang-tidy-16 -p "$1" --quiet --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-error \
  <<<"$sources" 2> >(grep -vE '^[0-9]+ warnings? generated\.$' >&2)
