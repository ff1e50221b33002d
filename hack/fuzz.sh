#!/usr/bin/env bash
# fuzz.sh TIME [JOBS]: runs every fuzz target for TIME, JOBS of them at once (1 by default) with a share of the processors each, and goes on after a failure.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
fuzztime=${1:?"usage: fuzz.sh TIME [JOBS], such as 30s"} jobs=${2:-1}
workers=$(getconf _NPROCESSORS_ONLN)
workers=$((workers > jobs ? workers / jobs : 1))

# fuzz PACKAGE TARGET: prints what was done, whole, when it is done.
fuzz() {
  local said code=0
  said=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime" -parallel "$workers" "$1" </dev/null 2>&1) || code=$?
  log "=== $1 $2, $fuzztime"$'\n'"$(tail -n 40 <<<"$said")"
  return "$code"
}
export fuzztime workers
export -f fuzz log

targets=$(find . -name '*_test.go' -not -path './.git/*' -exec grep -H '^func Fuzz[A-Z]' {} + | sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9]*).*|\1 \2|' | sort)
log "$(wc -l <<<"$targets") fuzz targets, $jobs at once, $workers workers each"
# shellcheck disable=SC2016 # for the shells that xargs starts
xargs -P "$jobs" -L 1 bash -c 'fuzz "$@"' "$0" <<<"$targets" || die "some failed: the inputs are in testdata/fuzz beside the tests"
log "none failed"
