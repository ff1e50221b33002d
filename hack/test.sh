#!/usr/bin/env bash
# Runs every test, one announced part after the other; the first part that fails ends it. TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"

# part NAME COMMAND...
part() {
  local name=$1 start=$SECONDS
  shift
  log "=== $name"
  "$@" || die "$name: failed after $((SECONDS - start)) s"
  log "--- $name: ok, $((SECONDS - start)) s"
}

load_env() {
  local env
  env=$("$HACK_DIR/test-env.sh") || return 1
  eval "$env"
}

need_c_compiler() {
  [[ $(go env CGO_ENABLED) == 1 ]] && return
  log "the race detector needs cgo and a C compiler (on Debian: apt-get install gcc libc6-dev)"
  return 1
}

unit() { go list ./... | grep -v /e2e | xargs go test -race -timeout 15m ${flags[@]+"${flags[@]}"}; }

# One package at a time and no cached result: these tests start processes, and measure time.
end_to_end() {
  local packages
  packages=$(go list ./e2e/... | grep -vE '/e2e/(auth|cluster|pages)(/|$)') || die "there are no end-to-end tests in ./e2e"
  xargs go test -race -count=1 -p 1 -timeout 40m ${flags[@]+"${flags[@]}"} <<<"$packages"
}

# The same tests once more, with the router inside of Envoy.
inside_envoy() { MCP_GATEWAY_TEST_ROUTER=module go test -count=1 -timeout 20m ${flags[@]+"${flags[@]}"} ./e2e/dataplane ./e2e/conformance; }

part "C compiler" need_c_compiler
part "Envoy, Node.js and MCP servers" load_env
part "go vet" go vet ./...
part "unit tests" unit
part "end-to-end tests with real Envoy, conformance included" end_to_end
part "data plane and conformance with the router inside of Envoy" inside_envoy
log "all tests passed in $SECONDS s"
