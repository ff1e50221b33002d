#!/usr/bin/env bash
# Generates, formats, lints and vets, and fails if generating or formatting changed a file: what is committed is what they make.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."

# tree: a checksum and a name for every file that git tracks or would track.
tree() { git ls-files -z --cached --others --exclude-standard | xargs -0 cksum 2>/dev/null || true; }

before=$(tree)
linter=$("$HACK_DIR/tool.sh" golangci-lint)
log "=== generate"
go generate ./...
log "=== format"
"$linter" fmt
log "=== lint"
"$HACK_DIR/lint.sh"
log "=== vet"
go vet ./...
log "=== clean tree"
if ! changed=$(diff <(printf '%s\n' "$before") <(tree)); then
  printf '%s\n' "$changed" | awk '/^[<>]/ { print "  " $4 }' | sort -u >&2
  die "the files above were generated or formatted anew: look at them and commit them"
fi
log "all checks passed"
