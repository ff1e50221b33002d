#!/usr/bin/env bash
# Runs the tests that need a real Kubernetes API server: those of every package that starts one. TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
KUBEBUILDER_ASSETS=$("$HACK_DIR/kube-binaries.sh")
export KUBEBUILDER_ASSETS
log "Kubernetes' programs are in \"$KUBEBUILDER_ASSETS\""
# Those of the charts need more: make test-charts. Go lists the program that it makes of a package's tests as PACKAGE.test.
packages=$(go list -test -f '{{.ImportPath}} {{join .Deps " "}}' ./... |
  awk '$1 ~ /\.test$/ && $1 !~ /\/(e2e|charts)[\/.]/ && / [^ ]*\/internal\/k8stest( |$)/ { sub(/\.test$/, "", $1); print $1 }')
[[ -n $packages ]] || die "no package has tests that start an API server"
start=$SECONDS
# Few packages at a time: each starts a server of its own.
xargs go test -race -count=1 -p 2 -timeout 20m ${flags[@]+"${flags[@]}"} <<<"$packages" || die "tests against an API server: failed after $((SECONDS - start)) s"
log "tests against an API server: ok, $((SECONDS - start)) s"
