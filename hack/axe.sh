#!/usr/bin/env bash
# Prints the path of axe-core, the library by which the tests judge whether pages can be used by everybody, installed once.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_npm axe-core
printf '%s\n' "$NPM_DIR/node_modules/axe-core/axe.min.js"
