#!/usr/bin/env bash
# Builds the router module for Envoy into a folder, bin by default, and prints the library's path. VERSION must be that of the program that the
# module is for. Where nothing has changed, Go's own cache makes it a matter of a second.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
  local folder=${1:-bin} library
  library=$folder/libmcp_gateway.so
  [[ $(go env CGO_ENABLED) == 1 ]] || die "the router module needs cgo and a C compiler (on Debian: apt-get install gcc libc6-dev)"
  mkdir -p "$folder"
  # Go removes the old library before it writes a new one, so that an Envoy that runs keeps what it has loaded.
  go build -trimpath -buildvcs=false -buildmode=c-shared -ldflags "-X main.version=${VERSION:-dev}" -o "$library" \
    ./cmd/envoy-module >&2 || {
    rm -f "$library" # it is not of this build
    die "the router module cannot be built"
  }
  rm -f "$folder/libmcp_gateway.h"
  abspath "$library"
}

cd "$HACK_DIR/.."
main "$@"
