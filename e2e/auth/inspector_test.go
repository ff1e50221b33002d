package auth_test

import (
	"encoding/json"
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

// The variables by which the tests find what the browser needs.
const (
	nodeBin      = "NODE_BIN"
	inspectorBin = "INSPECTOR_BIN"
	chromiumBin  = "CHROMIUM_BIN"
	playwright   = "PLAYWRIGHT_CORE"
	// screenshots is the folder in which pictures are kept; without it they go with the test.
	screenshots = "AUTH_SCREENSHOTS"
)

// startInspector starts an Inspector for one user and tells the URL of its page.
func startInspector(t *testing.T, endpoint string) string {
	t.Helper()
	p := testbed.Start(t, "inspector", testbed.Command{
		Path: testbed.Program(t, inspectorBin),
		Args: []string{"--web", "--transport", "http", "--server-url", endpoint},
		Env: []string{
			"HOME=" + t.TempDir(), "MCP_INSPECTOR_SECRET_STORE=memory", "MCP_AUTO_OPEN_ENABLED=false",
			"CLIENT_PORT=" + strconv.Itoa(testbed.FreePort(t)), "MCP_SANDBOX_PORT=" + strconv.Itoa(testbed.FreePort(t)),
		},
	})
	page := regexp.MustCompile(`http://127\.0\.0\.1:\d+/?\?MCP_INSPECTOR_API_TOKEN=\w+`)
	testbed.Await(t, "the Inspector to say where its page is", func() bool { return page.MatchString(p.Output()) })
	return page.FindString(p.Output())
}

// TestInspector: in a real browser, the Inspector's Connect leads to Keycloak's login page, and after the login exactly
// the permitted tools are there.
func TestInspector(t *testing.T) {
	t.Parallel()
	g := startExample(t, sharedRealm(t))
	pictures := os.Getenv(screenshots)
	if pictures == "" {
		pictures = t.TempDir()
	}
	t.Logf("screenshots are in %q", pictures)
	for user, want := range map[string]struct {
		tools []string
		call  string
	}{"mcp": {ofMCP(), "weather_get_forecast"}, "mcp-admin": {tools: everything()}, "guest": {tools: []string{}}} {
		options, err := json.Marshal(map[string]any{
			"inspector": startInspector(t, g.Endpoint), "user": user, "password": user, "call": want.call, "fill": map[string]string{"city": "Lisbon"}, "expect": `"sky"`,
			"screenshots": filepath.Join(pictures, user),
		})
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), testbed.Program(t, nodeBin), "browser/inspector.mjs", string(options))
		cmd.Env = append(os.Environ(), chromiumBin+"="+testbed.Program(t, chromiumBin), playwright+"="+testbed.Program(t, playwright))
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); err != nil {
			require.ErrorAs(t, err, &exit)
			t.Fatalf("%s cannot log in: %v\n%s", user, err, exit.Stderr)
		}
		var shown struct {
			Tools  []string
			Result string
		}
		require.NoError(t, json.Unmarshal(out, &shown), string(out))
		assert.Equal(t, want.tools, shown.Tools, user)
		if want.call != "" {
			assert.Contains(t, shown.Result, `"Lisbon"`)
		}
	}
}
