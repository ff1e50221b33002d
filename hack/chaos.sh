#!/usr/bin/env bash
# Runs the tests of faults, and then kills replicas under load for CHAOS_TIME (a duration of Go's, such as 90s or 3m). TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
export CHAOS_TIME=${CHAOS_TIME:-3m}
env=$("$HACK_DIR/test-env.sh") || exit 1
eval "$env"
faults='^Test(Replicas|FaultyServers|RestartedServers|GatewayDies|GatewayStops|StoppingHasAnEnd|EnvoyRestarts|EnvoyHotRestarts|ReloadKeepsCalls|BadReload|ClientLeaves|ReadyMeansWhole)$'
log "faults of servers, Redis, Envoy and the gateway"
go test -race -count=1 -v -timeout 0 -run "$faults" ${flags[@]+"${flags[@]}"} ./e2e/dataplane
log "how long calls take while other servers hang, flood and reset"
go test -count=1 -v -timeout 0 -run '^TestFiftyServersTime$' ${flags[@]+"${flags[@]}"} ./e2e/dataplane
log "replicas are killed for $CHAOS_TIME"
exec go test -race -count=1 -v -timeout 0 -run '^TestReplicasAreKilled$' ${flags[@]+"${flags[@]}"} ./e2e/dataplane
