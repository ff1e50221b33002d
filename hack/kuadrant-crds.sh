#!/usr/bin/env bash
# Prints a folder with the definitions of Kuadrant's AuthPolicy and RateLimitPolicy: $KUADRANT_CRDS, else shared/crds/kuadrant beside this
# repository, else those of Kuadrant's release, downloaded once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pinned=v1.5.2
readonly origin=https://raw.githubusercontent.com/Kuadrant/kuadrant-operator/$pinned/config/crd/bases
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

download() {
  local file
  have curl || die "curl, with which Kuadrant's definitions are downloaded, is not on the PATH: install it, or set KUADRANT_CRDS"
  lock kuadrant-crds
  [[ ! -d $1 ]] || return 0
  stage
  for file in "${files[@]}"; do
    curl --fail --silent --show-error --location --connect-timeout 10 --max-time 60 --output "$STAGE/$file" "$origin/$file" >&2 ||
      die "\"$origin/$file\" could not be downloaded: check the network, or set KUADRANT_CRDS to a folder that has it (config/crd/bases of github.com/Kuadrant/kuadrant-operator)"
  done
  chmod 755 "$STAGE"
  publish "$STAGE" "$1"
}

main() {
  local target=$CACHE_DIR/kuadrant-crds/$pinned
  if [[ -n ${KUADRANT_CRDS:-} ]]; then
    folder "$KUADRANT_CRDS" || die "KUADRANT_CRDS is \"$KUADRANT_CRDS\", which has no \"${files[0]}\" and \"${files[1]}\": correct it, or unset it to have them downloaded"
  elif ! folder "$HACK_DIR/../../shared/crds"; then
    [[ -d $target ]] || download "$target"
    printf '%s\n' "$target"
  fi
}

main
