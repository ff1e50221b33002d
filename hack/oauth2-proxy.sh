#!/usr/bin/env bash
# Prints the path of oauth2-proxy: $OAUTH2_PROXY_BIN, else one that is built once from the version in hack/testservers/oauth2-proxy/go.mod, which is
# that of the image in docs/guides/status-page-login.md.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

go_program OAUTH2_PROXY_BIN oauth2-proxy github.com/oauth2-proxy/oauth2-proxy/v7 "oauth2-proxy"
