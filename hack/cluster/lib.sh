# shellcheck shell=bash
# Sourced, after lib.sh, by the scripts that make test clusters.

# module_dir FOLDER MODULE: where the files of a Go module are, in the version that FOLDER's go.mod pins.
module_dir() {
  local dir
  dir=$(go mod download -C "$1" -json "$2" | awk -F '"' '$2 == "Dir" { print $4 }') || dir=
  [[ -n $dir ]] || die "the Go module \"$2\" could not be downloaded: check the network and GOPROXY"
  printf '%s\n' "$dir"
}

# started PID: when a process was started, in ticks since the machine was; nothing for one that has ended. An id is given again to
# another process, an id with its start is not.
started() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} == [ZX] ]] || printf '%s\n' "${fields[19]}"
}

# remember ROLE PID: notes a process in the cluster's folder, so that it can be found again and never be taken for another. The shell
# need not tell how it ends.
remember() {
  disown "$2" 2>/dev/null || true
  printf '%s %s %s %s\n' "$1" "$2" "$(started "$2")" "$(cat /proc/sys/kernel/random/boot_id)" >>"$STATE/processes"
}

# process ROLE: the id of a process that was noted and still runs.
process() {
  local role pid start boot
  [[ -f $STATE/processes ]] || return 1
  while read -r role pid start boot; do
    [[ $role == "$1" && $boot == "$(cat /proc/sys/kernel/random/boot_id)" && $start == "$(started "$pid")" && -n $start ]] || continue
    printf '%s\n' "$pid"
    return 0 # said, since after an error, in a trap, a bare return would return that
  done <"$STATE/processes"
  return 1
}

# end ROLE SIGNAL: ends a process that was noted, if it still runs.
end() {
  local pid
  if pid=$(process "$1"); then kill "-$2" "$pid" || true; fi
}

# await SECONDS COMMAND...: until the command succeeds; false if it doesn't in time.
await() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}
