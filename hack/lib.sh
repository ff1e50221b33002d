# shellcheck shell=bash
# Sourced by the scripts in this folder, which fetch or build one real part each and print where it is.
# Their contract: the result goes to stdout, everything else to stderr; a second run needs no network; two at once
# do no harm, since a part is put together in a staging folder and renamed into place whole.

set -euo pipefail

# shellcheck disable=SC2034 # for the scripts that source this
HACK_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE_DIR=${MCP_GATEWAY_CACHE:-${HOME:?"is not set: set it, or MCP_GATEWAY_CACHE"}/.cache/mcp-gateway}

log() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

die() {
  log "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# abspath FILE: FILE as an absolute path; a bare command name is looked up on the PATH.
abspath() {
  local file=$1
  [[ $file == */* ]] || file=$(command -v "$file") || return 1
  [[ -e $file ]] || return 1
  printf '%s/%s\n' "$(cd "$(dirname "$file")" && pwd)" "$(basename "$file")"
}

# sha256 FILE...: one short key for the contents of all the files.
sha256() {
  if have sha256sum; then cat "$@" | sha256sum | cut -c1-16; else cat "$@" | shasum -a 256 | cut -c1-16; fi
}

# lock NAME: held until the script ends, so that of two runs one fetches and the other finds the result.
# Where there is no flock (macOS) both fetch, and the renames keep that harmless.
lock() {
  mkdir -p "$CACHE_DIR/locks" || die "cannot create the cache \"$CACHE_DIR\": set MCP_GATEWAY_CACHE to a folder that can be written"
  have flock || return 0
  exec 9>"$CACHE_DIR/locks/$1"
  flock -n 9 && return 0
  log "waiting for another run that prepares $1"
  flock 9
}

# stage: after lock, sets STAGE to a fresh folder in the cache, removed when the script ends.
stage() {
  STAGE=$(mktemp -d "$CACHE_DIR/.staging.XXXXXX")
  trap 'rm -rf "$STAGE"' EXIT
}

# publish FROM TO: renames FROM into place; a folder stays as it is where another run was faster.
publish() {
  mkdir -p "$(dirname "$2")"
  [[ -d $2 ]] || mv -f "$1" "$2"
}

# go_program VARIABLE NAME PACKAGE WHAT: prints the path of the program that VARIABLE names, else of one that is built once from the version of PACKAGE in
# hack/testservers/NAME/go.mod.
go_program() {
  local variable=$1 name=$2 package=$3 what=$4 module=$HACK_DIR/testservers/$2 given=${!1:-} target
  if [[ -n $given ]]; then
    target=$(abspath "$given") || die "$variable is \"$given\", which does not exist: correct it, or unset it to have one built"
    [[ -f $target && -x $target ]] || die "$variable is \"$given\", which is not an executable file: correct it, or unset it to have one built"
    printf '%s\n' "$target"
    return
  fi
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  target=$CACHE_DIR/$name/$(sha256 "$module/go.mod" "$module/go.sum" "$0")/$name
  if [[ ! -x $target ]]; then
    lock "$name"
    if [[ ! -x $target ]]; then
      stage
      log "building $what (once, some minutes at most)"
      nice go build -C "$module" -trimpath -o "$STAGE/$name" "$package" >&2 || die "could not build \"$package\" (Go's words are above)"
      publish "$STAGE/$name" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

# install_npm NAME: sets NPM_DIR to a folder with the packages that hack/npm/NAME/package-lock.json pins, installed once.
install_npm() {
  local name=$1 from=$HACK_DIR/npm/$1
  NPM_DIR=$CACHE_DIR/npm/$name-$(sha256 "$from/package.json" "$from/package-lock.json")
  [[ ! -d $NPM_DIR ]] || return 0
  lock "npm-$name"
  [[ ! -d $NPM_DIR ]] || return 0
  have npm || die "\"$name\" is fetched with npm, which is not on the PATH: install Node.js 22 or newer with npm"
  stage
  log "installing \"$name\" with npm (once) to \"$NPM_DIR\""
  cp "$from/package.json" "$from/package-lock.json" "$STAGE/"
  (cd "$STAGE" && npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier >&2) ||
    die "npm could not install \"$name\" (its words are above): check the network, the proxy and npm's registry setting"
  publish "$STAGE" "$NPM_DIR"
}

# npm_command NAME SCRIPT [LEAST]: prints the path of a command that runs the SCRIPT of an installed package with a Node that
# fits, which is at least LEAST.
npm_command() {
  local node
  node=$("$HACK_DIR/node.sh" "${@:3}")
  install_npm "$1"
  local command=$NPM_DIR/$1
  # Written on every run, since the Node that fits may be another one by now.
  printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$node" "$NPM_DIR/node_modules/$2" >"$command.$$"
  chmod 755 "$command.$$"
  mv -f "$command.$$" "$command"
  printf '%s\n' "$command"
}

# find_python WHAT ADVICE: the name of a Python 3 that has pip, with which WHAT is fetched.
find_python() {
  local name
  for name in python3 python; do
    "$name" -c 'import sys, pip; sys.exit(sys.version_info[0] != 3)' >/dev/null 2>&1 && printf '%s\n' "$name" && return 0
  done
  have python3 || die "$1 is fetched with Python's pip, and there is no python3: install it with pip, or $2"
  die "$1 is fetched with Python's pip, and python3 has no pip module (on Debian: apt-get install python3-pip): install it, or $2"
}
