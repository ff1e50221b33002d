#!/usr/bin/env bash
# Runs the tests in a real cluster, made for them and taken down after them (E2E_CLUSTER names one to use and to leave up). It needs root.
# TEST_FLAGS go to `go test`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
read -ra flags <<<"${TEST_FLAGS:-}"
export E2E_ARTIFACTS=$PWD/bin/cluster-artifacts
rm -rf "$E2E_ARTIFACTS"
# What is built from source the first time must not count as time of the tests.
"$HACK_DIR/cluster.sh" prepare
"$HACK_DIR/keycloak.sh" get >/dev/null
env=$("$HACK_DIR/browser-env.sh") && eval "$env"
log "all that a cluster is made of is there after $SECONDS s"
start=$SECONDS
go test -C hack/cluster/image ./... || die "packing images: failed"
# They wait for the cluster more than they work, on any number of processors.
go test -race -count=1 -p 1 -parallel 4 -timeout 30m ${flags[@]+"${flags[@]}"} ./e2e/cluster/... ||
  die "tests in a cluster: failed after $((SECONDS - start)) s; what is too long to be shown is in \"$E2E_ARTIFACTS\""
log "tests in a cluster: ok, $((SECONDS - start)) s"
