#!/usr/bin/env bash
# Prints the path of a Redis server: $REDIS_BIN, else redis-server or valkey-server on the PATH. It is not fetched: it comes with a system's own
# packages.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly advice="install it (on Debian: apt-get install redis-server; on macOS: brew install redis) or set REDIS_BIN"

runs() { [[ -f $1 && -x $1 ]] && "$1" --version >/dev/null 2>&1 </dev/null; }

main() {
  local name bin
  if [[ -n ${REDIS_BIN:-} ]]; then
    bin=$(abspath "$REDIS_BIN") || die "REDIS_BIN is \"$REDIS_BIN\", which does not exist: correct it, or unset it to have the PATH searched"
    runs "$bin" || die "REDIS_BIN is \"$REDIS_BIN\", which does not run: correct it, or unset it to have the PATH searched"
    printf '%s\n' "$bin"
    return
  fi
  for name in redis-server valkey-server; do
    if bin=$(abspath "$name") && runs "$bin"; then
      printf '%s\n' "$bin"
      return
    fi
  done
  die "no redis-server is on the PATH: $advice"
}

main
