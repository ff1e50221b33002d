#!/usr/bin/env bash
# Prints the folder of playwright-core, the library by which the tests drive Chromium, installed once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_npm playwright-core
printf '%s\n' "$NPM_DIR/node_modules/playwright-core"
