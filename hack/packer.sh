#!/usr/bin/env bash
# Prints the path of the program that packs container images (hack/cluster/image), built once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly module=$HACK_DIR/cluster/image

main() {
  local target
  target=$CACHE_DIR/bin/image-$(sha256 "$module"/{main,pack,publish,spdx}.go "$module"/go.{mod,sum})
  if [[ ! -x $target ]]; then
    have go || die "Go is not on the PATH: install Go 1.26 or newer"
    lock packer
    if [[ ! -x $target ]]; then
      stage
      CGO_ENABLED=0 go build -C "$module" -trimpath -buildvcs=false -ldflags '-s -w' -o "$STAGE/image" . >&2 || die "could not build the packer of images (Go's words are above)"
      publish "$STAGE/image" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

main
