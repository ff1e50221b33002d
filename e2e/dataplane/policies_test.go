package dataplane_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// policyBed is a gateway with one of the shipped policies in front of a server with tools of all kinds.
type policyBed struct {
	*testbed.Gateway

	weather *testbed.Upstream
}

// shipped is the content of a policy as it is shipped.
func shipped(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "policies", "envoy", name))
	require.NoError(t, err)
	return string(content)
}

func newPolicyBed(t *testing.T, mode testbed.Mode, policy string) *policyBed {
	path := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(path, []byte(policy), 0o600))
	b := &policyBed{weather: testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
		{Name: "get_forecast", Annotations: `{"readOnlyHint":true}`},
		{Name: "set_alert", Annotations: `{"destructiveHint":true}`},
	}})}
	b.Gateway = testbed.StartGateway(t, testbed.Options{
		Mode: mode, EnvoyFlags: []string{"--envoy-policies", path},
		Servers: []config.ServerSpec{{Name: "weather", URL: b.weather.URL, ToolPrefix: "w_"}},
	})
	b.AwaitTools(t, "w_get_forecast", "w_set_alert")
	return b
}

// lies are headers by which a client might hope to pass for one that calls a harmless tool.
func lies() []string {
	return []string{
		"X-Mcp-Toolname", "get_forecast", "X-Mcp-Publicname", "w_get_forecast", "X-Mcp-Servername", "other", "X-Mcp-Method", "tools/list",
		"X-Mcp-Annotation-Hints", "readOnly=true,destructive=false,idempotent=true,openWorld=false", "Mcp-Name", "w_get_forecast", "Mcp-Method", "tools/list",
	}
}

// check calls what the policy allows and what it does not, in a session's first calls and in later ones.
func (b *policyBed) check(t *testing.T) {
	c := testbed.Connect(t, b.Endpoint)
	for _, way := range []string{"by the broker", "straight"} {
		for _, headers := range [][]string{nil, lies()} {
			body, id := c.ToolCall("w_set_alert", "{}")
			a := c.Post(t, body, headers...)
			assert.Equal(t, http.StatusForbidden, a.Status, "%s: %v", way, a)
			e := a.Error(t)
			assert.Equal(t, http.StatusForbidden, e.Code, way)
			assert.Equal(t, fmt.Sprint(id), e.ID, "an error of a policy has the request's own id (Invariant 7)")
		}
		if way == "by the broker" {
			assert.Empty(t, b.weather.Sessions(c.Name), "a call that a policy refuses opens no session: it runs before the broker")
		}
		c.Call(t, "w_get_forecast", "{}", lies()...).Result(t)
		assert.Equal(t, []string{"w_get_forecast", "w_set_alert"}, c.ToolNames(t))
	}
	for _, call := range b.weather.Calls(c.Name, testbed.RPC("tools/call")) {
		assert.Equal(t, "get_forecast", call.Tool)
	}
}

// TestPolicies: what is shipped as an example does what its comment says, on what the router found out (Invariant 3) and
// not on what the client says.
func TestPolicies(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		t.Run("rbac", func(t *testing.T) {
			t.Parallel()
			newPolicyBed(t, mode, shipped(t, "rbac.yaml")).check(t)
		})
		t.Run("lua", func(t *testing.T) {
			t.Parallel()
			b := newPolicyBed(t, mode, shipped(t, "lua.yaml"))
			b.check(t)
			c := testbed.Connect(t, b.Endpoint)
			for range 2 {
				assert.Equal(t, "weather", c.Call(t, "w_get_forecast", "{}").Header.Get("X-Mcp-Answered-By"))
			}
		})
		t.Run("ext-authz", func(t *testing.T) {
			t.Parallel()
			authorizers(t, mode)
		})
	})
}

// authorizer is a service of the user's own. It refuses one tool and remembers what it was asked.
type authorizer struct {
	mu    sync.Mutex
	asked []http.Header
}

func (a *authorizer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.Header)
	switch {
	case r.Header.Get("X-Mcp-Toolname") == "set_alert":
		w.WriteHeader(http.StatusForbidden)
	case r.Header.Get("Authorization") == "Bearer none":
		w.Header().Set("Www-Authenticate", `Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource"`)
		w.WriteHeader(http.StatusUnauthorized)
	case r.Header.Get("Authorization") == "Bearer too-many":
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

func authorizers(t *testing.T, mode testbed.Mode) {
	service := &authorizer{}
	address := testbed.FreeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	server := testbed.Serve(t, address, service)
	policy := strings.NewReplacer("127.0.0.1:9191", address, "port_value: 9191", "port_value: "+port).Replace(shipped(t, "ext-authz.yaml"))
	b := newPolicyBed(t, mode, policy)
	b.check(t)
	c := testbed.Connect(t, b.Endpoint)
	for token, want := range map[string]struct {
		status        int
		header, value string
	}{
		"none":     {http.StatusUnauthorized, "Www-Authenticate", `Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource"`},
		"too-many": {http.StatusTooManyRequests, "Retry-After", "7"},
	} {
		body, id := c.ToolCall("w_get_forecast", "{}")
		a := c.Post(t, body, "Authorization", "Bearer "+token, "Origin", "http://localhost:6274")
		assert.Equal(t, want.status, a.Status)
		assert.Equal(t, []string{want.value}, a.Header.Values(want.header))
		assert.Equal(t, "http://localhost:6274", a.Header.Get("Access-Control-Allow-Origin"), "a page can read why")
		e := a.Error(t)
		assert.Equal(t, want.status, e.Code)
		assert.Equal(t, fmt.Sprint(id), e.ID)
	}
	server.Close()
	a := c.Call(t, "w_get_forecast", "{}")
	assert.Equal(t, http.StatusServiceUnavailable, a.Status, "a policy that cannot be asked lets nobody pass (Invariant 5)")
	assert.Equal(t, -32603, a.Error(t).Code)
}
