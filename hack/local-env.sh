#!/usr/bin/env bash
# The local environment: a cluster on this machine with Istio, this gateway as it is in the work tree, Keycloak and example servers. `make help`
# lists the targets that run this; `local-env.sh help` the commands.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HACK_DIR/cluster/lib.sh"

readonly ROOT=$HACK_DIR/.. RELEASE=mcp-gateway NAMESPACE=mcp-system DOMAIN=127-0-0-1.sslip.io
# Keycloak's name is one by which a browser and the MCP SDKs know that the traffic stays on this machine: to others they send no code without TLS.
readonly MCP_HOST=mcp.$DOMAIN KEYCLOAK_HOST=localhost
# shellcheck disable=SC2034 # the backends use them
readonly NODEPORT_HTTP=30080 NODEPORT_HTTPS=30443
readonly INITIALIZE='{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"local-env","version":"1"}}}'

usage() {
  cat <<'TEXT'
usage: hack/local-env.sh COMMAND

  setup             makes the cluster, if it is not there, and does what deploy does
  deploy            builds the images, loads them, and installs or upgrades the release
  reload            builds and loads the images, and restarts the gateway's pods with them
  policies [FILE]   upgrades the release with other policies, or back to those of the chart's example, and restarts nothing
  forward           carries the two local ports to the gateway, until Ctrl-C
  status            shows what there is, and how it is
  logs              shows what broker, router and controller say
  token [USER]      logs in to Keycloak as one of the example's users, and prints the access token
  kubectl|helm ...  runs that for the cluster
  up                answers with success if the environment is there
  url               prints the endpoint's URL behind forward
  teardown          takes it all down, and leaves nothing of it

  CLUSTER                             kind or node; setup takes kind if Docker answers, else node
  CLUSTER_NAME                        the cluster's name (mcp-gateway)
  KIND_HOST_PORT_HTTP, _HTTPS         the ports of this machine that lead to the gateway's listeners (8080, 8443)
  GATEWAY_LOCAL_PORT_HTTP_MCP, _KEYCLOAK   the ports of forward, which are also those in the URLs of the gateway and of Keycloak (8888, 8889)
  VALUES                              a file with more values of the chart
  VERSION                             what the programs answer to --version
TEXT
}

progress() { log "$(printf '%4d s  %s' "$SECONDS" "$1")"; }

kubectl() { "$KUBECTL" "$@"; }
helm() { "$HELM" "$@"; }

# taken PORT: whether something listens there.
taken() { (: <>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# --- Which cluster ---

# choose_new sets CLUSTER to the kind of cluster that setup is to make.
choose_new() {
  [[ -n $CLUSTER ]] || CLUSTER=$(docker info >/dev/null 2>&1 && echo kind || echo node)
  [[ $CLUSTER == kind || $CLUSTER == node ]] || die "CLUSTER is \"$CLUSTER\": want kind, which needs Docker, or node, which needs Linux and root"
}

# remembered takes over what setup has noted; it is false if there is no environment.
remembered() {
  local wanted=$CLUSTER
  [[ -f $LOCAL/settings ]] || return 1
  # shellcheck disable=SC1091 # written by remember_settings
  . "$LOCAL/settings"
  [[ -z $wanted || $wanted == "$CLUSTER" ]] || die "the local environment \"$NAME\" was made with CLUSTER=$CLUSTER: leave CLUSTER out, or run make local-env-teardown first"
}

# given_urls: those of the ports that are given now, and not of those that were given when the environment was made.
given_urls() { MCP_URL=http://$MCP_HOST:$MCP_PORT KEYCLOAK_URL=http://$KEYCLOAK_HOST:$KEYCLOAK_PORT; }

remember_settings() {
  mkdir -p "$LOCAL"
  printf '%s=%q\n' CLUSTER "$CLUSTER" HTTP "$HTTP" HTTPS "$HTTPS" MCP_URL "$MCP_URL" KEYCLOAK_URL "$KEYCLOAK_URL" \
    IMAGE_TAG "$IMAGE_TAG" EXAMPLE_TAG "$EXAMPLE_TAG" >"$LOCAL/settings"
}

# backend: sources the functions of $CLUSTER.
backend() {
  # shellcheck disable=SC1090 # local-env-kind.sh or local-env-node.sh
  . "$HACK_DIR/local-env-$CLUSTER.sh"
}

# attach: to the environment that there must be.
attach() {
  remembered || die "there is no local environment \"$NAME\": make local-env-setup"
  backend
  backend_up || die "the cluster of the local environment \"$NAME\" ($CLUSTER) is not up any more: make local-env-setup makes it again"
  backend_use
}

# up: without a word.
is_up() { remembered && backend && backend_up; }

# --- What goes into it ---

# build_images sets IMAGE_TAG and EXAMPLE_TAG. A tag is made of the image's own digest, so that pods change if, and only if, the programs did.
build_images() {
  local gateway example
  gateway=$("$HACK_DIR/cluster-images.sh" gateway "$WORK/gateway.tar" "localhost/mcp-gateway:{digest}")
  example=$("$HACK_DIR/cluster-images.sh" example "$WORK/example.tar" "localhost/mcp-gateway-example-server:{digest}")
  IMAGE_TAG=${gateway##*:} EXAMPLE_TAG=${example##*:}
  progress "images built: mcp-gateway:$IMAGE_TAG, mcp-gateway-example-server:$EXAMPLE_TAG"
}

load_images() {
  backend_load "$WORK/gateway.tar" "$WORK/example.tar"
  progress "images loaded"
}

# listeners: what the Gateway's Service is beside what the chart makes of it: the node ports that are published, and a certificate that nobody but
# this machine has.
listeners() {
  kubectl create namespace "$NAMESPACE" --dry-run=client -o yaml | kubectl apply --server-side -f - >/dev/null
  kubectl apply --server-side -f - >/dev/null <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: local-env-gateway, namespace: $NAMESPACE}
data:
  service: |
    spec:
      type: NodePort
      ports:
        - {port: 80, nodePort: $NODEPORT_HTTP}
        - {port: 443, nodePort: $NODEPORT_HTTPS}
YAML
  if ! kubectl --namespace "$NAMESPACE" get secret local-env-tls >/dev/null 2>&1; then
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=$MCP_HOST" -addext "subjectAltName=DNS:*.$DOMAIN" \
      -keyout "$WORK/tls.key" -out "$WORK/tls.crt" 2>/dev/null || die "openssl could not make a certificate"
    kubectl --namespace "$NAMESPACE" create secret tls local-env-tls --cert "$WORK/tls.crt" --key "$WORK/tls.key" >/dev/null
  fi
}

# local_values FILE: a copy with the URLs of this environment in the place of the usual ones.
local_values() {
  local copy
  copy=$(mktemp "$WORK/values.XXXXXX")
  sed -E -e "s#http://(localhost|127\.0\.0\.1|keycloak\.${DOMAIN//./\\.}):8889#$KEYCLOAK_URL#g" -e "s#http://${MCP_HOST//./\\.}:8888#$MCP_URL#g" "$1" >"$copy"
  printf '%s\n' "$copy"
}

# apply_definitions: helm never changes those that are there, and the chart refuses to go on with others.
apply_definitions() {
  kubectl apply --server-side --force-conflicts -f "$CHART/charts/crds/crds" >/dev/null || die "the definitions of MCPServer and MCPVirtualServer cannot be applied (kubectl's words are above)"
}

# upgrade ARGUMENT...: installs the release or upgrades it, and says what it waits for meanwhile.
upgrade() {
  local pid
  helm upgrade --install "$RELEASE" "$CHART" --namespace "$NAMESPACE" --wait --timeout 8m "$@" >"$WORK/helm.log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    say_waiting
    sleep 2
  done
  wait "$pid" || fail "helm could not install the release: $(cat "$WORK/helm.log")"
}

# unready: the pods that are neither ready nor done, one a line.
unready() {
  kubectl --namespace "$NAMESPACE" get pods --no-headers 2>/dev/null | awk '{ split($2, ready, "/") } $3 != "Completed" && ready[1] != ready[2] { print $1, $3 }' || true
}

# say_waiting tells which pods are waited for, if these are others than before.
waiting_for=''
say_waiting() {
  local now
  now=$(unready | awk '{ printf "%s%s (%s)", (NR > 1 ? ", " : ""), $1, $2 }')
  if [[ -n $now && $now != "$waiting_for" ]]; then progress "waiting for $now"; fi
  waiting_for=$now
}

# wanted WHAT SECONDS COMMAND...: waits until the command succeeds, and says so.
wanted() {
  local what=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "this did not come true in time: $what"
    sleep 1
  done
  progress "$what"
}

# fail: dies, and has all shown that may tell why.
fail() {
  failed=yes
  die "$*"
}

gateway_programmed() { kubectl --namespace "$NAMESPACE" wait --for=condition=Programmed "gateway/$RELEASE" --timeout=1s; }
servers_ready() { kubectl --namespace "$NAMESPACE" wait --for=condition=Ready mcpservers --all --timeout=1s; }

# ask HOST-AND-PORT PATH [ARGUMENT...]: by the port of this machine that leads to the gateway, so that names need not be known.
ask() {
  local url=$1
  shift
  curl --noproxy '*' -sS -m 10 --connect-to "::127.0.0.1:$HTTP" "$url" "$@"
}

endpoint_answers() { [[ $(ask "$MCP_URL/.well-known/oauth-protected-resource/mcp" -o /dev/null -w '%{http_code}') == 200 ]]; }

# initialize [TOKEN]: the status that a client gets first.
initialize() {
  ask "$MCP_URL/mcp" -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
    ${1:+-H "Authorization: Bearer $1"} -d "$INITIALIZE"
}

refused_without_token() { [[ $(initialize) == 401 ]]; }

# a_login: a token of today is believed. Istio fetches Keycloak's keys itself, and tries again after a while if Keycloak was not up then.
a_login() {
  local token
  token=$(token mcp) && [[ $(initialize "$token") == 200 ]]
}

# ready: waits until what clients need is there.
ready() {
  wanted "the Gateway is programmed" 60 gateway_programmed
  wanted "all MCPServers are Ready" 120 servers_ready
  taken "$HTTP" || die "nothing listens on port $HTTP: the cluster was made without it; make local-env-teardown, and set it up again"
  wanted "the gateway answers on port $HTTP" 60 endpoint_answers
  kubectl --namespace "$NAMESPACE" get configmap mcp-gateway-policies >/dev/null 2>&1 || return 0
  wanted "a request without a token is refused with 401" 60 refused_without_token
  kubectl --namespace "$NAMESPACE" get deployment mcp-gateway-keycloak >/dev/null 2>&1 || return 0
  wanted "the user mcp can log in, and is let in with the token" 180 a_login
}

# show_failure: what is known of why it does not work.
show_failure() {
  local pod
  printf -- '--- pods\n'
  kubectl --namespace "$NAMESPACE" get pods -o wide
  for pod in $(unready | cut -d ' ' -f 1); do
    printf -- '--- pod %s: events, and what it said last\n' "$pod"
    kubectl --namespace "$NAMESPACE" get events --field-selector "involvedObject.name=$pod" --sort-by=.lastTimestamp -o custom-columns=TYPE:.type,REASON:.reason,MESSAGE:.message --no-headers | tail -n 8
    kubectl --namespace "$NAMESPACE" logs "$pod" --all-containers --tail 15 --ignore-errors
  done
  printf -- '--- warnings\n'
  kubectl --namespace "$NAMESPACE" get events --field-selector type=Warning --sort-by=.lastTimestamp | tail -n 15
  printf -- '--- conditions of Gateway and MCPServers\n'
  conditions gateways
  conditions mcpservers
}

# conditions KIND: of all objects in the namespace.
conditions() {
  # shellcheck disable=SC2016 # it is kubectl's variable
  kubectl --namespace "$NAMESPACE" get "$1" -o go-template='{{range .items}}{{$name := .metadata.name}}{{range .status.conditions}}{{printf "%s\t%s=%s\t%s\t%s\n" $name .type .status .reason .message}}{{end}}{{end}}' |
    awk -F '\t' '{ printf "  %-14s %-22s %-16s %s\n", $1, $2, $3, $4 }'
}

# --- Commands ---

setup() {
  local http=$HTTP https=$HTTPS port
  if ! remembered; then choose_new; fi
  backend
  have curl || die "curl is not on the PATH: install it"
  have openssl || die "openssl is not on the PATH: install it"
  log "the local environment \"$NAME\": CLUSTER=$CLUSTER"
  backend_prepare
  build_images
  if ! backend_up; then
    HTTP=$http HTTPS=$https
    for port in "$HTTP" "$HTTPS"; do
      ! taken "$port" || die "port $port is taken: free it, or choose others with KIND_HOST_PORT_HTTP=… and KIND_HOST_PORT_HTTPS=…"
    done
  elif [[ $HTTP != "$http" || $HTTPS != "$https" ]]; then
    log "warning: the cluster has the ports $HTTP and $HTTPS, which only make local-env-teardown can change"
  fi
  given_urls
  remember_settings
  backend_create
  progress "the cluster is up"
  install
  next_steps
}

deploy() {
  attach
  build_images
  given_urls
  install
}

# install: the images are built.
install() {
  backend_use
  load_images
  remember_settings
  listeners
  apply_definitions
  release
  ready
}

# release [FILE...]: the release, as the files of values say, one after the other.
release() {
  local file files=()
  backend_keycloak
  for file in "$CHART/values-dev.yaml" "$@" ${VALUES:+"$VALUES"}; do
    [[ -f $file ]] || die "there is no file \"$file\" with values: correct VALUES, or unset it"
    files+=(--values "$(local_values "$file")")
  done
  files+=(--set global.image.repository=localhost/mcp-gateway --set "global.image.tag=$IMAGE_TAG" --set global.image.pullPolicy=Never
    --set sampleServers.image.repository=localhost/mcp-gateway-example-server --set "sampleServers.image.tag=$EXAMPLE_TAG"
    --set global.gateway.https.enabled=true --set gateway.https.hostname="*.$DOMAIN" --set 'gateway.https.certificateRefs[0].name=local-env-tls'
    --set gateway.infrastructure.parametersRef.kind=ConfigMap --set gateway.infrastructure.parametersRef.name=local-env-gateway
    --set-string gateway.infrastructure.parametersRef.group= ${KEYCLOAK_VALUES[@]+"${KEYCLOAK_VALUES[@]}"})
  # istiod asks for Keycloak's keys as soon as there are policies, and where it gets no answer it asks again after a minute or more. So the first
  # time Keycloak comes first; the endpoint has no route until it has policies.
  if ! helm status "$RELEASE" --namespace "$NAMESPACE" >/dev/null 2>&1; then
    upgrade "${files[@]}" --set policies.enabled=false --set gateway.route.enabled=false
    progress "installed, but for policies and the endpoint's route"
  fi
  upgrade "${files[@]}"
  progress "release \"$RELEASE\" in \"$NAMESPACE\", revision $(helm list --namespace "$NAMESPACE" --filter "^$RELEASE\$" --no-headers | cut -f 3 | tr -d ' ')"
}

reload() {
  attach
  build_images
  load_images
  remember_settings
  apply_definitions
  upgrade --reset-then-reuse-values --no-hooks --set "global.image.tag=$IMAGE_TAG,sampleServers.image.tag=$EXAMPLE_TAG"
  # Also where the image is the same as before.
  kubectl --namespace "$NAMESPACE" rollout restart deployment/mcp-gateway deployment/mcp-gateway-controller >/dev/null
  kubectl --namespace "$NAMESPACE" rollout status deployment/mcp-gateway deployment/mcp-gateway-controller --timeout=120s >/dev/null ||
    fail "the gateway's pods did not get ready within 120 s"
  progress "broker, router and controller are restarted"
  ready
}

policies() {
  local file=${1:-}
  [[ -z $file || -f $file ]] || die "POLICIES is \"$file\", which does not exist: correct it, or unset it"
  attach
  [[ -n $IMAGE_TAG ]] || die "the local environment \"$NAME\" has no gateway yet: make local-env-setup"
  release ${file:+"$file"}
  ready
  next_steps
}

# forward: kubectl's forwarding ends with the pod that it leads to, and is begun again then.
forward() {
  local port fails=0 since
  attach
  for port in "$MCP_PORT" "$KEYCLOAK_PORT"; do
    ! taken "$port" || die "port $port is taken: free it, or choose others with GATEWAY_LOCAL_PORT_HTTP_MCP=… and GATEWAY_LOCAL_PORT_HTTP_KEYCLOAK=…"
  done
  [[ $MCP_URL == "http://$MCP_HOST:$MCP_PORT" && $KEYCLOAK_URL == "http://$KEYCLOAK_HOST:$KEYCLOAK_PORT" ]] ||
    log "warning: the gateway is at $MCP_URL and Keycloak at $KEYCLOAK_URL by what they say themselves, so that logins lead there: make deploy with the same two ports changes that"
  trap 'kill "$forwarding" 2>/dev/null; exit 0' INT TERM HUP
  while ((fails < 10)); do
    since=$SECONDS
    # In a process group of its own, which a terminal's Ctrl-C does not reach.
    set -m
    "$KUBECTL" --namespace "$NAMESPACE" port-forward --address localhost "service/$RELEASE-istio" "$MCP_PORT:80" "$KEYCLOAK_PORT:80" >/dev/null 2>"$WORK/forward.log" </dev/null &
    set +m
    forwarding=$!
    if ((fails == 0)) && await 15 taken "$KEYCLOAK_PORT"; then
      log "forwarding, until Ctrl-C: $MCP_URL/mcp (MCP), $KEYCLOAK_URL (Keycloak)"
    fi
    wait "$forwarding" || true
    ((SECONDS - since > 30)) || fails=$((fails + 1))
    ((SECONDS - since <= 30)) || fails=1
    sleep 1
  done
  die "the gateway's Service cannot be reached: $(tail -n 1 "$WORK/forward.log")"
}

# token [USER]: by the authorization code flow with PKCE and the login page, as a client with a browser does it. Each user's password is the name.
token() {
  local user=${1:-mcp} issuer=$KEYCLOAK_URL/realms/mcp back=http://127.0.0.1:6274/oauth/callback verifier challenge form code answer
  verifier=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  challenge=$(printf %s "$verifier" | openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | tr -d '=\n')
  : >"$WORK/cookies"
  form=$(ask "$issuer/protocol/openid-connect/auth" -b "$WORK/cookies" -c "$WORK/cookies" -G -d client_id=mcp-inspector -d response_type=code -d scope=openid -d state=x \
    -d code_challenge_method=S256 -d "code_challenge=$challenge" --data-urlencode "redirect_uri=$back" | sed -n 's/.*action="\([^"]*\)".*/\1/p' | head -n 1)
  [[ -n $form ]] || die "Keycloak shows no login page at $issuer"
  code=$(ask "${form//&amp;/&}" -b "$WORK/cookies" -c "$WORK/cookies" -o /dev/null -w '%{redirect_url}' --data-urlencode "username=$user" --data-urlencode "password=$user" |
    sed -n 's/.*[?&]code=\([^&]*\).*/\1/p')
  [[ -n $code ]] || die "Keycloak does not let the user \"$user\" in"
  answer=$(ask "$issuer/protocol/openid-connect/token" -d grant_type=authorization_code -d client_id=mcp-inspector -d "code=$code" -d "code_verifier=$verifier" --data-urlencode "redirect_uri=$back")
  answer=$(sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p' <<<"$answer")
  [[ -n $answer ]] || die "Keycloak gives no token for its code"
  printf '%s\n' "$answer"
}

status() {
  attach
  printf 'Cluster    %s (%s), up\n' "$NAME" "$CLUSTER"
  printf 'Release    %s\n' "$(helm list --namespace "$NAMESPACE" --filter "^$RELEASE\$" --no-headers | awk -F '\t' '{ gsub(/ +/, ""); print $1 ", revision " $3 ", " $5 }')"
  printf 'Endpoint   %s/mcp   %s\n' "$MCP_URL" "$(taken "$MCP_PORT" && echo "port $MCP_PORT is forwarded" || echo 'with make dev-gateway-forward')"
  printf '           http://%s:%s/mcp   %s\n' "$MCP_HOST" "$HTTP" "$(endpoint_answers && echo answers || echo 'does not answer')"
  printf 'Keycloak   %s\n' "$KEYCLOAK_URL"
  printf '\nPods\n'
  kubectl --namespace "$NAMESPACE" get pods | sed 's/^/  /'
  printf '\nGateway\n'
  kubectl --namespace "$NAMESPACE" get gateways | sed 's/^/  /'
  printf '\nMCPServers\n'
  kubectl get mcpservers --all-namespaces | sed 's/^/  /'
  printf '\nConditions\n'
  conditions gateways
  conditions mcpservers
}

logs() {
  local flags=(--prefix --tail 100 --max-log-requests 20 --selector 'app.kubernetes.io/name in (mcp-gateway, mcp-gateway-controller)')
  [[ -z $FOLLOW ]] || flags+=(--follow)
  attach
  trap 'exit 0' INT TERM HUP
  kubectl --namespace "$NAMESPACE" logs "${flags[@]}"
}

teardown() {
  if ! remembered; then
    log "there is no local environment \"$NAME\""
    return
  fi
  backend
  backend_delete
  rm -rf "$LOCAL"
  rmdir "$CACHE_DIR/local-env" 2>/dev/null || true
  log "the local environment \"$NAME\" is gone"
}

next_steps() {
  cat <<TEXT

The gateway runs. Next, in two terminals:

  make dev-gateway-forward   # $MCP_URL/mcp and $KEYCLOAK_URL, until Ctrl-C
  make inspect-gateway       # MCP Inspector: connect, and log in as mcp, mcp-admin or guest, with the name as the password

and, as you like:

  make status                # what runs, and how it is
  make deploy                # after a change: builds, loads, upgrades
  make local-env-teardown    # leaves nothing
TEXT
}

finish() {
  local code=$?
  if [[ -n $failed ]]; then show_failure >&2 || true; fi
  [[ -z $failed ]] || log "it stays as it is, to be looked at: make status, make logs; make local-env-setup goes on from here"
  rm -rf "$WORK"
  exit "$code"
}

main() {
  local command=${1:-help}
  (($# == 0)) || shift
  NAME=${CLUSTER_NAME:-mcp-gateway} CLUSTER=${CLUSTER:-} VALUES=${VALUES:-} FOLLOW=${FOLLOW:-} CHART=$ROOT/charts/mcp-gateway IMAGE_TAG='' EXAMPLE_TAG='' failed=''
  HTTP=${KIND_HOST_PORT_HTTP:-8080} HTTPS=${KIND_HOST_PORT_HTTPS:-8443}
  MCP_PORT=${GATEWAY_LOCAL_PORT_HTTP_MCP:-8888} KEYCLOAK_PORT=${GATEWAY_LOCAL_PORT_HTTP_KEYCLOAK:-8889}
  given_urls
  LOCAL=$CACHE_DIR/local-env/$NAME
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/mcp-gateway-local-env.XXXXXX")
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  case $command in
  setup | deploy | reload | teardown)
    lock "local-env-$NAME"
    "$command"
    ;;
  policies) policies "$@" ;;
  forward | status | logs) "$command" ;;
  token) attach && token "$@" ;;
  kubectl | helm) attach && "$command" "$@" ;;
  up) is_up ;;
  url) remembered && printf '%s/mcp\n' "$MCP_URL" ;;
  help) usage ;;
  *)
    usage >&2
    die "unknown command \"$command\""
    ;;
  esac
}

main "$@"
