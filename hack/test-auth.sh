#!/usr/bin/env bash
# Runs the tests of authentication: real Keycloak, Envoy, MCP servers and a real browser. TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
env=$("$HACK_DIR/test-env.sh") && eval "$env"
env=$("$HACK_DIR/auth-env.sh") && eval "$env"
export AUTH_SCREENSHOTS=$PWD/bin/auth-screenshots
rm -rf "$AUTH_SCREENSHOTS"
mkdir -p "$AUTH_SCREENSHOTS"
start=$SECONDS
# One package at a time: each starts enough for a small machine.
go test -race -count=1 -p 1 -timeout 20m ${flags[@]+"${flags[@]}"} ./e2e/auth/... || die "authentication: failed after $((SECONDS - start)) s; screenshots are in \"$AUTH_SCREENSHOTS\""
log "authentication: ok, $((SECONDS - start)) s; screenshots are in \"$AUTH_SCREENSHOTS\""
