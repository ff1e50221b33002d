package localenv_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// screenshots names the folder in which pictures are kept; without it they go with the test.
const screenshots = "E2E_ARTIFACTS"

// withNames runs a program for which the name of the local environment leads to this machine, as DNS does for everybody else: where there is no network,
// nobody knows it.
func withNames(t *testing.T, program string, args ...string) testbed.Command {
	t.Helper()
	hosts := filepath.Join(t.TempDir(), "hosts")
	require.NoError(t, os.WriteFile(hosts, []byte("127.0.0.1 localhost "+mcpHost+"\n"), 0o644)) //nolint:gosec // it is for all to read
	script := `mount --bind "$1" /etc/hosts && shift && exec "$@"`
	return testbed.Command{Path: "unshare", Args: append([]string{"--mount", "sh", "-c", script, "sh", hosts, program}, args...)}
}

// inspector: in a real browser, the Inspector's Connect leads to Keycloak's page, and after the login the permitted tools are there and no others.
func (e *environment) inspector(t *testing.T) {
	forward := testbed.Start(t, "make dev-gateway-forward", testbed.Command{Path: "make", Args: append([]string{"-C", root, "dev-gateway-forward"}, e.variables...)})
	forward.Said(t, "forwarding, until Ctrl-C")
	browser := testbed.NewBrowser(t, screenshots)
	browser.Command = func(program string, args ...string) testbed.Command { return withNames(t, program, args...) }
	out := browser.Run(t, "../../auth/browser/inspector.mjs", "inspector", map[string]any{
		"inspector": browser.Inspector(t, fmt.Sprintf("http://%s:%d/mcp", mcpHost, e.mcp)),
		"user":      "mcp", "password": "mcp", "call": "weather_get_forecast", "fill": map[string]string{"city": "Lisbon"}, "expect": `"sky"`,
	})
	var shown struct {
		Tools  []string
		Result string
	}
	require.NoError(t, json.Unmarshal(out, &shown), string(out))
	assert.Equal(t, toolsOf("mcp"), shown.Tools)
	assert.Contains(t, shown.Result, `"Lisbon"`)
}
