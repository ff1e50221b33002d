#!/usr/bin/env bash
# Prints a folder with the definitions of Kuadrant's AuthPolicy and RateLimitPolicy: $KUADRANT_CRDS, else that of Kuadrant's release, which is had as a
# Go module.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly module=github.com/kuadrant/kuadrant-operator@v1.5.2
readonly checksum=h1:uSTWe5qzyZl2bEZVf4tzQVaJgOgsiCt5UVOUJQTopFY=
readonly files=(kuadrant.io_authpolicies.yaml kuadrant.io_ratelimitpolicies.yaml)

# folder DIR: DIR or its folder "kuadrant", whichever has the files.
folder() {
  local dir
  for dir in "$1" "$1/kuadrant"; do
    [[ -f $dir/${files[0]} && -f $dir/${files[1]} ]] || continue
    abspath "$dir/"
    return
  done
  return 1
}

# field NAME JSON: what go says of a module.
field() { sed -n "s/.*\"$1\": \"\\(.*\\)\".*/\\1/p" <<<"$2" | head -n 1; }

main() {
  local said found
  if [[ -n ${KUADRANT_CRDS:-} ]]; then
    folder "$KUADRANT_CRDS" || die "KUADRANT_CRDS is \"$KUADRANT_CRDS\", which has no \"${files[0]}\" and \"${files[1]}\": correct it, or unset it to have them downloaded"
    return
  fi
  have go || die "Go, with which Kuadrant's definitions are downloaded, is not on the PATH: install Go 1.26 or newer, or set KUADRANT_CRDS"
  # In a folder without a module, so that this repository's go.mod has nothing to do with it.
  said=$(cd / && go mod download -json "$module") || die "\"$module\" could not be downloaded ($(field Error "$said")): check the network and GOPROXY, or set KUADRANT_CRDS to a folder with its config/crd/bases"
  found=$(field Sum "$said")
  [[ $found == "$checksum" ]] || die "the downloaded \"$module\" has the checksum \"$found\", not \"$checksum\": it is not used"
  folder "$(field Dir "$said")/config/crd/bases" || die "\"$module\" has no \"${files[0]}\" any more"
}

main
