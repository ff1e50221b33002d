#!/usr/bin/env bash
# fuzz.sh TIME: runs every fuzz target for TIME, one after the other, and goes on after a failure.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
fuzztime=${1:?"usage: fuzz.sh TIME, such as 30s"}
failed=()
found=0
while IFS=: read -r file line; do
  target=${line#func }
  target=${target%%(*}
  package=./$(dirname "${file#./}")
  found=$((found + 1))
  log "=== $package $target, $fuzztime"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$package" </dev/null || failed+=("$package $target")
done < <(find . -name '*_test.go' -not -path './.git/*' -exec grep -H '^func Fuzz[A-Z]' {} + | sort)
((${#failed[@]} == 0)) || die "$(printf 'failed: %s; ' "${failed[@]}")the inputs are in testdata/fuzz beside the tests"
log "$found fuzz targets, none failed"
