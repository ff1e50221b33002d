# shellcheck shell=bash
# Sourced by local-env.sh: the local environment on a node that hack/cluster.sh makes of namespaces, for machines without Docker.
# local-env-kind.sh has the same functions, backend_*.
# shellcheck disable=SC2034 # what these set local-env.sh uses

cluster() { "$HACK_DIR/cluster.sh" --name "$NAME" "$@"; }

# backend_prepare: what is needed before there is a cluster, or an error that says what is missing.
backend_prepare() { cluster prepare; }

# backend_up: whether the cluster is there.
backend_up() { [[ $(cluster status) == up ]]; }

# backend_create: a cluster with the Gateway API and Istio, whose node ports 30080 and 30443 are $HTTP and $HTTPS of this machine.
backend_create() { cluster up --publish "$HTTP:$NODEPORT_HTTP" --publish "$HTTPS:$NODEPORT_HTTPS"; }

# backend_use sets KUBECTL and HELM, and the environment by which they find the cluster.
backend_use() {
  local env
  env=$(cluster env)
  eval "$env"
  KUBECTL=$KUBECTL_BIN HELM=$HELM_BIN
}

# backend_load ARCHIVE...: gives the node images.
backend_load() { cluster load-image "$@"; }

# backend_keycloak sets KEYCLOAK_VALUES to the values of the chart by which the cluster has Keycloak's image. The node reaches no registry: its image
# is packed here, of what Maven downloads.
backend_keycloak() {
  local archive key
  key=$("$HACK_DIR/keycloak.sh" get)
  key=$({ printf '%s\n' "$key" && java -version; } 2>&1 | sha256 "$HACK_DIR/cluster-images.sh" -)
  archive=$CACHE_DIR/cluster/keycloak-$key.tar
  if [[ ! -f $archive ]]; then
    log "packing the image of Keycloak (once)"
    # Beside its place, and renamed, so that what is there is whole.
    "$HACK_DIR/cluster-images.sh" keycloak "$archive.$$" "localhost/keycloak:$key" >/dev/null
    mv -f "$archive.$$" "$archive"
  fi
  if ! cluster exec ctr -n k8s.io images list -q "name==localhost/keycloak:$key" | grep -q .; then backend_load "$archive"; fi
  KEYCLOAK_VALUES=(--set keycloak.instance.image.repository=localhost/keycloak --set "keycloak.instance.image.tag=$key"
    --set keycloak.instance.image.optimized=true --set keycloak.instance.image.pullPolicy=Never)
}

# backend_delete leaves nothing of the cluster.
backend_delete() { cluster down; }
