package auth_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// TestConsole: on the status page, a user logs in at Keycloak as any client of the gateway does, and calls what the policies allow.
func TestConsole(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	g := startExample(t, r)
	r.admin(t, http.MethodPost, "/clients", map[string]any{
		"clientId": "console", "publicClient": true, "redirectUris": []string{g.Admin + "/login"}, "webOrigins": []string{"+"},
	}, nil)
	pictures := os.Getenv(screenshots)
	if pictures == "" {
		pictures = t.TempDir()
	}
	for user, want := range map[string]string{"mcp": "Lisbon", "guest": "403"} {
		options, err := json.Marshal(map[string]any{
			"page": g.Admin + "/item/tools?name=weather_get_forecast", "user": user, "password": user, "client": "console", "fill": map[string]string{"city": "Lisbon"},
			"screenshots": filepath.Join(pictures, user),
		})
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), testbed.Program(t, nodeBin), "browser/console.mjs", string(options))
		cmd.Env = append(os.Environ(), chromiumBin+"="+testbed.Program(t, chromiumBin), playwright+"="+testbed.Program(t, playwright))
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); err != nil {
			require.ErrorAs(t, err, &exit)
			t.Fatalf("%s cannot log in: %v\n%s", user, err, exit.Stderr)
		}
		assert.Contains(t, string(out), want, user)
	}
}
