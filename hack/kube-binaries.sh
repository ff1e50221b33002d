#!/usr/bin/env bash
# kube-binaries.sh [NAME...]: prints a folder with Kubernetes' programs. Without names they are the three of its API, etcd,
# kube-apiserver and kubectl: those of $KUBEBUILDER_ASSETS, else those that setup-envtest downloads, else they are built from their
# Go modules, once (about ten minutes of processor time). Programs that are named, a whole node's for example, are always built.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly kubernetes=v1.37.2
readonly etcd=v3.7.3
readonly api=(etcd kube-apiserver kubectl)
readonly target=$CACHE_DIR/kube/$kubernetes-etcd-$etcd
# How long setup-envtest may take to say that it has a release to download.
readonly patience=20

# missing DIR NAME...: those that DIR has no program for.
missing() {
  local dir=$1 name
  shift
  for name in "$@"; do [[ -f $dir/$name && -x $dir/$name ]] || printf '%s\n' "$name"; done
}

check_names() {
  local name
  for name in "$@"; do
    case $name in
    etcd | kube-apiserver | kubectl | kube-controller-manager | kube-scheduler | kubelet | kube-proxy) ;;
    *) die "unknown program \"$name\": etcd, kube-apiserver, kubectl, kube-controller-manager, kube-scheduler, kubelet or kube-proxy" ;;
    esac
  done
}

from_environment() {
  local dir lacks
  dir=$(abspath "$KUBEBUILDER_ASSETS/") || die "KUBEBUILDER_ASSETS is \"$KUBEBUILDER_ASSETS\", which does not exist: correct it, or unset it"
  lacks=$(missing "$dir" "${api[@]}")
  [[ -z $lacks ]] || die "KUBEBUILDER_ASSETS is \"$KUBEBUILDER_ASSETS\", which has no \"${lacks//$'\n'/\", \"}\": correct it, or unset it to have them made"
  printf '%s\n' "$dir"
}

# from_setup_envtest: the release of the same minor version, which Kubernetes' maintainers publish, where there is a network that reaches it.
from_setup_envtest() {
  local tool minor=${kubernetes#v} bin=$CACHE_DIR/kube/setup-envtest dir
  minor=${minor%.*}.x
  have timeout && have go && tool=$("$HACK_DIR/tool.sh" setup-envtest) || return 1
  setup() { "$tool" --bin-dir "$bin" "$@"; }
  if ! dir=$(setup use -i -p path "$minor" 2>/dev/null); then
    timeout "$patience" "$tool" --bin-dir "$bin" list "$minor" >/dev/null 2>&1 || return 1
    log "downloading Kubernetes $minor with setup-envtest (once) to \"$bin\""
    dir=$(setup use -p path "$minor") || return 1
  fi
  [[ -z $(missing "$dir" "${api[@]}") ]] || return 1
  printf '%s\n' "$dir"
}

# kubernetes_module: in the staging folder, a module that requires Kubernetes, whose own parts are published as modules of their own:
# v1.37.2 of the one is v0.37.2 of the others, and the list of them is in its go.mod.
kubernetes_module() {
  local gomod parts=${kubernetes/v1/v0}
  gomod=$(go mod download -json "k8s.io/kubernetes@$kubernetes" | awk -F '"' '$2 == "GoMod" { print $4 }') || gomod=
  [[ -n $gomod ]] ||
    die "Kubernetes $kubernetes could not be downloaded as a Go module: check the network and GOPROXY, or set KUBEBUILDER_ASSETS"
  mkdir "$STAGE/kubernetes-module"
  {
    printf 'module build\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes %s\n\n' "$kubernetes"
    awk -v version="$parts" '$2 == "=>" && $3 ~ /^\.\/staging\// { print "replace", $1, "=>", $1, version }' "$gomod"
  } >"$STAGE/kubernetes-module/go.mod"
}

etcd_module() {
  mkdir "$STAGE/etcd-module"
  printf 'module build\n\ngo 1.26.0\n\nrequire go.etcd.io/etcd/server/v3 %s\n' "$etcd" >"$STAGE/etcd-module/go.mod"
}

build() {
  local name=$1 package module flags=-s\ -w start=$SECONDS
  case $name in
  etcd) module=etcd_module package=go.etcd.io/etcd/server/v3 ;;
  *)
    module=kubernetes_module package=k8s.io/kubernetes/cmd/$name
    local minor=${kubernetes#v1.}
    flags+=" -X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/component-base/version.gitMajor=1"
    flags+=" -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
    ;;
  esac
  [[ -d $STAGE/${module/_/-} ]] || "$module"
  log "building \"$name\" from its Go module (once; kube-apiserver takes about ten minutes)"
  CGO_ENABLED=0 nice go build -C "$STAGE/${module/_/-}" -mod=mod -trimpath -ldflags "$flags" -o "$STAGE/$name" "$package" >&2 ||
    die "could not build \"$name\" (Go's words are above): check the network and GOPROXY, or set KUBEBUILDER_ASSETS to a folder that has it"
  publish "$STAGE/$name" "$target/$name"
  log "built \"$name\" in $((SECONDS - start)) s"
}

from_modules() {
  local lacks name
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  if [[ -n $(missing "$target" "$@") ]]; then
    lock kube
    lacks=$(missing "$target" "$@")
    if [[ -n $lacks ]]; then
      stage
      for name in $lacks; do build "$name"; done
    fi
  fi
  printf '%s\n' "$target"
}

main() {
  check_names "$@"
  if (($# > 0)); then
    from_modules "$@"
  elif [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
    from_environment
  elif [[ -z $(missing "$target" "${api[@]}") ]]; then
    printf '%s\n' "$target"
  elif ! from_setup_envtest; then
    from_modules "${api[@]}"
  fi
}

main "$@"
