package dataplane_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// TestBrowsers: a page of an origin that is allowed can read every answer, errors included, and one of another can do nothing.
func TestBrowsers(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		const allowed, loopback, evil = "https://app.example.com", "http://localhost:6274", "https://evil.example.com"
		u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{{Name: "tool", Call: func(w http.ResponseWriter, c *testbed.Call) {
			// A server's own opinion on browsers is none of theirs.
			w.Header().Set("Access-Control-Allow-Origin", "*")
			c.Text(w, "said")
		}}}})
		origins := []string{"--allowed-origins", allowed}
		o := testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u}), Flags: origins}
		if mode == testbed.Static {
			o.EnvoyFlags = origins
		}
		g := testbed.StartGateway(t, o)
		g.AwaitTools(t, "u_tool")
		c := testbed.Connect(t, g.Endpoint)
		for _, origin := range []string{allowed, loopback} {
			preflight := c.Do(t, http.MethodOptions, nil, "Origin", origin, "Access-Control-Request-Method", "POST",
				"Access-Control-Request-Headers", "content-type,mcp-session-id,mcp-protocol-version,authorization,last-event-id", "Mcp-Session-Id", "", "Content-Type", "")
			assert.Equal(t, http.StatusOK, preflight.Status, origin)
			assert.Equal(t, []string{origin}, preflight.Header.Values("Access-Control-Allow-Origin"))
			for _, method := range []string{"GET", "POST", "DELETE"} {
				assert.Contains(t, preflight.Header.Get("Access-Control-Allow-Methods"), method)
			}
			for _, header := range []string{"mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "authorization", "content-type", "last-event-id"} {
				assert.Contains(t, strings.ToLower(preflight.Header.Get("Access-Control-Allow-Headers")), header)
			}
			assert.Contains(t, preflight.Header.Get("Access-Control-Allow-Headers"), "*", "Mcp-Param- headers have any name")
			answers := map[string]*testbed.Answer{
				"initialize":            testbed.NewClient(t, g.Endpoint).Initialize(t, "{}", "Origin", origin),
				"by the broker, then":   c.Call(t, "u_tool", "{}", "Origin", origin),
				"straight":              c.Call(t, "u_tool", "{}", "Origin", origin),
				"an error of the route": c.Call(t, "nothing", "{}", "Origin", origin),
				"a forged session":      c.Call(t, "u_tool", "{}", "Origin", origin, "Mcp-Session-Id", "forged"),
				"no JSON":               c.Post(t, "{", "Origin", origin),
				"too large":             c.Post(t, strings.Repeat("x", maxBody+1), "Origin", origin),
			}
			for name, a := range answers {
				assert.Equal(t, []string{origin}, a.Header.Values("Access-Control-Allow-Origin"), "%s: %s", name, origin)
				assert.Equal(t, "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After", a.Header.Get("Access-Control-Expose-Headers"), name)
			}
		}
		preflight := c.Do(t, http.MethodOptions, nil, "Origin", evil, "Access-Control-Request-Method", "POST")
		assert.Empty(t, preflight.Header.Values("Access-Control-Allow-Origin"))
		refused := c.Call(t, "u_tool", "{}", "Origin", evil)
		assert.Equal(t, http.StatusForbidden, refused.Status)
		assert.Empty(t, refused.Header.Values("Access-Control-Allow-Origin"))
		assert.Equal(t, -32600, refused.Error(t).Code)
	})
}

// TestProtectedResource: clients learn, at both of RFC 9728's places, who issues tokens for this endpoint.
func TestProtectedResource(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Env: []string{
			"OAUTH_RESOURCE_NAME=The tools", "OAUTH_AUTHORIZATION_SERVERS=https://login.example.com/realms/mcp, https://other.example.com",
			"OAUTH_SCOPES_SUPPORTED=", "OAUTH_BEARER_METHODS_SUPPORTED=header",
		}})
		c := testbed.NewClient(t, g.Endpoint)
		for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"} {
			a := c.At(g.Base+path).Do(t, http.MethodGet, nil, "Accept", "application/json", "Origin", "https://any.example.com")
			require.Equal(t, http.StatusOK, a.Status, a)
			assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
			want := fmt.Sprintf(`{"resource_name":"The tools","resource":"%s/mcp","authorization_servers":["https://login.example.com/realms/mcp","https://other.example.com"],"bearer_methods_supported":["header"]}`, g.Base)
			assert.JSONEq(t, want, a.Body)
			assert.Len(t, a.Header.Values("Access-Control-Allow-Origin"), 1, "a browser takes one of these and no more")
			assert.Contains(t, []string{"*", "https://any.example.com"}, a.Header.Get("Access-Control-Allow-Origin"))

			preflight := c.At(g.Base+path).Do(t, http.MethodOptions, nil, "Origin", "https://any.example.com", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "mcp-protocol-version")
			assert.Less(t, preflight.Status, 300)
			assert.Len(t, preflight.Header.Values("Access-Control-Allow-Origin"), 1)
			assert.Contains(t, strings.ToLower(preflight.Header.Get("Access-Control-Allow-Headers")), "mcp-protocol-version")
		}
		a := c.At(g.Base+"/.well-known/oauth-protected-resource/other").Do(t, http.MethodGet, nil)
		assert.Equal(t, http.StatusNotFound, a.Status)
		a.Error(t)
	})
}

// TestProtectedResourceDefaults: without any setting the document has what is known and nothing else.
func TestProtectedResourceDefaults(t *testing.T) {
	t.Parallel()
	g := testbed.StartGateway(t, testbed.Options{})
	assert.JSONEq(t, fmt.Sprintf(`{"resource_name":"MCP Server","resource":"%s/mcp","bearer_methods_supported":["header"],"scopes_supported":["basic"]}`, g.Base),
		testbed.Get(t, g.Base+"/.well-known/oauth-protected-resource").Body)
}

// TestAdmin: what operators are told.
func TestAdmin(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		tool := []testbed.Tool{{Name: "tool"}}
		one, two := testbed.NewUpstream(t, testbed.Script{Tools: tool}), testbed.NewUpstream(t, testbed.Script{Tools: tool})
		off, dead := false, "http://"+testbed.FreeAddress(t)+"/mcp"
		specs := []struct{ name, url string }{{"one", one.URL}, {"two", two.URL}, {"dead", dead}, {"off", dead}}
		o := testbed.Options{Mode: mode}
		for _, s := range specs {
			server := spec(s.name, s.url)
			server.ToolPrefix = ""
			if s.name == "off" {
				server.Enabled = &off
			}
			o.Servers = append(o.Servers, server)
		}
		g := testbed.StartGateway(t, o)
		assert.Equal(t, http.StatusOK, testbed.Get(t, g.Admin+"/healthz").Status)
		assert.JSONEq(t, `{"ready":true,"reasons":[]}`, testbed.Get(t, g.Admin+"/readyz").Body)

		var s struct {
			testbed.Status

			Envoys []struct{ Serving bool }
		}
		testbed.Await(t, "both servers to be listed", func() bool {
			require.NoError(t, json.Unmarshal([]byte(testbed.Get(t, g.Admin+"/status").Body), &s))
			return len(s.Problems) > 0
		})
		var states []string
		for _, server := range s.Servers {
			states = append(states, server.Name+" "+server.State)
		}
		assert.Equal(t, []string{"one ready", "two ready", "dead failing", "off disabled"}, states)
		assert.Contains(t, s.Servers[2].LastError, "refused")
		require.Len(t, s.Tools, 1, "the first server keeps a name that two would give")
		assert.Equal(t, "one", s.Tools[0].Server)
		require.Len(t, s.Problems, 1, "and the other's is reported")
		assert.Equal(t, "two", s.Problems[0].Server)
		assert.Equal(t, "tool", s.Problems[0].Name)
		if mode == testbed.Standalone {
			require.Len(t, s.Envoys, 1)
			assert.True(t, s.Envoys[0].Serving)
		}
		c := testbed.Connect(t, g.Endpoint)
		assert.Equal(t, 1.0, g.Metric(t, "mcp_gateway_sessions"))
		assert.Equal(t, 1.0, g.Metric(t, `mcp_gateway_catalog_items{kind="tool"}`))
		c.Call(t, "tool", "{}").Result(t)
		assert.Contains(t, one.Calls(c.Name, testbed.RPC("tools/call"))[0].URL.Path, "/mcp")
		// Only what was meant for operators is there: the endpoint has none of it.
		for _, path := range []string{"/healthz", "/readyz", "/status", "/metrics"} {
			a := testbed.Get(t, g.Base+path)
			assert.Equal(t, http.StatusNotFound, a.Status, path)
			a.Error(t)
		}
	})
}
