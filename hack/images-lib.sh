# shellcheck shell=bash
# Sourced, after lib.sh, by the scripts that pack images: what is in ours.

# The programs of each image; the first is the one that it runs.
# shellcheck disable=SC2034 # for the scripts that source this
readonly GATEWAY_PROGRAMS="mcp-broker-router keycloak-import" EXAMPLE_PROGRAMS="example-server"

# package_of PROGRAM
package_of() {
  case $1 in
  example-server) echo ./examples/servers ;;
  *) echo "./cmd/$1" ;;
  esac
}

# build_static PROGRAM FILE: builds it for Linux and the architecture of $GOARCH, which is this machine's if it is not set, the same to the last
# bit wherever that is done.
build_static() {
  local package
  package=$(package_of "$1")
  CGO_ENABLED=0 GOOS=linux GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=${VERSION:-dev}" -o "$2" "$package" >&2 ||
    die "could not build \"$package\" (Go's words are above)"
}
