#!/usr/bin/env bash
# Runs the tests of the status pages: real Envoy and a real browser. TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
env=$("$HACK_DIR/test-env.sh") && eval "$env"
env=$("$HACK_DIR/browser-env.sh") && eval "$env"
export PAGES_SCREENSHOTS=$PWD/bin/pages-screenshots
rm -rf "$PAGES_SCREENSHOTS"
mkdir -p "$PAGES_SCREENSHOTS"
start=$SECONDS
go test -race -count=1 -timeout 20m ${flags[@]+"${flags[@]}"} ./e2e/pages/... || die "status pages: failed after $((SECONDS - start)) s; screenshots are in \"$PAGES_SCREENSHOTS\""
log "status pages: ok, $((SECONDS - start)) s; screenshots are in \"$PAGES_SCREENSHOTS\""
