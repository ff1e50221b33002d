#!/usr/bin/env bash
# Prints the path of the official MCP conformance suite's command, installed once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

npm_command conformance @modelcontextprotocol/conformance/dist/index.js
