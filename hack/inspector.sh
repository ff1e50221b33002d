#!/usr/bin/env bash
# Prints the path of the MCP Inspector's command, installed once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

npm_command inspector @modelcontextprotocol/inspector/clients/launcher/build/index.js 22.19
