#!/usr/bin/env bash
# Prints the path of helm: that of $HELM_BIN, else the version that hack/cluster/helm pins, built once from its Go module (about three
# minutes). It is never the helm on the PATH, since what a chart renders to, and the words of an error, differ between versions.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pins=$HACK_DIR/cluster/helm

# flags: the version of Kubernetes that charts are rendered for where there is no cluster, which is that of helm's client, as in its releases.
flags() {
  local minor package=helm.sh/helm/v3/pkg/chartutil
  minor=$(awk '$1 == "k8s.io/client-go" { split($2, v, "."); print v[2] }' "$pins/go.mod")
  printf -- '-s -w -X %s.k8sVersionMajor=1 -X %s.k8sVersionMinor=%s' "$package" "$package" "$minor"
}

main() {
  local target
  if [[ -n ${HELM_BIN:-} ]]; then
    abspath "$HELM_BIN" || die "HELM_BIN is \"$HELM_BIN\", which does not exist: correct it, or unset it to have helm built"
    return
  fi
  target=$CACHE_DIR/helm/$(sha256 "$pins/go.mod" "$pins/go.sum" "${BASH_SOURCE[0]}")/helm
  if [[ ! -x $target ]]; then
    have go || die "Go is not on the PATH: install Go 1.26 or newer"
    lock helm
    if [[ ! -x $target ]]; then
      stage
      log "building helm (once, about three minutes)"
      CGO_ENABLED=0 nice go build -C "$pins" -trimpath -buildvcs=false -ldflags "$(flags)" -o "$STAGE/helm" helm.sh/helm/v3/cmd/helm >&2 ||
        die "could not build helm (Go's words are above): check the network and GOPROXY, or set HELM_BIN"
      publish "$STAGE/helm" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

main
