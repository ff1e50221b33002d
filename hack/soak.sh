#!/usr/bin/env bash
# Runs the tests of scale in full: many sessions, reloads and servers, then a load for SOAK_TIME (a duration of Go's, such as 90s or 1h), and the load once more
# for as long without the race detector, whose own memory grows. TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
export SOAK_TIME=${SOAK_TIME:-1h}
env=$("$HACK_DIR/test-env.sh") || exit 1
eval "$env"
log "about 10 minutes of tests, and $SOAK_TIME of load"
go test -race -count=1 -v -timeout 0 ${flags[@]+"${flags[@]}"} ./e2e/scale
log "$SOAK_TIME of load without the race detector, for its memory"
exec go test -count=1 -v -timeout 0 -run '^TestSoak$' ${flags[@]+"${flags[@]}"} ./e2e/scale
