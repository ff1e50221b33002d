#!/usr/bin/env bash
# Runs the tests of the charts: helm renders them, and a real Kubernetes API server with the definitions of the Gateway API, Istio and Kuadrant is
# asked about every object. TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HACK_DIR/cluster/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
HELM_BIN=$("$HACK_DIR/helm.sh")
KUBEBUILDER_ASSETS=$("$HACK_DIR/kube-binaries.sh")
ISTIO_CRDS=$(module_dir "$HACK_DIR/cluster/istio" istio.io/istio)/manifests/charts/base/files/crd-all.gen.yaml
KUADRANT_CRDS=$("$HACK_DIR/kuadrant-crds.sh")
export HELM_BIN KUBEBUILDER_ASSETS ISTIO_CRDS KUADRANT_CRDS
start=$SECONDS
go test -count=1 -timeout 20m ./charts/... ${flags[@]+"${flags[@]}"} || die "tests of the charts: failed after $((SECONDS - start)) s"
log "tests of the charts: ok, $((SECONDS - start)) s"
