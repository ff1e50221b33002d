#!/usr/bin/env bash
# Prints the folder of npm packages with the TypeScript SDKs: the one of the revisions up to 2025-11-25, and those of 2026-07-28, installed once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_npm typescript-sdks
printf '%s\n' "$NPM_DIR/node_modules"
