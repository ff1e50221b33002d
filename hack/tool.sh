#!/usr/bin/env bash
# tool.sh NAME: prints the path of a development tool, built once from the version in hack/tools/go.mod.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
  local name=${1:-} module=$HACK_DIR/tools package repo version target
  case $name in
  golangci-lint) repo=github.com/golangci/golangci-lint/v2 package=$repo/cmd/golangci-lint ;;
  benchstat) repo=golang.org/x/perf package=$repo/cmd/benchstat ;;
  # Kubernetes' tools have a module of their own, so that they and the linter do not decide over each other's libraries.
  controller-gen) repo=sigs.k8s.io/controller-tools package=$repo/cmd/controller-gen module+=/k8s ;;
  # It wants other versions of Go's own libraries than the linter does.
  govulncheck) repo=golang.org/x/vuln package=$repo/cmd/govulncheck module+=/vuln ;;
  setup-envtest) repo=sigs.k8s.io/controller-runtime/tools/setup-envtest package=$repo module+=/k8s ;;
  *) die "unknown tool \"$name\": golangci-lint, benchstat, govulncheck, controller-gen or setup-envtest" ;;
  esac
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  version=$(awk -v repo="$repo" '$1 == repo && NF > 1 { print $2 }' "$module/go.mod")
  # The Go version is part of the name, because a linter built with an older Go refuses newer code.
  target=$CACHE_DIR/bin/$name-$version-$(go env GOVERSION)
  if [[ ! -x $target ]]; then
    lock "tool-$name"
    if [[ ! -x $target ]]; then
      stage
      log "building \"$name\" $version (once; golangci-lint takes some minutes)"
      nice go build -C "$module" -trimpath -o "$STAGE/$name" "$package" >&2 || die "could not build \"$name\" (Go's words are above)"
      publish "$STAGE/$name" "$target"
    fi
  fi
  printf '%s\n' "$target"
}

main "$@"
