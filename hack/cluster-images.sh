#!/usr/bin/env bash
# Packs container images for test clusters, without a container engine.
#   cluster-images.sh platform                 prints a folder with those of the platform: pause, coredns, and Istio's two, whose proxy
#                                              is the Envoy that envoy.sh gives
#   cluster-images.sh gateway OUT NAME...      packs the gateway into the archive OUT, under each NAME
#   cluster-images.sh example OUT NAME...      packs the example MCP servers
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HACK_DIR/cluster/lib.sh"

cd "$HACK_DIR/.."

# pack OUT ARGUMENT...
pack() {
  local out=$1
  shift
  "$programs/image" --out "$out" "$@" || die "could not pack \"$out\" (the reason is above)"
}

# file_of PATH: the arguments for a file that has the same path in the image.
file_of() { printf -- '--file\n%s=%s\n' "$1" "$1"; }

# libraries BIN: the arguments for the libraries that a program is linked with, and for those that resolve names.
libraries() {
  local path dir=''
  while read -r path; do
    file_of "$path"
    [[ $path != */libc.so.6 ]] || dir=${path%/*}
  done < <(ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }')
  [[ -n $dir ]] || return 0
  for path in "$dir"/libnss_{dns,files}.so.2 "$dir"/libresolv.so.2; do
    [[ ! -e $path ]] || file_of "$path"
  done
}

# pack_platform ENVOY: into the staging folder.
pack_platform() {
  local istio libs
  istio=$(module_dir hack/cluster/istio istio.io/istio)
  printf 'root:x:0:0::/:\nnobody:x:65532:65532::/:\n' >"$STAGE/passwd"
  pack "$STAGE/pause.tar" --name localhost/pause:1 --file "/pause=$programs/pause" -- /pause
  pack "$STAGE/coredns.tar" --name localhost/coredns:1 --file "/coredns=$programs/coredns" -- /coredns
  pack "$STAGE/pilot.tar" --name localhost/istio/pilot:1 --file "/usr/local/bin/pilot-discovery=$programs/pilot-discovery" \
    --file "/etc/passwd=$STAGE/passwd" -- /usr/local/bin/pilot-discovery
  mapfile -t libs < <(libraries "$1")
  pack "$STAGE/proxyv2.tar" --name localhost/istio/proxyv2:1 --file "/usr/local/bin/envoy=$1" \
    --file "/usr/local/bin/pilot-agent=$programs/pilot-agent" --file "/etc/passwd=$STAGE/passwd" \
    --file "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json=$istio/tools/packaging/common/envoy_bootstrap.json" \
    ${libs[@]+"${libs[@]}"} -- /usr/local/bin/pilot-agent
  rm "$STAGE/passwd"
}

platform() {
  local envoy key target
  have ldd || die "ldd, which tells what Envoy is linked with, is not on the PATH (on Debian: apt-get install libc-bin)"
  envoy=$("$HACK_DIR/envoy.sh")
  key=$(printf '%s\n' "$programs" "$envoy" "$("$envoy" --version)" | sha256 "$HACK_DIR/cluster-images.sh" -)
  target=$CACHE_DIR/cluster/images-$key
  if [[ ! -d $target ]]; then
    lock cluster-images
    if [[ ! -d $target ]]; then
      stage
      log "packing the images of a test cluster's platform (once)"
      pack_platform "$envoy"
      publish "$STAGE" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

# own PACKAGE PROGRAM OUT NAME...: a static program of this repository, alone in its image.
own() {
  local package=$1 program=$2 out=$3 names=()
  shift 3
  (($# > 0)) || die "an image needs a name, such as localhost/$program:dev"
  [[ $out == /* ]] || out=$OLDPWD/$out
  while (($# > 0)); do names+=(--name "$1") && shift; done
  mkdir -p "$CACHE_DIR"
  stage
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$STAGE/$program" "$package" >&2 ||
    die "could not build \"$package\" (Go's words are above)"
  pack "$out" "${names[@]}" --file "/$program=$STAGE/$program" -- "/$program"
}

main() {
  local usage='usage: cluster-images.sh platform | cluster-images.sh gateway|example OUT NAME...'
  (($# == 1)) || (($# > 2)) || die "$usage"
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  programs=$("$HACK_DIR/cluster-programs.sh")
  case $1 in
  platform) platform ;;
  gateway) own ./cmd/mcp-broker-router mcp-broker-router "${@:2}" ;;
  example) own ./examples/servers example-server "${@:2}" ;;
  *) die "$usage" ;;
  esac
}

main "$@"
