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
# bit wherever that is done: by the Go that go.mod names, too, where the environment does not forbid it.
build_static() {
  local package
  package=$(package_of "$1")
  CGO_ENABLED=0 GOOS=linux GOTOOLCHAIN=${GOTOOLCHAIN:-auto} GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=${VERSION:-dev}" -o "$2" "$package" >&2 ||
    die "could not build \"$package\" (Go's words are above)"
}

# file_of PATH: the arguments for a file that has the same path in the image.
file_of() { printf -- '--file\n%s=%s\n' "$1" "$1"; }

# libraries BIN...: the arguments for the libraries that programs are linked with, and for those that resolve names.
libraries() {
  local path dir=''
  while read -r path; do
    file_of "$path"
    [[ $path != */libc.so.6 ]] || dir=${path%/*}
  done < <(ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $1 !~ /:$/ { print $1 }' | sort -u)
  [[ -n $dir ]] || return 0
  for path in "$dir"/libnss_{dns,files}.so.2 "$dir"/libresolv.so.2; do
    [[ ! -e $path ]] || file_of "$path"
  done
}

# envoy_content FOLDER: the arguments, a line each, for an Envoy of this machine's architecture and the router module, which is built into the folder: a
# module is linked by a C compiler, with the libraries of this machine.
envoy_content() {
  local envoy module
  have ldd || die "ldd, which tells what Envoy is linked with, is not on the PATH (on Debian: apt-get install libc-bin)"
  envoy=$("$HACK_DIR/envoy.sh") && module=$("$HACK_DIR/envoy-module.sh" "$1") || return 1
  printf 'root:x:0:0::/:\nnobody:x:65532:65532::/:\n' >"$1/passwd"
  printf -- '--file\n%s\n' "/usr/local/bin/envoy=$envoy" "/usr/local/lib/mcp-gateway/libmcp_gateway.so=$module" "/etc/passwd=$1/passwd"
  printf -- '--env\n%s\n' ENVOY_DYNAMIC_MODULES_SEARCH_PATH=/usr/local/lib/mcp-gateway GODEBUG=cgocheck=0
  printf -- '--part\n%s\n' "envoy=$("$envoy" --version | sed -n 's/.*version: //p')"
  printf -- '--ca-certificates\n'
  libraries "$envoy" "$module"
}
