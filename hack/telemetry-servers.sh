#!/usr/bin/env bash
# Prints the folder with what a gateway is observed by in tests, built once from the versions in hack/testservers/{collector,prometheus}/go.mod:
#   collector --config FILE             an OpenTelemetry collector with the parts that tests need
#   prometheus --config.file FILE …     Prometheus itself, without its service discoveries, which are most of what there is to build
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly modules=$HACK_DIR/testservers

# build NAME PACKAGE [FLAG...]
build() {
  log "building \"$1\" (once, some minutes at most)"
  nice go build -C "$modules/$1" -trimpath "${@:3}" -o "$STAGE/$1" "$2" >&2 || die "could not build \"$1\" (Go's words are above)"
}

main() {
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  local target
  target=$CACHE_DIR/telemetry/$(sha256 "$modules"/{collector/main.go,{collector,prometheus}/go.{mod,sum}} "${BASH_SOURCE[0]}")
  if [[ ! -d $target ]]; then
    lock telemetry
    if [[ ! -d $target ]]; then
      stage
      build collector .
      build prometheus github.com/prometheus/prometheus/cmd/prometheus -tags remove_all_sd
      publish "$STAGE" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

main
