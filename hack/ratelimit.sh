#!/usr/bin/env bash
# Prints the path of the global rate limit service (github.com/envoyproxy/ratelimit): $RATELIMIT_BIN, else one that is built once from the
# version in hack/testservers/ratelimit/go.mod. It is configured by its environment, and needs a Redis: see hack/redis.sh.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly module=$HACK_DIR/testservers/ratelimit package=github.com/envoyproxy/ratelimit/src/service_cmd

main() {
  local target
  if [[ -n ${RATELIMIT_BIN:-} ]]; then
    target=$(abspath "$RATELIMIT_BIN") || die "RATELIMIT_BIN is \"$RATELIMIT_BIN\", which does not exist: correct it, or unset it to have one built"
    [[ -f $target && -x $target ]] || die "RATELIMIT_BIN is \"$RATELIMIT_BIN\", which is not an executable file: correct it, or unset it to have one built"
    printf '%s\n' "$target"
    return
  fi
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  target=$CACHE_DIR/ratelimit/$(sha256 "$module/go.mod" "$module/go.sum" "${BASH_SOURCE[0]}")/ratelimit
  if [[ ! -x $target ]]; then
    lock ratelimit
    if [[ ! -x $target ]]; then
      stage
      log "building the global rate limit service (once, about a minute)"
      nice go build -C "$module" -trimpath -o "$STAGE/ratelimit" "$package" >&2 || die "could not build \"$package\" (Go's words are above)"
      publish "$STAGE/ratelimit" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

main
