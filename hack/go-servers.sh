#!/usr/bin/env bash
# Prints the folder with the Go SDKs' own conformance servers, built once from the versions in hack/testservers/go.mod:
#   go-sdk-everything-server -http=127.0.0.1:PORT [-stateless=false]
#   mcp-go-conformance-server                       (listens on $CONFORMANCE_ADDR)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly module=$HACK_DIR/testservers

build() {
  log "building \"$1\" (once)"
  go build -C "$module" -trimpath -o "$STAGE/$1" "$2" >&2 || die "could not build \"$1\" (Go's words are above)"
}

main() {
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  local target
  target=$CACHE_DIR/testservers/$(sha256 "$module/go.mod" "$module/go.sum" "${BASH_SOURCE[0]}")
  if [[ ! -d $target ]]; then
    lock testservers
    if [[ ! -d $target ]]; then
      stage
      build go-sdk-everything-server github.com/modelcontextprotocol/go-sdk/conformance/everything-server
      build mcp-go-conformance-server github.com/mark3labs/mcp-go/examples/conformance
      publish "$STAGE" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

main
