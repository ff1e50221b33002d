#!/usr/bin/env bash
# inspect.sh URL: runs the MCP Inspector on this machine for a server's URL, until Ctrl-C.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

url=${1:?"usage: inspect.sh URL"}
inspector=$("$HACK_DIR/inspector.sh")
# Unless told otherwise, tokens live as long as the Inspector does.
export MCP_INSPECTOR_SECRET_STORE=${MCP_INSPECTOR_SECRET_STORE:-memory}
exec "$inspector" --web --transport http --server-url "$url"
