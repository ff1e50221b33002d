#!/usr/bin/env bash
# Sees to it that the system's programs that a test cluster's node is made of are installed; where apt-get and root are there, it
# installs those that are missing. It prints the folder with the plugins for the pods' network, which is $CNI_BIN_DIR if that is set.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly plugins=(bridge host-local loopback portmap)

# packages PROGRAM=PACKAGE...: the packages of the programs that are not on the PATH, each once.
packages() {
  local pair
  for pair in "$@"; do have "${pair%%=*}" || printf '%s\n' "${pair#*=}"; done | sort -u
}

missing() {
  packages containerd=containerd ctr=containerd runc=runc ip=iproute2 iptables=iptables openssl=openssl \
    unshare=util-linux nsenter=util-linux setsid=util-linux mount=mount
  plugin_folder >/dev/null || printf 'containernetworking-plugins\n'
}

# plugin_folder: where Debian puts them, or everybody else.
plugin_folder() {
  local dir name dirs=(/usr/lib/cni /opt/cni/bin /usr/libexec/cni)
  [[ -z ${CNI_BIN_DIR:-} ]] || dirs=("$CNI_BIN_DIR")
  for dir in "${dirs[@]}"; do
    for name in "${plugins[@]}"; do [[ -x $dir/$name ]] || continue 2; done
    printf '%s\n' "$dir"
    return
  done
  return 1
}

install() {
  local lacks=("$@")
  have apt-get || die "the node of a test cluster is made of programs that are not installed: install what Debian calls ${lacks[*]}"
  [[ $EUID == 0 ]] || die "the node of a test cluster is made of programs that are not installed: as root, run apt-get install ${lacks[*]}"
  log "installing ${lacks[*]} with apt-get (once)"
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # in which no package starts a service
  { apt-get update -q && apt-get install -q -y --no-install-recommends "${lacks[@]}"; } >&2 </dev/null ||
    die "apt-get could not install ${lacks[*]} (its words are above): check the network, or install them yourself"
}

main() {
  local lacks
  lacks=$(missing)
  if [[ -n $lacks ]]; then
    lock packages
    lacks=$(missing)
    # shellcheck disable=SC2086 # names of packages
    [[ -z $lacks ]] || install $lacks
    lacks=$(missing)
    [[ -z $lacks ]] || die "still not there after they were installed: what Debian calls ${lacks//$'\n'/ }"
  fi
  plugin_folder
}

main
