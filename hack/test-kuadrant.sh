#!/usr/bin/env bash
# Runs the decision tests of the policies on a cluster with Kuadrant: that of KUBECONFIG, which needs Istio, the Gateway API, and a network to fetch
# Kuadrant's public Helm chart and images with. Kuadrant is installed where it is not, and stays; all else is taken away. TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pinned=1.5.2 repository=https://kuadrant.io/helm-charts/ kuadrant=kuadrant-system

prerequisites() {
  [[ -n ${KUBECONFIG:-} ]] || die "KUBECONFIG is not set: set it to that of a cluster that you may install Kuadrant in"
  have kubectl || die "kubectl is not on the PATH: install it"
  kubectl version >/dev/null 2>&1 || die "the cluster of KUBECONFIG \"$KUBECONFIG\" does not answer: check it with \"kubectl version\""
  kubectl get gatewayclass istio >/dev/null 2>&1 ||
    die "the cluster has no GatewayClass \"istio\": install the Gateway API and Istio first (docs/guides/istio.md)"
}

install_kuadrant() {
  if kubectl get crd authpolicies.kuadrant.io >/dev/null 2>&1; then
    log "Kuadrant is there already"
  else
    log "installing Kuadrant $pinned"
    "$HELM_BIN" upgrade --install kuadrant-operator kuadrant-operator --repo "$repository" --version "$pinned" \
      --namespace "$kuadrant" --create-namespace --wait --timeout 10m >&2 ||
      die "Kuadrant's chart could not be installed (helm's words are above): check the network, or install Kuadrant in another way and run this again"
  fi
  kubectl apply --filename - >&2 <<YAML
apiVersion: kuadrant.io/v1beta1
kind: Kuadrant
metadata: {name: kuadrant, namespace: $kuadrant}
YAML
  kubectl wait --namespace "$kuadrant" --for=condition=Ready kuadrant/kuadrant --timeout=10m >&2 ||
    die "Kuadrant does not become ready: see \"kubectl describe kuadrant kuadrant --namespace $kuadrant\""
}

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
prerequisites
HELM_BIN=$("$HACK_DIR/helm.sh")
export HELM_BIN
install_kuadrant
start=$SECONDS
KUADRANT_CLUSTER=mcp-gateway-test-$$ go test -count=1 -timeout 60m -run '^TestKuadrantCluster$' ${flags[@]+"${flags[@]}"} ./charts ||
  die "decision tests on Kuadrant: failed after $((SECONDS - start)) s"
log "decision tests on Kuadrant: ok, $((SECONDS - start)) s"
