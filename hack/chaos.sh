#!/usr/bin/env bash
# Kills replicas under load for CHAOS_TIME (a duration of Go's, such as 90s or 3m), and runs all other tests of faults. TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
export CHAOS_TIME=${CHAOS_TIME:-3m}
env=$("$HACK_DIR/test-env.sh") || exit 1
eval "$env"
# The faults first, which take less time.
faults='^Test(Replicas|FaultyServers|RestartedServers|GatewayDies|GatewayStops|StoppingHasAnEnd|EnvoyRestarts|EnvoyHotRestarts|ReloadKeepsCalls|BadReload|ClientLeaves|ReadyMeansWhole)$'
go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
export CHAOS_TIME=${CHAOS_TIME:-3m}
env=$("$HACK_DIR/test-env.sh") || exit 1
eval "$env"
# The faults first, which take less time.
faults='Replicas$|Faults?|Dies|Restarts|Restart$|Stops|Stopping|Gone|Lost|Isolat|Hang|Flood|Hostile|Recover|ReloadKeeps|BadReload|BadInput'
go test -race -count=1 -v -timeout 0 -run "$faults" ${flags[@]+"${flags[@]}"} ./e2e/dataplane
exec go test -race -count=1 -v -timeout 0 -run '^TestReplicasAreKilled$' ${flags[@]+"${flags[@]}"} ./e2e/dataplane
