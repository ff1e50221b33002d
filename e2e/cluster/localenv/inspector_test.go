package localenv_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// screenshots is the folder in which pictures are kept; without it they go with the test.
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
	start := withNames(t, testbed.Program(t, "INSPECTOR_BIN"), "--web", "--transport", "http", "--server-url", fmt.Sprintf("http://%s:%d/mcp", mcpHost, e.mcp))
	start.Env = []string{
		"HOME=" + t.TempDir(), "MCP_INSPECTOR_SECRET_STORE=memory", "MCP_AUTO_OPEN_ENABLED=false",
		"CLIENT_PORT=" + strconv.Itoa(testbed.FreePort(t)), "MCP_SANDBOX_PORT=" + strconv.Itoa(testbed.FreePort(t)),
	}
	p := testbed.Start(t, "inspector", start)
	page := regexp.MustCompile(`http://127\.0\.0\.1:\d+/?\?MCP_INSPECTOR_API_TOKEN=\w+`)
	testbed.Await(t, "the Inspector to say where its page is", func() bool { return page.MatchString(p.Output()) })

	pictures := os.Getenv(screenshots)
	if pictures == "" {
		pictures = t.TempDir()
	}
	require.NoError(t, os.MkdirAll(pictures, 0o755)) //nolint:gosec // as any other output
	options, err := json.Marshal(map[string]any{
		"inspector": page.FindString(p.Output()), "user": "mcp", "password": "mcp", "call": "weather_get_forecast", "fill": map[string]string{"city": "Lisbon"},
		"expect": `"sky"`, "screenshots": filepath.Join(pictures, "inspector"),
	})
	require.NoError(t, err)
	command := withNames(t, testbed.Program(t, "NODE_BIN"), "../../auth/browser/inspector.mjs", string(options))
	cmd := exec.CommandContext(t.Context(), command.Path, command.Args...) //nolint:gosec // the program that the test is about
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil {
		require.ErrorAs(t, err, &exit)
		t.Fatalf("mcp cannot log in: %v\n%s", err, exit.Stderr)
	}
	var shown struct {
		Tools  []string
		Result string
	}
	require.NoError(t, json.Unmarshal(out, &shown), string(out))
	assert.Equal(t, toolsOf("mcp"), shown.Tools)
	assert.Contains(t, shown.Result, `"Lisbon"`)
}
