#!/usr/bin/env bash
# Prints the path of a Chromium: $CHROMIUM_BIN, else the one on the PATH under any of its names, else where macOS has it.
# It is not fetched: browsers come with a system's own packages, which know what else one needs.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly advice="install it (on Debian: apt-get install chromium fonts-dejavu-core; on macOS: brew install --cask chromium) or set CHROMIUM_BIN"

runs() { [[ -f $1 && -x $1 ]] && "$1" --version >/dev/null 2>&1 </dev/null; }

main() {
  local name bin
  if [[ -n ${CHROMIUM_BIN:-} ]]; then
    bin=$(abspath "$CHROMIUM_BIN") || die "CHROMIUM_BIN is \"$CHROMIUM_BIN\", which does not exist: correct it, or unset it to have the PATH searched"
    runs "$bin" || die "CHROMIUM_BIN is \"$CHROMIUM_BIN\", which does not run: correct it, or unset it to have the PATH searched"
    printf '%s\n' "$bin"
    return
  fi
  for name in chromium chromium-browser google-chrome google-chrome-stable \
    /Applications/Chromium.app/Contents/MacOS/Chromium "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
    if bin=$(abspath "$name") && runs "$bin"; then
      printf '%s\n' "$bin"
      return
    fi
  done
  die "no Chromium is on the PATH (chromium, chromium-browser, google-chrome): $advice"
}

main
