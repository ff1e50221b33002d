#!/usr/bin/env bash
# The first process of a node: makes what belongs to the machine its own, brings the network up, then runs Kubernetes' programs and
# starts each again when it ends. Everything is in $STATE; $KUBE and $CNI are the folders of the programs.
. "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

readonly here=$HACK_DIR/cluster/node
readonly address=10.200.0.1 pods=10.244.0.0/16 services=10.96.0.0/16
export KUBECONFIG=${STATE:?}/node.kubeconfig TMPDIR=$STATE/tmp

# own_cgroups: the hierarchies again, as this cgroup namespace shows them.
own_cgroups() {
  local controllers dir
  umount -l /sys/fs/cgroup
  mount -t sysfs sysfs /sys 2>/dev/null || true
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  while IFS=: read -r _ controllers _; do
    [[ -n $controllers ]] || continue
    dir=/sys/fs/cgroup/${controllers#name=}
    mkdir "$dir"
    case $controllers in
    name=*) mount -t cgroup -o "none,$controllers" cgroup "$dir" ;;
    *) mount -t cgroup -o "$controllers" cgroup "$dir" ;;
    esac
  done </proc/self/cgroup
}

# own_folders: what is written where programs insist on writing it stays in the node.
own_folders() {
  local dir
  for dir in /etc /var/lib /var/log; do
    mkdir -p "$STATE/overlay$dir/upper" "$STATE/overlay$dir/work"
    mount -t overlay overlay -o "lowerdir=$dir,upperdir=$STATE/overlay$dir/upper,workdir=$STATE/overlay$dir/work" "$dir"
  done
  mount -t tmpfs -o mode=755 tmpfs /run
}

# own_settings: kubelet sets these for the whole machine unless they are as it wants them; so it is shown that they are.
own_settings() {
  local name value
  mkdir -p "$STATE/sysctl"
  while read -r name value; do
    echo "$value" >"$STATE/sysctl/${name//\//.}"
    mount --bind "$STATE/sysctl/${name//\//.}" "/proc/sys/$name"
  done <<'SETTINGS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SETTINGS
}

# own_network: a bridge without ports has the node's address. Whatever the pods send elsewhere ends there.
own_network() {
  ip link set lo up
  ip link add node0 type bridge
  ip address add "$address/24" dev node0
  ip link set node0 up
  ip route add default via 10.200.0.254 dev node0
  echo 1 >/proc/sys/net/ipv4/ip_forward
  hostname node
  echo "127.0.0.1 localhost node" >/etc/hosts
}

# keep NAME COMMAND...: runs it, and again when it ends, but for as long as $STATE/run/NAME.stopped is there.
keep() {
  local name=$1
  shift
  while :; do
    if [[ ! -e $STATE/run/$name.stopped ]]; then
      "$@" >>"$STATE/log/$name.log" 2>&1 </dev/null &
      echo $! >"$STATE/run/$name.pid"
      wait $! || log "$name ended with exit code $?"
      rm -f "$STATE/run/$name.pid"
    fi
    sleep 0.3
  done
}

start_control_plane() {
  local pki=$STATE/pki
  keep etcd "$KUBE/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 &
  keep kube-apiserver "$KUBE/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --secure-port 6443 --bind-address 0.0.0.0 \
    --advertise-address "$address" --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" --client-ca-file "$pki/ca.crt" \
    --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/tokens.key" \
    --service-account-signing-key-file "$pki/tokens.key" --service-cluster-ip-range "$services" --authorization-mode RBAC --allow-privileged &
  until "$KUBE/kubectl" get --raw /readyz >/dev/null 2>&1; do sleep 0.1; done
  : >"$STATE/run/api-ready"
  keep kube-controller-manager "$KUBE/kube-controller-manager" --kubeconfig "$KUBECONFIG" --use-service-account-credentials \
    --service-account-private-key-file "$pki/tokens.key" --root-ca-file "$pki/ca.crt" --cluster-signing-cert-file "$pki/ca.crt" \
    --cluster-signing-key-file "$pki/ca.key" --leader-elect=false --bind-address 127.0.0.1 --allocate-node-cidrs --cluster-cidr "$pods" \
    --service-cluster-ip-range "$services" &
  keep kube-scheduler "$KUBE/kube-scheduler" --kubeconfig "$KUBECONFIG" --leader-elect=false --bind-address 127.0.0.1 &
}

start_containerd() {
  keep containerd containerd --config "$STATE/containerd.toml" &
  until ctr version >/dev/null 2>&1; do sleep 0.1; done
  : >"$STATE/run/containerd-ready"
}

start_node() {
  keep kubelet "$KUBE/kubelet" --config "$STATE/kubelet.yaml" --kubeconfig "$KUBECONFIG" --root-dir "$STATE/kubelet" --hostname-override node \
    --node-ip "$address" &
  keep kube-proxy "$KUBE/kube-proxy" --config "$STATE/kube-proxy.yaml" &
}

main() {
  local file
  mount --make-rprivate /
  own_cgroups
  own_folders
  own_settings
  mount --make-rshared /
  own_network
  for file in containerd.toml kubelet.yaml kube-proxy.yaml; do
    sed "s|@STATE@|$STATE|g; s|@CNI@|$CNI|g" "$here/$file" >"$STATE/$file"
  done
  mkdir -p "$STATE/cni"
  sed "s|@STATE@|$STATE|g" "$here/bridge.conflist" >"$STATE/cni/bridge.conflist"
  start_containerd &
  start_control_plane
  until [[ -e $STATE/run/containerd-ready ]]; do sleep 0.1; done
  start_node
  # As the first process it also reaps what others leave.
  while :; do wait || true; sleep 1; done
}

main
