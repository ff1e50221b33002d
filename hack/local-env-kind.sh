# shellcheck shell=bash
# Sourced by local-env.sh: the local environment in kind, a cluster whose node is a container of Docker's.
# local-env-node.sh has the same functions, backend_*, and says what each is for.
# shellcheck disable=SC2034 # what these set local-env.sh uses

# All of these fit together: the node's image is the one that is made for this kind, and Istio is of the line that hack/cluster/istio pins.
readonly KIND_VERSION=v0.33.0
readonly KIND_NODE=kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5
readonly ISTIO_VERSION=${ISTIO_VERSION:-1.31.4} ISTIO_CHARTS=https://istio-release.storage.googleapis.com/charts

# find_kind sets KIND: the one on the PATH, else it is built from its Go module, once.
find_kind() {
  if have kind; then
    KIND=kind
    return
  fi
  KIND=$CACHE_DIR/bin/kind-$KIND_VERSION
  [[ ! -x $KIND ]] || return 0
  log "building kind $KIND_VERSION (once)"
  mkdir -p "$CACHE_DIR/bin"
  GOBIN=$CACHE_DIR/bin/.kind.$$ go install "sigs.k8s.io/kind@$KIND_VERSION" >&2 || die "could not build kind (Go's words are above): check the network and GOPROXY, or install kind"
  mv -f "$CACHE_DIR/bin/.kind.$$/kind" "$KIND"
  rmdir "$CACHE_DIR/bin/.kind.$$"
}

backend_prepare() {
  have docker || die "kind needs Docker, which is not on the PATH: install it, or take CLUSTER=node, which needs Linux and root"
  docker info >/dev/null 2>&1 || die "kind needs Docker, which does not answer (docker info says why): start it, or take CLUSTER=node, which needs Linux and root"
  find_kind
}

backend_up() {
  find_kind
  "$KIND" get clusters 2>/dev/null | grep -Fqx "$NAME"
}

backend_create() {
  local made=''
  if ! backend_up; then
    log "creating the cluster with kind"
    "$KIND" create cluster --name "$NAME" --image "$KIND_NODE" --wait 180s --config - <<CONFIG || die "kind could not create the cluster (its words are above)"
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraPortMappings:
      - {containerPort: $NODEPORT_HTTP, hostPort: $HTTP, listenAddress: 127.0.0.1}
      - {containerPort: $NODEPORT_HTTPS, hostPort: $HTTPS, listenAddress: 127.0.0.1}
CONFIG
    made=yes
  fi
  backend_use
  install_platform "$made"
}

# istio_chart RELEASE CHART [ARGUMENT...]
istio_chart() {
  "$HELM" upgrade --install "$1" "$2" --repo "$ISTIO_CHARTS" --version "$ISTIO_VERSION" --namespace istio-system --create-namespace --wait --timeout 5m "${@:3}" >/dev/null ||
    die "Istio $ISTIO_VERSION cannot be installed (helm's words are above): check the network, or set ISTIO_VERSION"
}

# install_platform NEW: the Gateway API in the version that the gateway is built with, and Istio.
install_platform() {
  local definitions
  definitions=$(module_dir "$HACK_DIR/.." sigs.k8s.io/gateway-api)/config/crd/standard
  "$KUBECTL" apply --server-side -f "$definitions" >/dev/null || die "the definitions of the Gateway API cannot be installed (kubectl's words are above)"
  progress "Gateway API"
  # Unchanged they need not be fetched again.
  if [[ -z $1 ]] && "$HELM" status istiod --namespace istio-system >/dev/null 2>&1; then return 0; fi
  istio_chart istio-base base
  # A Keycloak that starts anew has new keys, which istiod would else ask for after 20 minutes.
  istio_chart istiod istiod --set-string env.PILOT_JWT_PUB_KEY_REFRESH_INTERVAL=1m --set autoscaleEnabled=false --set resources.requests.cpu=10m --set resources.requests.memory=128Mi --set meshConfig.accessLogFile=/dev/stdout
  progress "Istio $ISTIO_VERSION"
}

backend_use() {
  find_kind
  # Of our own, since the current context of the user's one may change at any time.
  export KUBECONFIG=$LOCAL/kubeconfig
  (umask 077 && "$KIND" get kubeconfig --name "$NAME" >"$KUBECONFIG") || die "kind does not tell how to reach the cluster \"$NAME\" (its words are above)"
  # type -P, since there is a function of that name too.
  KUBECTL=$(type -P kubectl) || KUBECTL=$("$HACK_DIR/kube-binaries.sh")/kubectl
  HELM=$("$HACK_DIR/helm.sh")
}

backend_load() {
  local archive
  for archive in "$@"; do "$KIND" load image-archive --name "$NAME" "$archive" >&2 || die "kind did not take the image \"$archive\" (its words are above)"; done
}

backend_keycloak() { KEYCLOAK_VALUES=(); } # the node fetches the public image

backend_delete() {
  find_kind
  "$KIND" delete cluster --name "$NAME" >&2 || die "kind could not delete the cluster (its words are above)"
}
