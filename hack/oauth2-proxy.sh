#!/usr/bin/env bash
# Prints the path of oauth2-proxy: $OAUTH2_PROXY_BIN, else one that is built once from the version in hack/testservers/oauth2-proxy/go.mod, which is
# that of the image in docs/guides/status-page-login.md.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly module=$HACK_DIR/testservers/oauth2-proxy package=github.com/oauth2-proxy/oauth2-proxy/v7

main() {
  local target
  if [[ -n ${OAUTH2_PROXY_BIN:-} ]]; then
    target=$(abspath "$OAUTH2_PROXY_BIN") || die "OAUTH2_PROXY_BIN is \"$OAUTH2_PROXY_BIN\", which does not exist: correct it, or unset it to have one built"
    [[ -f $target && -x $target ]] || die "OAUTH2_PROXY_BIN is \"$OAUTH2_PROXY_BIN\", which is not an executable file: correct it, or unset it to have one built"
    printf '%s\n' "$target"
    return
  fi
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  target=$CACHE_DIR/oauth2-proxy/$(sha256 "$module/go.mod" "$module/go.sum" "${BASH_SOURCE[0]}")/oauth2-proxy
  if [[ ! -x $target ]]; then
    lock oauth2-proxy
    if [[ ! -x $target ]]; then
      stage
      log "building oauth2-proxy (once, some minutes at most)"
      nice go build -C "$module" -trimpath -o "$STAGE/oauth2-proxy" "$package" >&2 || die "could not build \"$package\" (Go's words are above)"
      publish "$STAGE/oauth2-proxy" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

main
