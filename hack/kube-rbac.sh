#!/usr/bin/env bash
# kube-rbac.sh ROLE PACKAGE DIR: writes DIR/role.yaml, the permissions that the markers of a Go package ask for. Paths are relative to the repository's root.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# == 3)) || die "want the name of a role, a package and a folder"
generator=$("$HACK_DIR/tool.sh" controller-gen)
cd "$HACK_DIR/.."
"$generator" "rbac:roleName=$1" "paths=$2" "output:rbac:artifacts:config=$3"
