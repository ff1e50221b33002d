// Package auth_test drives the gateway with policies on, from outside: a real Keycloak issues the tokens, a real Envoy
// enforces, real MCP servers answer, and a real browser logs in. It knows what the standards and the guides promise, never
// how the gateway keeps it.
package auth_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run starts the one Keycloak of all tests, which takes longer than everything else.
func run(m *testing.M) int {
	stop, err := startKeycloak()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stop()
	return testbed.Main(m)
}
