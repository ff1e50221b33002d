# shellcheck shell=bash
# Sourced by cluster.sh: a cluster of one node, made of namespaces of its own on this machine. It needs root, and no container engine.
# Another kind of cluster would have the same functions, backend_*.

backend_prepare() {
  [[ $(uname -s) == Linux ]] || die "a test cluster's node is made of Linux namespaces, which \"$(uname -s)\" does not have"
  [[ $EUID == 0 ]] || die "a test cluster's node has namespaces, mounts and a network of its own, which only root can make: run this as root"
  case $STATE/ in
  /etc/* | /var/lib/* | /var/log/* | /run/*) die "a test cluster cannot be in \"$STATE\", of which its node gets a copy: set MCP_GATEWAY_CACHE to another folder" ;;
  esac
  CNI=$("$HACK_DIR/cluster-packages.sh")
  KUBE=$("$HACK_DIR/kube-binaries.sh" etcd kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy)
}

# certificate NAME SUBJECT [EXTENSION...]: a key, and a certificate of the cluster's authority.
certificate() {
  local name=$1 subject=$2
  shift 2
  openssl ecparam -genkey -noout -name prime256v1 -out "$name.key"
  openssl req -new -key "$name.key" -subj "$subject" -out "$name.csr"
  openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$name.crt" -extfile <(printf '%s\n' "$@") 2>/dev/null
}

make_keys() (
  umask 077
  mkdir -p "$STATE/pki"
  cd "$STATE/pki" || exit
  openssl ecparam -genkey -noout -name prime256v1 -out tokens.key
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=test-cluster -keyout ca.key -out ca.crt 2>/dev/null
  certificate admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
  certificate server /CN=kube-apiserver extendedKeyUsage=serverAuth \
    subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:10.200.0.1
)

# kubeconfig PORT: an administrator's, for the API at that port of the loopback interface.
kubeconfig() {
  local pki=$STATE/pki
  cat <<CONFIG
apiVersion: v1
kind: Config
clusters: [{name: ${NAME:?}, cluster: {server: "https://127.0.0.1:$1", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $NAME, user: {client-certificate-data: $(base64 -w0 "$pki/admin.crt"), client-key-data: $(base64 -w0 "$pki/admin.key")}}]
contexts: [{name: $NAME, context: {cluster: $NAME, user: $NAME}}]
current-context: $NAME
CONFIG
}

backend_alive() { process node >/dev/null; }

# first_process: that of the node's own, as this machine knows it.
first_process() { process first; }

# find_first_process notes it: the child of the node's process that has other ids.
find_first_process() {
  local parent children child
  parent=$(process node) || return 1
  children=$(cat "/proc/$parent/task/$parent/children")
  for child in $children; do
    [[ $(readlink "/proc/$child/ns/pid") == "$(readlink /proc/self/ns/pid)" ]] || { remember first "$child" && return 0; }
  done
  return 1
}

# backend_exec COMMAND...: inside the node, as one of its processes.
backend_exec() (
  pid=$(first_process) || die "the cluster \"$NAME\" is not up"
  while read -r dir; do echo "$BASHPID" >"$dir/cgroup.procs"; done <"$STATE/cgroups"
  exec nsenter --target "$pid" --mount --net --pid --cgroup --uts --ipc -- "$@" 9>&-
)

# backend_load ARCHIVE...
backend_load() {
  local archive path
  for archive in "$@"; do
    # Inside the node, the current folder is another.
    path=$(abspath "$archive") || die "there is no image \"$archive\": cluster-images.sh makes some"
    backend_exec ctr -n k8s.io images import "$path" >/dev/null || die "containerd did not take the image \"$archive\""
  done
}

# opened FILE COUNT: whether the door tells of all its ports, or never will.
opened() { (($(wc -l <"$1") == $2)) || ! process door; }

# open_door [PORT:NODEPORT...]: the API, and what else is published, on this machine's loopback interface.
open_door() {
  local pair pairs=(127.0.0.1:0=10.200.0.1:6443) out=$STATE/run/door port
  for pair in "$@"; do pairs+=("127.0.0.1:${pair%:*}=10.200.0.1:${pair#*:}"); done
  : >"$out"
  setsid "$PROGRAMS/forward" --netns "/proc/$(first_process)/ns/net" "${pairs[@]}" >"$out" 2>"$STATE/log/door.log" </dev/null 9>&- &
  remember door $!
  if ! await 10 opened "$out" "${#pairs[@]}" || ! process door >/dev/null; then die "the cluster's ports cannot be opened: $(cat "$STATE/log/door.log")"; fi
  port=$(head -n 1 "$out")
  (umask 077 && kubeconfig "${port##*:}" >"$STATE/kubeconfig")
}

node_file() { [[ -e $STATE/run/$1 ]] || ! backend_alive; }

# reached FILE SECONDS WHAT: waits until the node says so.
reached() {
  await "$2" node_file "$1" || die "the node did not get as far as \"$3\" within $2 s"
  backend_alive || die "the node ended before it got as far as \"$3\""
  progress "$3"
}

start_node() {
  make_keys
  (umask 077 && kubeconfig 6443 >"$STATE/node.kubeconfig")
  STATE=$STATE KUBE=$KUBE CNI=$CNI setsid "$HACK_DIR/cluster/node/enter.sh" "mcp-gateway-$NAME" "$HACK_DIR/cluster/node/init.sh" \
    >"$STATE/log/node.log" 2>&1 </dev/null 9>&- &
  remember node $!
}

# backend_up [PORT:NODEPORT...]: a cluster with a ready node, the platform's images and names.
backend_up() {
  local importing
  mkdir -p "$STATE"/{log,run,tmp}
  start_node
  reached containerd-ready 60 "container runtime"
  find_first_process || die "the node's first process cannot be found"
  backend_load "$IMAGES"/*.tar 2>"$STATE/log/images.log" 9>&- &
  importing=$!
  reached api-ready 90 "control plane"
  open_door "$@"
  await 90 kubectl wait --for=condition=Ready node/node --timeout=60s || die "the node is not ready after 90 s"
  progress "node ready"
  wait "$importing" || die "the platform's images were not loaded: $(cat "$STATE/log/images.log")"
  progress "images loaded"
  await 30 kubectl get serviceaccount default || die "Kubernetes' controllers did nothing for 30 s"
  kubectl apply -f "$HACK_DIR/cluster/node/coredns.yaml" >/dev/null || die "the name server cannot be installed"
}

# backend_ready: when the rest is installed.
backend_ready() {
  kubectl -n kube-system rollout status deployment/coredns --timeout=60s >/dev/null || die "the name server is not ready after 60 s"
}

# backend_forward ADDRESS: carries a port of the loopback interface to an address in the cluster, until it is told to stop. It prints the port.
backend_forward() { exec "$PROGRAMS/forward" --netns "/proc/$(first_process)/ns/net" "127.0.0.1:0=$1" 9>&-; }

# backend_stop COMPONENT, backend_start COMPONENT: one of Kubernetes' own programs. It ends as in a crash: told to end, an API server waits a
# minute for its clients.
backend_stop() {
  [[ -e $STATE/log/$1.log ]] || die "no component \"$1\": $(cd "$STATE/log" && printf '%s ' kube*.log etcd.log containerd.log | sed 's/\.log//g')"
  : >"$STATE/run/$1.stopped"
  [[ ! -e $STATE/run/$1.pid ]] || backend_exec kill -KILL "$(cat "$STATE/run/$1.pid")" || true
  await 10 test ! -e "$STATE/run/$1.pid" || die "\"$1\" did not end within 10 s"
}

backend_start() {
  rm -f "$STATE/run/$1.stopped"
  await 10 test -e "$STATE/run/$1.pid" || die "\"$1\" did not start within 10 s"
  [[ $1 != kube-apiserver ]] || await 60 kubectl get --raw /readyz || die "the API server is not ready after 60 s"
}

# backend_words: the last ones of everything, for a failure.
backend_words() {
  local file
  for file in "$STATE"/log/*.log; do
    [[ ! -s $file ]] || { printf -- '--- %s\n' "$file" && tail -n 15 "$file"; } >&2
  done
}

gone() {
  local dir
  while read -r dir; do
    [[ ! -d $dir ]] || { find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null && [[ ! -d $dir ]]; } || return 1
  done <"$STATE/cgroups"
}

# backend_down ends what this cluster started, and nothing else, and waits until it is gone.
backend_down() {
  # Everything in the node ends with its first process, and that with its parent.
  end door TERM
  end node KILL
  [[ ! -f $STATE/cgroups ]] || await 20 gone || log "warning: not all cgroups of the cluster \"$NAME\" could be removed: $(tr '\n' ' ' <"$STATE/cgroups")"
}
