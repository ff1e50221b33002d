#!/usr/bin/env bash
# Fetches what the tests of authentication need beside hack/test-env.sh and prints it as "export NAME=PATH" lines.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
  local browser ratelimit proxy
  browser=$("$HACK_DIR/browser-env.sh")
  "$HACK_DIR/keycloak.sh" get >/dev/null
  ratelimit=$("$HACK_DIR/ratelimit.sh")
  proxy=$("$HACK_DIR/oauth2-proxy.sh")
  printf '%s\n' "$browser"
  printf 'export %s=%q\n' KEYCLOAK_SCRIPT "$HACK_DIR/keycloak.sh" RATELIMIT_BIN "$ratelimit" OAUTH2_PROXY_BIN "$proxy"
}

main
