package auth_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

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
	browser := testbed.NewBrowser(t, screenshots)
	for user, want := range map[string]string{"mcp": "Lisbon", "guest": "403"} {
		out := browser.Run(t, "browser/console.mjs", user, map[string]any{
			"page": g.Admin + "/item/tools?name=weather_get_forecast", "user": user, "password": user, "client": "console", "fill": map[string]string{"city": "Lisbon"},
		})
		assert.Contains(t, string(out), want, user)
	}
}
