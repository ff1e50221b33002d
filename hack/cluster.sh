#!/usr/bin/env bash
# Makes test clusters: Kubernetes with the Gateway API and Istio, and nothing of this gateway's.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HACK_DIR/cluster/lib.sh"

# die also keeps the reason, which is said again after all that a failed start shows.
die() {
  why=$*
  log "error: $why"
  exit 1
}

usage() {
  cat <<'TEXT'
usage: hack/cluster.sh [--name NAME] COMMAND

  up [--owner PID] [--publish PORT:NODEPORT]...
                          brings the cluster up, if it is not; with an owner it is taken down when that process has ended
  down                    takes it down, and leaves nothing of it
  prepare                 has everything made that a cluster is made of, which takes long the first time; up does so as well
  status                  tells whether it is up
  env                     prints what to evaluate in a shell, so that kubectl and helm find the cluster
  kubectl ARGUMENT...     runs kubectl
  helm ARGUMENT...        runs helm
  load-image ARCHIVE...   gives the nodes images, as cluster-images.sh makes them
  forward ADDRESS:PORT    carries a port of this machine, which it prints, to an address in the cluster, until it is stopped
  stop|start COMPONENT    one of Kubernetes' own programs, such as kube-apiserver
  exec COMMAND...         runs a command inside the node

The name is "mcp-gateway", if $CLUSTER_NAME does not give another; clusters with different names do not touch each other.
TEXT
}

progress() { log "$(printf '%4d s  %s' "$((SECONDS - begun))" "$1")"; }

# choose NAME: the cluster that is meant.
choose() {
  NAME=$1 STATE=$CACHE_DIR/clusters/$1
  [[ $NAME =~ ^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$ ]] || die "the name of a cluster is \"$NAME\": want at most 40 small letters, digits and dashes between them"
}

# environment: what kubectl and helm look at. Their caches go with the cluster.
environment() {
  export KUBECONFIG=$STATE/kubeconfig KUBECACHEDIR=$STATE/cache/kubectl KUBECTL_BIN=$KUBE/kubectl HELM_BIN=$PROGRAMS/helm
  export HELM_CACHE_HOME=$STATE/cache/helm HELM_CONFIG_HOME=$STATE/cache/helm-config HELM_DATA_HOME=$STATE/cache/helm-data
}

kubectl() { "$KUBE/kubectl" "$@"; }
helm() { "$PROGRAMS/helm" "$@"; }

# prepare: all that a cluster is made of, which takes long the first time.
prepare() {
  backend_prepare
  PROGRAMS=$("$HACK_DIR/cluster-programs.sh")
  IMAGES=$("$HACK_DIR/cluster-images.sh" platform)
}

# known: what prepare has found when the cluster was brought up.
known() {
  if [[ ! -f $STATE/made-of ]] || ! backend_alive; then die "the cluster \"$NAME\" is not up: hack/cluster.sh --name $NAME up"; fi
  # shellcheck disable=SC1091 # written by up
  . "$STATE/made-of"
  environment
}

# remove: the cluster that was chosen, however far it got.
remove() {
  [[ -d $STATE ]] || return 0
  backend_down
  # It may be the watcher that does this.
  [[ $(process watch) == "$$" ]] || end watch TERM
  rm -rf "$STATE"
}

# sweep: clusters whose owner is no more, or that are no more themselves, such as after the machine was switched off. One that is being
# made holds its lock.
sweep() {
  local dir
  for dir in "$CACHE_DIR"/clusters/*/; do
    [[ -f $dir/processes ]] || continue
    (
      choose "$(basename "$dir")"
      exec 9>"$CACHE_DIR/locks/cluster-$NAME"
      ! have flock || flock -n 9 || exit 0
      ! backend_alive || { [[ -f $STATE/owned ]] && ! process owner >/dev/null; } || exit 0
      log "removing the cluster \"$NAME\", which a run left behind"
      remove
    )
  done
}

# watch OWNER: takes the cluster down when its owner has ended without having done so.
watch() {
  : >"$STATE/owned"
  remember owner "$1"
  # shellcheck disable=SC2016 # expanded by the inner shell
  setsid bash -c 'while kill -0 "$1"; do sleep 1; done 2>/dev/null; exec "$2" --name "$3" down' watch "$1" "$HACK_DIR/cluster.sh" "$NAME" >/dev/null 2>&1 </dev/null 9>&- &
  remember watch $!
}

# install_platform: the Gateway API in the version that the gateway is built with, and Istio.
install_platform() {
  local gateway istio
  gateway=$(module_dir "$HACK_DIR/.." sigs.k8s.io/gateway-api)/config/crd/standard
  istio=$(module_dir "$HACK_DIR/cluster/istio" istio.io/istio)/manifests/charts
  kubectl apply --server-side -f "$gateway" -f "$istio/base/files/crd-all.gen.yaml" >/dev/null || die "the definitions of the Gateway API and of Istio cannot be installed"
  kubectl wait --for=condition=Established customresourcedefinition --all --timeout=30s >/dev/null || die "the definitions of the Gateway API and of Istio were not established"
  progress "Gateway API"
  helm upgrade --install istiod "$istio/istio-control/istio-discovery" --namespace istio-system --create-namespace \
    --values "$HACK_DIR/cluster/istiod.yaml" --wait --timeout 90s >/dev/null || die "istiod was not ready in time (helm's words are above)"
  progress "Istio"
}

# failed: after an error in up. What is shown here would be gone with the cluster.
failed() {
  backend_words
  if [[ ${have_api:-} ]]; then
    kubectl get pods --all-namespaces -o wide >&2 || true
    kubectl get events --all-namespaces --sort-by=.lastTimestamp 2>/dev/null | tail -n 20 >&2 || true
  fi
  log "the cluster \"$NAME\" did not come up, and is taken down again: ${why:-it was told to stop, or see above}"
  remove
}

up() {
  local owner='' publish=()
  while (($# > 0)); do
    case $1 in
    --owner) owner=${2:?"is missing: give the id of a process after --owner"} ;;
    --publish)
      [[ ${2:-} =~ ^[0-9]+:[0-9]+$ ]] || die "--publish wants PORT:NODEPORT, such as 8080:30080, not \"${2:-}\""
      publish+=("$2")
      ;;
    *) die "up knows no \"$1\"; hack/cluster.sh help tells what it knows" ;;
    esac
    shift 2
  done
  [[ -z $owner || -n $(started "$owner") ]] || die "the owner \"$owner\" is not a process that runs"
  prepare
  lock "cluster-$NAME"
  if [[ -f $STATE/up ]] && backend_alive; then
    log "the cluster \"$NAME\" is up already"
    return
  fi
  remove
  sweep
  # What was prepared may have taken long; now it counts.
  begun=$SECONDS
  mkdir -p "$STATE"
  printf '%s=%q\n' KUBE "$KUBE" PROGRAMS "$PROGRAMS" IMAGES "$IMAGES" CNI "${CNI:-}" >"$STATE/made-of"
  environment
  trap 'failed' EXIT
  trap 'exit 1' INT TERM HUP
  [[ -z $owner ]] || watch "$owner"
  backend_up ${publish[@]+"${publish[@]}"}
  have_api=yes
  install_platform
  backend_ready
  : >"$STATE/up"
  trap - EXIT
  progress "the cluster \"$NAME\" is up"
}

# down does as well when there is nothing: it is what cleans up after anything.
down() {
  lock "cluster-$NAME"
  if [[ ! -d $STATE ]]; then
    log "there is no cluster \"$NAME\""
    return
  fi
  remove
  rmdir "$CACHE_DIR/clusters" 2>/dev/null || true
  log "the cluster \"$NAME\" is gone"
}

print_env() {
  local name
  for name in KUBECONFIG KUBECACHEDIR KUBECTL_BIN HELM_BIN HELM_CACHE_HOME HELM_CONFIG_HOME HELM_DATA_HOME; do printf 'export %s=%q\n' "$name" "${!name}"; done
}

status() {
  if [[ -f $STATE/up ]] && backend_alive; then
    printf 'up\n'
  else
    printf 'down\n'
  fi
}

main() {
  local command begun=$SECONDS
  choose "${CLUSTER_NAME:-mcp-gateway}"
  if [[ ${1:-} == --name ]]; then
    choose "${2:-}"
    shift 2
  fi
  command=${1:-help}
  (($# == 0)) || shift
  . "$HACK_DIR/cluster/node/backend.sh"
  case $command in
  up | down | status) "$command" "$@" ;;
  prepare) prepare ;;
  env) known && print_env ;;
  kubectl) known && exec "$KUBECTL_BIN" "$@" ;;
  helm) known && exec "$HELM_BIN" "$@" ;;
  load-image) known && backend_load "$@" ;;
  forward | stop | start | exec) known && "backend_$command" "$@" ;;
  help) usage ;;
  *)
    usage >&2
    die "unknown command \"$command\""
    ;;
  esac
}

main "$@"
