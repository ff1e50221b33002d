#!/usr/bin/env bash
# vuln.sh [VERSION]: looks for known vulnerabilities in what our programs call. The database is the Go module golang.org/x/vulndb of VERSION, from the
# proxy that the libraries come from too: the newest by default, "pinned" for the one below, with which a commit is judged the same on every day.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly pinned=v0.0.0-20261105234957-e22db6528018
readonly module=golang.org/x/vulndb

main() {
  local version=${1:-latest} found dir database checker
  [[ $version != pinned ]] || version=$pinned
  have go || die "Go is not on the PATH: install Go 1.26 or newer"
  checker=$("$HACK_DIR/tool.sh" govulncheck)
  found=$(cd / && go mod download -json "$module@$version") || die "could not get $module@$version: $(sed -n 's/^\t"Error": "\(.*\)".*/\1/p' <<<"$found")"
  version=$(sed -n 's/^\t"Version": "\(.*\)".*/\1/p' <<<"$found")
  dir=$(sed -n 's/^\t"Dir": "\(.*\)".*/\1/p' <<<"$found")
  database=$CACHE_DIR/vulndb/$version
  if [[ ! -d $database ]]; then
    lock vulndb
    if [[ ! -d $database ]]; then
      stage
      log "preparing the vulnerability database $version (once)"
      GOBIN=$STAGE nice go install "$module/cmd/indexdb@$version" >&2 || die "could not build $module/cmd/indexdb (Go's words are above)"
      "$STAGE/indexdb" -vulns "$dir/data/osv" -out "$STAGE/database" || die "could not make a database of $dir/data/osv"
      publish "$STAGE/database" "$database"
    fi
  fi
  log "looking for what $version of the database knows, with $(go env GOVERSION)"
  cd "$HACK_DIR/.."
  "$checker" -db "file://$database" ./cmd/... ./examples/...
}

main "$@"
