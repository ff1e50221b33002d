#!/usr/bin/env bash
# Fetches what the tests of authentication need beside hack/test-env.sh and prints it as "export NAME=PATH" lines.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
  local chromium redis inspector playwright node ratelimit
  # First what a system's own packages must bring, so that nothing is downloaded in vain.
  chromium=$("$HACK_DIR/chromium.sh")
  redis=$("$HACK_DIR/redis.sh")
  "$HACK_DIR/keycloak.sh" get >/dev/null
  node=$("$HACK_DIR/node.sh" 22.19)
  inspector=$("$HACK_DIR/inspector.sh")
  playwright=$("$HACK_DIR/playwright.sh")
  ratelimit=$("$HACK_DIR/ratelimit.sh")
  printf 'export %s=%q\n' KEYCLOAK_SCRIPT "$HACK_DIR/keycloak.sh" CHROMIUM_BIN "$chromium" NODE_BIN "$node" INSPECTOR_BIN "$inspector" \
    PLAYWRIGHT_CORE "$playwright" REDIS_BIN "$redis" RATELIMIT_BIN "$ratelimit"
}

main
