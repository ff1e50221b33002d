#!/usr/bin/env bash
# The Keycloak of the examples and tests, fetched with Maven and built once.
#   keycloak.sh get     prints its folder
#   keycloak.sh start --port PORT --data FOLDER --realm FILE
#                       runs it on 127.0.0.1, in this script's process, with a database in memory that is filled from FILE
# Its administrator is $KC_BOOTSTRAP_ADMIN_USERNAME with $KC_BOOTSTRAP_ADMIN_PASSWORD; without these there is none.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pinned=26.7.3
readonly checksum=27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f
readonly artifact=keycloak-quarkus-dist
readonly advice="with Docker instead, the image quay.io/keycloak/keycloak:$pinned runs the same realm file: see docs/guides/authentication.md"

usage() { die "usage: keycloak.sh get | keycloak.sh start --port PORT --data FOLDER --realm FILE"; }

find_java() {
  JAVA=${JAVA_HOME:+$JAVA_HOME/bin/}java
  have "$JAVA" || die "Keycloak needs Java 17 or newer, and \"$JAVA\" is not there (on Debian: apt-get install default-jre-headless): install it, or $advice"
  "$JAVA" -version >/dev/null 2>&1 </dev/null || die "\"$JAVA\" does not run: correct JAVA_HOME or the PATH, or $advice"
}

# full_sha256 FILE
full_sha256() { if have sha256sum; then sha256sum <"$1" | cut -d ' ' -f 1; else shasum -a 256 <"$1" | cut -d ' ' -f 1; fi; }

download() {
  local target=$1 zip found
  have mvn || die "Keycloak is fetched with Maven's mvn, which is not on the PATH (on Debian: apt-get install maven): install it, or $advice"
  have unzip || die "Keycloak comes as a zip, and there is no unzip on the PATH: install it, or $advice"
  stage
  log "downloading Keycloak $pinned (about 177 MB, once) to \"$target\""
  # A local repository of its own: where the user's one is, only Maven knows.
  mvn -q -B -Dmaven.repo.local="$STAGE/maven" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get \
    -Dartifact="org.keycloak:$artifact:$pinned:zip" -Dtransitive=false >&2 ||
    die "Maven could not download Keycloak $pinned (its words are above): check the network, the proxy and Maven's settings, or $advice"
  zip=$STAGE/maven/org/keycloak/$artifact/$pinned/$artifact-$pinned.zip
  found=$(full_sha256 "$zip")
  [[ $found == "$checksum" ]] || die "the downloaded Keycloak $pinned has the SHA-256 \"$found\", not \"$checksum\": it is not used"
  unzip -q "$zip" -d "$STAGE" >&2
  log "building Keycloak (half a minute, once)"
  JAVA="$JAVA" "$STAGE/keycloak-$pinned/bin/kc.sh" build --db=dev-mem >"$STAGE/build.log" 2>&1 </dev/null || {
    cat "$STAGE/build.log" >&2
    die "Keycloak $pinned could not be built (its words are above): is Java at least 17?"
  }
  publish "$STAGE/keycloak-$pinned" "$target"
}

# get sets KEYCLOAK to the folder of a Keycloak that is built.
get() {
  KEYCLOAK=$CACHE_DIR/keycloak/$pinned-dev-mem
  [[ ! -d $KEYCLOAK ]] || return 0
  lock keycloak
  [[ -d $KEYCLOAK ]] || download "$KEYCLOAK"
}

# prepare DATA REALM: makes DATA a home for one run: what is Keycloak's by link, and data of its own.
prepare() {
  local name
  mkdir -p "$1/data/import" || die "cannot create \"$1\": give --data a folder that can be written"
  for name in lib conf themes providers; do ln -sfn "$KEYCLOAK/$name" "$1/$name"; done
  rm -f "$1"/data/import/*.json
  cp "$2" "$1/data/import/"
}

start() {
  local port='' data='' realm=''
  while (($# >= 2)); do
    case $1 in
    --port) port=$2 ;;
    --data) data=$2 ;;
    --realm) realm=$2 ;;
    *) usage ;;
    esac
    shift 2
  done
  [[ $# == 0 && $port =~ ^[0-9]+$ && -n $data && -n $realm ]] || usage
  [[ -f $realm ]] || die "--realm \"$realm\" does not exist: give the realm's JSON file"
  find_java
  # In a process of its own: Java would keep what get holds until its end.
  KEYCLOAK=$("${BASH_SOURCE[0]}" get)
  prepare "$data" "$realm"
  data=$(cd "$data" && pwd)
  # Java itself, not bin/kc.sh, which starts it as a child that outlives it when it is killed.
  exec "$JAVA" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xms64m -Xmx512m -XX:MaxMetaspaceSize=256m -XX:+ExitOnOutOfMemoryError \
    --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.util.concurrent=ALL-UNNAMED --add-opens=java.base/java.security=ALL-UNNAMED \
    -Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory \
    -Djava.util.logging.manager=org.jboss.logmanager.LogManager -Dpicocli.disable.closures=true -Duser.language=en -Duser.country=US \
    -Dkc.home.dir="$data" -Djboss.server.config.dir="$data/conf" \
    -cp "$KEYCLOAK/lib/quarkus-run.jar" io.quarkus.bootstrap.runner.QuarkusEntryPoint \
    start --optimized --http-enabled=true --http-host=127.0.0.1 --http-port="$port" --hostname="http://127.0.0.1:$port" --cache=local --import-realm
}

case ${1:-} in
get)
  (($# == 1)) || usage
  find_java
  get
  printf '%s\n' "$KEYCLOAK"
  ;;
start)
  shift
  start "$@"
  ;;
*) usage ;;
esac
