#!/usr/bin/env bash
# node.sh [LEAST]: prints the path of a Node.js of at least 22, or LEAST: the one on the PATH, else the pinned npm package, installed once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly least=${1:-22}

fits() {
  local version
  version=$("$1" -p process.versions.node 2>/dev/null </dev/null) || return 1
  [[ $version =~ ^([0-9]+)\.([0-9]+)\. ]] || return 1
  local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]} least_minor=0
  [[ $least != *.* ]] || least_minor=${least#*.}
  ((major > ${least%%.*} || (major == ${least%%.*} && minor >= least_minor)))
}

main() {
  local node arch
  if node=$(abspath node) && fits "$node"; then
    printf '%s\n' "$node"
    return
  fi
  case "$(uname -s) $(uname -m)" in
  "Linux x86_64") arch=x64 ;;
  "Linux aarch64" | "Linux arm64") arch=arm64 ;;
  *) die "Node.js $least or newer is needed, and no npm package of it exists for \"$(uname -s) $(uname -m)\": install it and put it on the PATH" ;;
  esac
  install_npm node
  node=$NPM_DIR/node_modules/node-linux-$arch/bin/node
  fits "$node" || die "the Node.js in \"$NPM_DIR\" does not run: remove that folder and try again, or put Node.js $least or newer on the PATH"
  printf '%s\n' "$node"
}

main
