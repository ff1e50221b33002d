#!/usr/bin/env bash
# Builds the container images for all platforms, each as a folder in bin/images as the OCI specifies it, with a list of what is in it (SPDX)
# for each platform. No container engine is needed, and the same commit gives the same digests anywhere.
#   images.sh [--push]   with --push they also go to the registries of their names, with the credentials that Docker's clients use
# IMAGE, IMAGE_ENVOY and IMAGE_EXAMPLE name the images, PLATFORMS says what they are for, VERSION what the programs answer to --version.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HACK_DIR/images-lib.sh"

cd "$HACK_DIR/.."
readonly out=bin/images

# image NAME "PROGRAM..." FOLDER [FLAG...]: static programs of this repository, each at the top of the image, which runs the first.
image() {
  local name=$1 programs folder=$3 args=() platform program file
  read -ra programs <<<"$2"
  shift 3
  for platform in $PLATFORMS; do
    [[ $platform == linux/* ]] || die "PLATFORMS has \"$platform\": want linux/ and one of Go's architectures, such as linux/arm64"
    args+=(--platform "$platform" --ca-certificates)
    for program in "${programs[@]}"; do
      file=$STAGE/${platform#*/}/$program
      GOARCH=${platform#*/} build_static "$program" "$file"
      args+=(--file "/$program=$file")
    done
  done
  log "packing \"$name\" for ${PLATFORMS// /, } to \"$out/$folder\""
  "$packer" --name "$name" --layout "$out/$folder" "$@" --label "org.opencontainers.image.version=$VERSION" \
    --label org.opencontainers.image.source=https://github.com/guicassolato/mcp-gateway "${args[@]}" -- "/${programs[0]}" || die "could not make the image \"$name\" (the reason is above)"
}

# envoy_image NAME [FLAG...]: Envoy with the router module, for this machine's architecture alone.
envoy_image() {
  local name=$1 content arch
  shift
  arch=$(go env GOHOSTARCH)
  log "packing \"$name\" for linux/$arch to \"$out/envoy\""
  mkdir -p "$STAGE/envoy"
  envoy_content "$STAGE/envoy" >"$STAGE/envoy/arguments"
  mapfile -t content <"$STAGE/envoy/arguments"
  "$packer" --name "$name" --layout "$out/envoy" "$@" --label "org.opencontainers.image.version=$VERSION" \
    --label org.opencontainers.image.source=https://github.com/guicassolato/mcp-gateway --platform "linux/$arch" "${content[@]}" -- /usr/local/bin/envoy ||
    die "could not make the image \"$name\" (the reason is above)"
}

# built_from: the time of the commit, which is what the images bear. Without git it is that of 1970.
built_from() { git log -1 --format=%ct 2>/dev/null || echo 0; }

main() {
  local flags=()
  case ${1:-} in
  '') ;;
  --push) flags=(--push) ;;
  *) die "usage: images.sh [--push]" ;;
  esac
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  PLATFORMS=${PLATFORMS:-linux/amd64 linux/arm64} VERSION=${VERSION:-dev}
  export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(built_from)}
  packer=$("$HACK_DIR/packer.sh")
  mkdir -p "$CACHE_DIR"
  stage
  mkdir -p "$out"
  image "${IMAGE:-localhost/mcp-gateway:dev}" "$GATEWAY_PROGRAMS" gateway ${flags[@]+"${flags[@]}"}
  envoy_image "${IMAGE_ENVOY:-localhost/mcp-gateway-envoy:dev}" ${flags[@]+"${flags[@]}"}
  image "${IMAGE_EXAMPLE:-localhost/mcp-gateway-example-server:dev}" "$EXAMPLE_PROGRAMS" example-server ${flags[@]+"${flags[@]}"}
}

main "$@"
