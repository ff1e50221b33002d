#!/usr/bin/env bash
# inspect.sh [URL]: runs the MCP Inspector on this machine, until Ctrl-C, for the endpoint at URL. Without one it is that of the local environment, if it is
# there, with the ports forwarded; else that of `make run`.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly port=${GATEWAY_LOCAL_PORT_HTTP_MCP:-8888}
forward_pid='' inspector_pid='' memory=''

# shellcheck disable=SC2317 # a trap calls it
finish() {
  local pid
  for pid in $inspector_pid $forward_pid; do kill "$pid" 2>/dev/null || true; done
  for pid in $inspector_pid $forward_pid; do while kill -0 "$pid" 2>/dev/null; do wait "$pid" 2>/dev/null || true; done; done
  [[ -z $memory ]] || rm -rf "$memory"
}

taken() { (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

# serves URL: whether the gateway on the port says that it is this endpoint. What listens there may be the forwarding of another terminal, or `make run`.
serves() { curl --noproxy '*' -fs -m 5 --connect-to "::127.0.0.1:$port" "${1%/mcp}/.well-known/oauth-protected-resource/mcp" 2>/dev/null | grep -qF "\"$1\""; }

# start_forward: in a process group of its own, which a terminal's Ctrl-C does not reach: finish stops it.
start_forward() {
  local end=$((SECONDS + 30))
  set -m
  "$HACK_DIR/local-env.sh" forward </dev/null &
  set +m
  forward_pid=$!
  until taken; do
    if ! kill -0 "$forward_pid" 2>/dev/null || ((SECONDS > end)); then die "the ports of the local environment cannot be forwarded (the reason is above)"; fi
    sleep 0.2
  done
}

# choose sets url.
choose() {
  url=${1:-}
  [[ -z $url ]] || return 0
  url=http://127.0.0.1:$port/mcp
  "$HACK_DIR/local-env.sh" up >/dev/null 2>&1 || return 0
  local local_url
  local_url=$("$HACK_DIR/local-env.sh" url)
  if ! taken; then
    start_forward
    url=$local_url
  elif serves "$local_url"; then
    url=$local_url
  fi
}

main() {
  local inspector
  inspector=$("$HACK_DIR/inspector.sh")
  trap finish EXIT
  trap 'exit 0' INT TERM HUP
  choose "$@"
  log "the Inspector for $url"
  # Unless told otherwise, tokens live as long as the Inspector does, and so does where it logged in and as which client: a Keycloak of the examples that
  # starts anew does not know clients that registered before.
  export MCP_INSPECTOR_SECRET_STORE=${MCP_INSPECTOR_SECRET_STORE:-memory}
  if [[ -z ${MCP_STORAGE_DIR:-} ]]; then
    memory=$(mktemp -d "${TMPDIR:-/tmp}/mcp-gateway-inspector.XXXXXX")
    export MCP_STORAGE_DIR=$memory
  fi
  set -m
  "$inspector" --web --transport http --server-url "$url" </dev/null &
  set +m
  inspector_pid=$!
  wait "$inspector_pid"
}

main "$@"
