#!/usr/bin/env bash
# enter.sh CGROUP INIT [ARGUMENT...]: puts itself into cgroups of its own, named CGROUP and listed in $STATE/cgroups, then becomes the
# parent of INIT, the first process in namespaces of its own. When this process is killed, all of them are.
. "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

# mount_of CONTROLLERS: where that hierarchy of cgroups is mounted, and which part of it.
mount_of() { awk -v want="$1" '{
    for (i = 7; i <= NF; i++) if ($i == "-") break
    if ($(i + 1) != "cgroup") next
    n = split($(i + 3), options, ","); m = split(want, parts, ","); hits = 0
    for (a = 1; a <= m; a++) for (b = 1; b <= n; b++) if (parts[a] == options[b]) hits++
    if (hits == m) { print $5, $4; exit }
  }' /proc/self/mountinfo; }

# join CONTROLLERS PATH: a cgroup below the one that we are in.
join() {
  local controllers=$1 path=$2 mount root dir file
  read -r mount root < <(mount_of "$controllers") || return 0 # a hierarchy that is not mounted limits nobody
  dir=$mount/${path#"$root"}
  dir=${dir%/}/$name
  mkdir -p "$dir" || die "cannot make the cgroup \"$dir\": a test cluster needs the right to"
  if [[ ,$controllers, == *,cpuset,* ]]; then
    for file in cpuset.cpus cpuset.mems; do cat "${dir%/*}/$file" >"$dir/$file"; done
  fi
  printf '%s\n' "$dir" >>"${STATE:?}/cgroups"
  echo $$ >"$dir/cgroup.procs"
}

readonly name=$1
shift
# At once, since what is read changes with every one that is joined.
memberships=$(cat /proc/self/cgroup)
while IFS=: read -r _ controllers path; do
  [[ -z $controllers ]] || join "$controllers" "$path"
done <<<"$memberships"
[[ -s $STATE/cgroups ]] || die "this machine has no cgroups of version 1, which a test cluster's node is made of"
# What is in the node has no business with a proxy.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
exec unshare --mount --net --pid --fork --cgroup --uts --ipc --mount-proc --propagation private --kill-child "$@"
