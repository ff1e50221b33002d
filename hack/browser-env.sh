#!/usr/bin/env bash
# Fetches what tests in a browser need, those with the MCP Inspector too, and prints it as "export NAME=PATH" lines.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

main() {
  local chromium node inspector playwright axe
  # First what a system's own packages must bring, so that nothing is downloaded in vain.
  chromium=$("$HACK_DIR/chromium.sh")
  node=$("$HACK_DIR/node.sh" 22.19)
  inspector=$("$HACK_DIR/inspector.sh")
  playwright=$("$HACK_DIR/playwright.sh")
  axe=$("$HACK_DIR/axe.sh")
  printf 'export %s=%q\n' CHROMIUM_BIN "$chromium" NODE_BIN "$node" INSPECTOR_BIN "$inspector" PLAYWRIGHT_CORE "$playwright" AXE_CORE "$axe"
}

main
