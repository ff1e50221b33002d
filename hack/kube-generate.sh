#!/usr/bin/env bash
# Generates what follows from the types in api/: their deep copies, and the CustomResourceDefinitions in config/crd.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

generator=$("$HACK_DIR/tool.sh" controller-gen)
cd "$HACK_DIR/.."
"$generator" object crd paths=./api/... output:crd:artifacts:config=config/crd
