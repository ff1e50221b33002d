#!/usr/bin/env bash
# Lints the Go code, and the scripts where shellcheck is installed.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
linter=$("$HACK_DIR/tool.sh" golangci-lint)
"$linter" run
if have shellcheck; then
  shellcheck hack/*.sh hack/cluster/*.sh hack/cluster/*/*.sh .ci/run
else
  log "shellcheck is not installed: the scripts were not linted"
fi
