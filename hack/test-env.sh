#!/usr/bin/env bash
# Fetches all that the unit and end-to-end tests need and prints it as "export NAME=PATH" lines, for: eval "$(hack/test-env.sh)"
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# export_path NAME PATH
export_path() { printf 'export %s=%q\n' "$1" "$2"; }

main() {
  local redis envoy node conformance everything sdks servers stdio telemetry
  redis=$("$HACK_DIR/redis.sh")
  envoy=$("$HACK_DIR/envoy.sh")
  node=$("$HACK_DIR/node.sh")
  conformance=$("$HACK_DIR/conformance.sh")
  everything=$("$HACK_DIR/server-everything.sh")
  sdks=$("$HACK_DIR/typescript-sdks.sh")
  stdio=$("$HACK_DIR/supergateway.sh")
  servers=$("$HACK_DIR/go-servers.sh")
  telemetry=$("$HACK_DIR/telemetry-servers.sh")
  export_path REDIS_BIN "$redis"
  export_path ENVOY_BIN "$envoy"
  export_path NODE_BIN "$node"
  export_path CONFORMANCE_BIN "$conformance"
  export_path SERVER_EVERYTHING_BIN "$everything"
  export_path SUPERGATEWAY_BIN "$stdio"
  export_path TYPESCRIPT_SDKS "$sdks"
  export_path GO_SDK_SERVER_BIN "$servers/go-sdk-everything-server"
  export_path MCP_GO_SERVER_BIN "$servers/mcp-go-conformance-server"
  export_path COLLECTOR_BIN "$telemetry/collector"
  export_path PROMETHEUS_BIN "$telemetry/prometheus"
}

main
