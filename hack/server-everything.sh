#!/usr/bin/env bash
# Prints the path of the reference MCP server's command (run it as: PORT=… COMMAND streamableHttp), installed once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

npm_command server-everything @modelcontextprotocol/server-everything/dist/index.js
