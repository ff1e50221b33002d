#!/usr/bin/env bash
# Runs a gateway that asks for tokens, and the Keycloak that issues them, until Ctrl-C: what `make oauth-example-setup` runs.
#   GATEWAY_LOCAL_PORT_HTTP_MCP  the gateway's port (8888)
#   KEYCLOAK_PORT                Keycloak's (8889); one that already serves the realm there is used
#   POLICIES                     the policy file (config/oauth/policies.yaml)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
readonly gateway_port=${GATEWAY_LOCAL_PORT_HTTP_MCP:-8888} keycloak_port=${KEYCLOAK_PORT:-8889} given=${POLICIES:-config/oauth/policies.yaml}
readonly keycloak=http://127.0.0.1:$keycloak_port issuer=http://127.0.0.1:$keycloak_port/realms/mcp
readonly patience=120 # seconds for Keycloak to start on a busy machine
keycloak_pid='' gateway_pid=''

# shellcheck disable=SC2317 # a trap calls it
finish() {
  local pid
  for pid in $gateway_pid $keycloak_pid; do kill "$pid" 2>/dev/null || true; done
  # Again after an interrupted wait, so that nothing is left when make returns.
  for pid in $gateway_pid $keycloak_pid; do while kill -0 "$pid" 2>/dev/null; do wait "$pid" 2>/dev/null || true; done; done
  rm -rf "$DATA"
}

# serves PATH: whether Keycloak answers there with success.
serves() { curl --noproxy '*' -fs -m 5 -o /dev/null "$keycloak$1"; }

start_keycloak() {
  if serves /realms/mcp; then
    log "using the Keycloak that already serves $issuer"
    return
  fi
  ! (: <>"/dev/tcp/127.0.0.1/$keycloak_port") 2>/dev/null || die "port $keycloak_port is taken, and not by a Keycloak with the realm \"mcp\": free it, or choose another with KEYCLOAK_PORT=…"
  "$HACK_DIR/keycloak.sh" get >/dev/null
  # Only this run knows the password of the administrator.
  export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD
  KC_BOOTSTRAP_ADMIN_PASSWORD=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
  set -m # in a process group of its own, which a terminal's Ctrl-C does not reach: finish stops it
  "$HACK_DIR/keycloak.sh" start --port "$keycloak_port" --data "$DATA/keycloak" --realm config/oauth/mcp-realm.json >"$DATA/keycloak.log" 2>&1 </dev/null &
  set +m
  keycloak_pid=$!
  log "starting Keycloak (about 25 s) …"
  local end=$((SECONDS + patience))
  until serves /realms/mcp; do
    if ! kill -0 "$keycloak_pid" 2>/dev/null || ((SECONDS > end)); then
      tail -n 20 "$DATA/keycloak.log" >&2
      die "Keycloak does not serve $issuer (its last words are above)"
    fi
    sleep 0.5
  done
}

# policies prints the path of the policy file: the given one itself, so that its changes count, or a copy for another issuer.
policies() {
  [[ -f $given ]] || die "POLICIES is \"$given\", which does not exist: correct it, or unset it"
  if [[ $keycloak_port == 8889 ]]; then
    printf '%s\n' "$given"
    return
  fi
  sed "s|http://127\.0\.0\.1:8889/|$keycloak/|" "$given" >"$DATA/policies.yaml"
  printf '%s\n' "$DATA/policies.yaml"
}

next_steps() {
  cat <<TEXT

Callers need a token of $issuer now. Try it with the Inspector in another terminal:

  make inspect-gateway URL=http://127.0.0.1:$gateway_port/mcp

Connect there leads to the login page; each user's password is the same as the name:

  mcp         the weather tools and time_get_time: group "developers", role "clock-reader"
  mcp-admin   everything: group "admins"
  guest       nothing

  Policies    $file
TEXT
  [[ -z $keycloak_pid ]] || printf '  Keycloak    %s/admin (user "admin", password "%s")\n' "$keycloak" "$KC_BOOTSTRAP_ADMIN_PASSWORD"
  printf '\nCtrl-C stops it all.\n'
}

main() {
  local envoy file
  have curl || die "curl is not on the PATH: install it"
  DATA=$(mktemp -d "${TMPDIR:-/tmp}/mcp-gateway-oauth.XXXXXX")
  trap finish EXIT
  trap 'exit 0' INT TERM HUP
  file=$(policies)
  envoy=$("$HACK_DIR/envoy.sh")
  start_keycloak
  set -a
  . config/oauth/oauth.env
  set +a
  export OAUTH_AUTHORIZATION_SERVERS=$issuer
  set -m
  bin/mcp-broker-router standalone --envoy "$envoy" --port "$gateway_port" --example-servers bin/example-server --policies "$file" </dev/null &
  set +m
  gateway_pid=$!
  until curl --noproxy '*' -fs -m 5 -o /dev/null "http://127.0.0.1:$gateway_port/.well-known/oauth-protected-resource"; do
    kill -0 "$gateway_pid" 2>/dev/null || die "the gateway ended before it was ready (its words are above)"
    sleep 0.2
  done
  next_steps
  # Whichever ends first ends the other.
  while kill -0 "$gateway_pid" 2>/dev/null && { [[ -z $keycloak_pid ]] || kill -0 "$keycloak_pid" 2>/dev/null; }; do
    sleep 1 &
    wait $! || true
  done
  die "the gateway or Keycloak ended by itself$([[ ! -f $DATA/keycloak.log ]] || printf '; Keycloak said last: %s' "$(tail -n 1 "$DATA/keycloak.log")")"
}

main
