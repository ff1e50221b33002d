// Command mcp-broker-router is the gateway's one process beside Envoy: the router that decides, the broker that answers
// for all servers together, and the server of Envoy's configuration.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/guicassolato/mcp-gateway/internal/app"
)

// version is set when the binary is linked.
var version = "dev"

func main() {
	err := app.Main(context.Background(), version, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "mcp-broker-router: %v\n", err)
	}
	os.Exit(app.ExitCode(err))
}
