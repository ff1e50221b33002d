#!/usr/bin/env bash
# bench-go.sh COUNT [OLD]: runs the Go benchmarks COUNT times, keeps the output in bin/bench.txt and summarises it with
# benchstat, beside the OLD output if one is given.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$HACK_DIR/.."
count=${1:?"usage: bench-go.sh COUNT [OLD]"}
old=${2:-}
[[ -z $old || -f $old ]] || die "there is no older result \"$old\""
benchstat=$("$HACK_DIR/tool.sh" benchstat)
mkdir -p bin
go list ./... | grep -v /e2e | xargs go test -run '^$' -bench . -benchmem -count "$count" | tee bin/bench.txt
"$benchstat" ${old:+"$old"} bin/bench.txt
