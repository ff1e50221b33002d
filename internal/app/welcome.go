package app

import (
	"fmt"
	"strings"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
)

// welcome tells where the gateway is and how to use it.
func (a *standalone) welcome() {
	endpoint := strings.TrimSuffix(a.settings.publicURL, "/") + "/mcp"
	var b strings.Builder
	fmt.Fprintf(&b, "\nMCP Gateway %s is ready: %s\n\n", a.version, endpoint)
	fmt.Fprintf(&b, "  Status     http://%s/\n", a.gateway.adminAddress)
	snap := a.gateway.publisher.Snapshot()
	heading := "Servers"
	for _, s := range snap.Servers() {
		fmt.Fprintf(&b, "  %-9s  %s: %s\n", heading, s.Name, summary(snap, s))
		heading = ""
	}
	if heading != "" {
		b.WriteString("  Servers    none yet; add one to " + a.settings.configFile + "\n")
	}
	fmt.Fprintf(&b, `
Connect a client with
  {"mcpServers": {"gateway": {"type": "http", "url": %q}}}
or look around with the Inspector
  npx @modelcontextprotocol/inspector --transport http --server-url %s
or by hand
  curl -si %s -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
    -d '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}'

Ctrl-C stops it.
`, endpoint, endpoint, endpoint)
	_, _ = a.stdout.Write([]byte(b.String()))
}

// summary says in one line what a server gives to the gateway.
func summary(snap *catalog.Snapshot, s *catalog.Server) string {
	switch s.State.Health {
	case catalog.HealthDisabled:
		return "disabled"
	case catalog.HealthFailing:
		return "failing: " + s.State.LastError
	case catalog.HealthConnecting:
		return "connecting"
	case catalog.HealthReady:
	}
	tools := 0
	for _, it := range snap.Items(catalog.Tool) {
		if it.Server == s {
			tools++
		}
	}
	if tools == 1 {
		return "1 tool"
	}
	return fmt.Sprintf("%d tools", tools)
}
