package auth_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// screenshots names the folder in which pictures are kept; without it they go with the test.
const screenshots = "AUTH_SCREENSHOTS"

// TestInspector: in a real browser, the Inspector's Connect leads to Keycloak's login page, and after the login exactly
// the permitted tools are there.
func TestInspector(t *testing.T) {
	t.Parallel()
	g := startExample(t, sharedRealm(t))
	browser := testbed.NewBrowser(t, screenshots)
	for user, want := range map[string]struct {
		tools []string
		call  string
	}{"mcp": {ofMCP(), "weather_get_forecast"}, "mcp-admin": {tools: everything()}, "guest": {tools: []string{}}} {
		out := browser.Run(t, "browser/inspector.mjs", user, map[string]any{
			"inspector": browser.Inspector(t, g.Endpoint), "user": user, "password": user, "call": want.call, "fill": map[string]string{"city": "Lisbon"}, "expect": `"sky"`,
		})
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
