#!/usr/bin/env bash
# Prints a folder with the programs that a test cluster needs beside Kubernetes' own (those are of kube-binaries.sh), built once from
# the versions that hack/cluster pins: Istio's pilot-discovery and pilot-agent, coredns, helm, and our own pause and forward.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pins=$HACK_DIR/cluster

# key: of everything that the programs are built from.
key() {
  sha256 "$HACK_DIR/cluster-programs.sh" "$pins"/{istio,helm}/go.{mod,sum} "$pins"/coredns/{go.mod,go.sum,main.go} "$pins"/{pause,forward}/main.go
}

# build NAME DIR PACKAGE [FLAG...]
build() {
  local name=$1 dir=$2 package=$3 start=$SECONDS
  shift 3
  log "building \"$name\" (once)"
  CGO_ENABLED=0 nice go build -C "$dir" -trimpath -buildvcs=false -ldflags '-s -w' "$@" -o "$STAGE/$name" "$package" >&2 ||
    die "could not build \"$name\" (Go's words are above): check the network and GOPROXY"
  log "built \"$name\" in $((SECONDS - start)) s"
}

build_all() {
  local istio=(-tags "vtprotobuf,disable_pgv")
  build pause "$HACK_DIR/.." ./hack/cluster/pause
  build forward "$HACK_DIR/.." ./hack/cluster/forward
  build coredns "$pins/coredns" .
  build helm "$pins/helm" helm.sh/helm/v3/cmd/helm
  build pilot-agent "$pins/istio" istio.io/istio/pilot/cmd/pilot-agent "${istio[@]}"
  build pilot-discovery "$pins/istio" istio.io/istio/pilot/cmd/pilot-discovery "${istio[@]}"
}

main() {
  local target
  target=$CACHE_DIR/cluster/programs-$(key)
  if [[ ! -d $target ]]; then
    have go || die "Go is not on the PATH: install Go 1.26 or newer"
    lock cluster-programs
    if [[ ! -d $target ]]; then
      stage
      log "building the programs of a test cluster (once, about ten minutes of processor time)"
      build_all
      chmod 755 "$STAGE"
      publish "$STAGE" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

main
