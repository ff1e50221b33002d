#!/usr/bin/env bash
# Prints the path of a command that speaks Streamable HTTP for an MCP server that speaks stdio, installed once. It is run as
#   COMMAND --stdio "SERVER" --outputTransport streamableHttp --stateful --port PORT
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

npm_command supergateway supergateway/dist/index.js 22
