#!/usr/bin/env bash
# Packs container images for test clusters, without a container engine.
#   cluster-images.sh platform                 prints a folder with those of the platform: pause, coredns, and Istio's two, whose proxy
#                                              is the Envoy that envoy.sh gives
#   cluster-images.sh gateway OUT NAME...      packs the gateway into the archive OUT, under each NAME
#   cluster-images.sh example OUT NAME...      packs the example MCP servers
#   cluster-images.sh envoy OUT NAME...        packs the Envoy that envoy.sh gives, with the router module
#   cluster-images.sh keycloak OUT NAME...     packs the Keycloak that keycloak.sh gives, with this machine's Java
#   cluster-images.sh redis OUT NAME...        packs the Redis or Valkey that redis.sh gives
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$HACK_DIR/cluster/lib.sh"
. "$HACK_DIR/images-lib.sh"

cd "$HACK_DIR/.."

# pack OUT ARGUMENT...
pack() {
  local out=$1
  shift
  "$packer" --out "$out" "$@" || die "could not pack \"$out\" (the reason is above)"
}

# pack_platform ENVOY: into the staging folder.
pack_platform() {
  local istio libs
  istio=$(module_dir hack/cluster/istio istio.io/istio)
  printf 'root:x:0:0::/:\nnobody:x:65532:65532::/:\n' >"$STAGE/passwd"
  pack "$STAGE/pause.tar" --name localhost/pause:1 --file "/pause=$programs/pause" -- /pause
  pack "$STAGE/coredns.tar" --name localhost/coredns:1 --file "/coredns=$programs/coredns" -- /coredns
  pack "$STAGE/pilot.tar" --name localhost/istio/pilot:1 --file "/usr/local/bin/pilot-discovery=$programs/pilot-discovery" \
    --file "/etc/passwd=$STAGE/passwd" -- /usr/local/bin/pilot-discovery
  mapfile -t libs < <(libraries "$1")
  pack "$STAGE/proxyv2.tar" --name localhost/istio/proxyv2:1 --file "/usr/local/bin/envoy=$1" \
    --file "/usr/local/bin/pilot-agent=$programs/pilot-agent" --file "/etc/passwd=$STAGE/passwd" \
    --file "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json=$istio/tools/packaging/common/envoy_bootstrap.json" \
    ${libs[@]+"${libs[@]}"} -- /usr/local/bin/pilot-agent
  rm "$STAGE/passwd"
}

# pack_keycloak OUT NAME...: a Keycloak that is built already, and a Java that starts it without a shell. Its options follow as arguments, as
# those of Keycloak's own image do.
pack_keycloak() {
  local out=$1 keycloak java names=() libs name
  shift
  [[ $out == /* ]] || out=$OLDPWD/$out
  while (($# > 0)); do names+=(--name "$1") && shift; done
  keycloak=$("$HACK_DIR/keycloak.sh" get)
  java=$(abspath "${JAVA_HOME:+$JAVA_HOME/bin/}java")
  java=$(dirname "$(dirname "$(readlink -f "$java")")")
  have ldd || die "ldd, which tells what Java is linked with, is not on the PATH (on Debian: apt-get install libc-bin)"
  # Of the rest only windows, sound and the like are made, for which libraries would be needed that a server doesn't have.
  mapfile -t libs < <(LD_LIBRARY_PATH=$java/lib/server libraries "$java/bin/java" "$java"/lib/server/libjvm.so \
    "$java"/lib/lib{java,net,nio,zip,jimage,jli,management,management_ext,verify,extnet,instrument,prefs}.so)
  mkdir -p "$CACHE_DIR"
  stage
  printf 'root:x:0:0::/:\nkeycloak:x:65532:65532::/opt/keycloak:\n' >"$STAGE/passwd"
  # The name of a folder with a version or an architecture in it would be in the image for ever.
  for name in lib conf; do libs+=(--dir "/opt/java/$name=$java/$name"); done
  for name in lib conf themes providers; do libs+=(--dir "/opt/keycloak/$name=$keycloak/$name"); done
  pack "$out" "${names[@]}" "${libs[@]}" --file "/opt/java/bin/java=$java/bin/java" --file "/etc/passwd=$STAGE/passwd" --empty /opt/keycloak/data -- \
    /opt/java/bin/java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xms64m -Xmx384m -XX:MaxMetaspaceSize=224m -XX:+ExitOnOutOfMemoryError \
    --add-opens=java.base/java.util=ALL-UNNAMED --add-opens=java.base/java.util.concurrent=ALL-UNNAMED --add-opens=java.base/java.security=ALL-UNNAMED \
    -Djava.util.concurrent.ForkJoinPool.common.threadFactory=io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory \
    -Djava.util.logging.manager=org.jboss.logmanager.LogManager -Dpicocli.disable.closures=true -Duser.language=en -Duser.country=US \
    -Dkc.home.dir=/opt/keycloak -Djboss.server.config.dir=/opt/keycloak/conf \
    -cp /opt/keycloak/lib/quarkus-run.jar io.quarkus.bootstrap.runner.QuarkusEntryPoint
}

# pack_envoy OUT NAME...
pack_envoy() {
  local out=$1 names=() content
  shift
  [[ $out == /* ]] || out=$OLDPWD/$out
  while (($# > 0)); do names+=(--name "$1") && shift; done
  mkdir -p "$CACHE_DIR"
  stage
  envoy_content "$STAGE" >"$STAGE/arguments"
  mapfile -t content <"$STAGE/arguments"
  pack "$out" "${names[@]}" "${content[@]}" -- /usr/local/bin/envoy
}

# pack_redis OUT NAME...: it keeps nothing. Its options follow as arguments.
pack_redis() {
  local out=$1 names=() libs redis
  shift
  [[ $out == /* ]] || out=$OLDPWD/$out
  while (($# > 0)); do names+=(--name "$1") && shift; done
  have ldd || die "ldd, which tells what Redis is linked with, is not on the PATH (on Debian: apt-get install libc-bin)"
  redis=$("$HACK_DIR/redis.sh")
  mapfile -t libs < <(libraries "$redis")
  # Its name decides which of several programs it is.
  pack "$out" "${names[@]}" --file "/usr/local/bin/redis-server=$redis" ${libs[@]+"${libs[@]}"} -- /usr/local/bin/redis-server --save '' --protected-mode no
}

platform() {
  local envoy key target programs
  programs=$("$HACK_DIR/cluster-programs.sh")
  have ldd || die "ldd, which tells what Envoy is linked with, is not on the PATH (on Debian: apt-get install libc-bin)"
  envoy=$("$HACK_DIR/envoy.sh")
  key=$(printf '%s\n' "$programs" "$envoy" "$("$envoy" --version)" | sha256 "$HACK_DIR/cluster-images.sh" -)
  target=$CACHE_DIR/cluster/images-$key
  if [[ ! -d $target ]]; then
    lock cluster-images
    if [[ ! -d $target ]]; then
      stage
      log "packing the images of a test cluster's platform (once)"
      pack_platform "$envoy" >&2
      publish "$STAGE" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

# own "PROGRAM..." OUT NAME...: static programs of this repository, each at the top of the image, which runs the first.
own() {
  local programs out=$2 names=() files=() program
  read -ra programs <<<"$1"
  shift 2
  (($# > 0)) || die "an image needs a name, such as localhost/${programs[0]}:dev"
  [[ $out == /* ]] || out=$OLDPWD/$out
  while (($# > 0)); do names+=(--name "$1") && shift; done
  mkdir -p "$CACHE_DIR"
  stage
  for program in "${programs[@]}"; do
    build_static "$program" "$STAGE/$program"
    files+=(--file "/$program=$STAGE/$program")
  done
  pack "$out" "${names[@]}" --ca-certificates "${files[@]}" -- "/${programs[0]}"
}

main() {
  local usage='usage: cluster-images.sh platform | cluster-images.sh gateway|example|envoy|keycloak|redis OUT NAME...'
  (($# == 1)) || (($# > 2)) || die "$usage"
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  packer=$("$HACK_DIR/packer.sh")
  case $1 in
  platform) platform ;;
  gateway) own "$GATEWAY_PROGRAMS" "${@:2}" ;;
  example) own "$EXAMPLE_PROGRAMS" "${@:2}" ;;
  envoy) pack_envoy "${@:2}" ;;
  keycloak) pack_keycloak "${@:2}" ;;
  redis) pack_redis "${@:2}" ;;
  *) die "$usage" ;;
  esac
}

main "$@"
