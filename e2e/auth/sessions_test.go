package auth_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// TestUsersDoNotMix: two users who do the same at the same time, with the same ids, get each their own: lists, backend
// sessions, answers.
func TestUsersDoNotMix(t *testing.T) {
	t.Parallel()
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
		{Name: "developers", Call: func(w http.ResponseWriter, c *testbed.Call) { c.Text(w, c.Client) }},
		{Name: "admins", Call: func(w http.ResponseWriter, c *testbed.Call) { c.Text(w, c.Client) }},
	}})
	r := sharedRealm(t)
	acl := `    - {groups: [developers], allow: [developers]}` + "\n" + `    - {groups: [admins], allow: [admins]}` + "\n"
	g := startGateway(t, r, policiesOf(r, acl), config.ServerSpec{Name: "u", URL: u.URL})
	var both sync.WaitGroup
	for user, tool := range map[string]string{"mcp": "developers", "mcp-admin": "admins"} {
		token := r.token(t, user)
		for n := range 2 { // two sessions of each
			c := &caller{Client: testbed.NewClient(t, g.Endpoint)}
			c.become(token)
			c.Name = fmt.Sprintf("%s-%d", user, n)
			c.Initialize(t, "{}")
			both.Go(func() {
				for range 25 {
					assert.Equal(t, []string{tool}, c.ToolNames(t), user)
					body, _ := c.ToolCall(tool, "{}")
					assert.Equal(t, c.Name, c.Post(t, body).Text(t), "the answer of the own session")
				}
			})
		}
	}
	both.Wait()
}

// TestStolenSession: a session's id is worth nothing without a token of the one who opened it.
func TestStolenSession(t *testing.T) {
	t.Parallel()
	g, u := guarded(t, newRealm(t))
	r := g.realm
	thief := "/users/" + r.find(t, "/users", "guest") + "/groups/" + r.find(t, "/groups", "developers")
	r.admin(t, http.MethodPut, thief, nil, nil)
	c := g.connect(t, r.token(t, "mcp"))
	c.Call(t, "u_tool", "{}").Result(t)
	stolen := c.as(r.token(t, "guest"))
	before := len(u.AllCalls())
	for name, a := range map[string]*testbed.Answer{
		"call":   stolen.Call(t, "u_tool", "{}"),
		"list":   stolen.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`),
		"ping":   stolen.Post(t, `{"jsonrpc":"2.0","id":1,"method":"ping"}`),
		"listen": stolen.Do(t, http.MethodGet, nil),
		"end":    stolen.Do(t, http.MethodDelete, nil),
		"notify": stolen.Post(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`),
	} {
		assert.Equal(t, http.StatusNotFound, a.Status, "%s: %v", name, a)
		a.Error(t)
	}
	none := c.as("")
	a := none.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	assert.Contains(t, []int{http.StatusUnauthorized, http.StatusNotFound}, a.Status)
	assert.Len(t, u.AllCalls(), before, "nothing of it reached the server")
	c.Call(t, "u_tool", "{}").Result(t)
	c.as(r.token(t, "mcp")).Call(t, "u_tool", "{}").Result(t) // the same user's next token
	g.connect(t, r.token(t, "guest")).Call(t, "u_tool", "{}").Result(t)
}

// TestForgery: nothing that a client says of itself makes it another (Invariant 3).
func TestForgery(t *testing.T) {
	t.Parallel()
	g := startExample(t, sharedRealm(t))
	c := g.connect(t, g.realm.token(t, "guest"))
	admin := g.realm.token(t, "mcp-admin")
	payload := segment(claimsOf(t, admin))
	lies := map[string][]string{
		"what is called": {
			"X-Mcp-Toolname", "get_time", "X-Mcp-Publicname", "time_get_time", "X-Mcp-Servername", "mcpBroker", "X-Mcp-Method", "tools/list", "Mcp-Name", "none", "Mcp-Method", "ping",
			"X-Mcp-Annotation-Hints", "readOnly=true,destructive=false,idempotent=true,openWorld=false",
		},
		"what is allowed": {"X-Mcp-Authorized", unsigned("none", map[string]any{"allowed-capabilities": `{"tools":["*"]}`})},
		"who calls": {
			"X-Jwt-Payload", payload, "X-Forwarded-User", "mcp-admin", "X-Forwarded-Groups", "admins", "X-Auth-Request-Groups", "admins",
			"X-Remote-User", "mcp-admin", "X-Mcp-User", "mcp-admin", "X-Mcp-Groups", "admins", "X-Mcp-Subject", "mcp-admin",
		},
		"another's token on the side": {"Proxy-Authorization", "Bearer " + admin, "Cookie", "access_token=" + admin, "X-Authorization", "Bearer " + admin},
		"that Envoy asked already":    {"X-Envoy-Internal", "true", "X-Envoy-Original-Path", "/healthz", "X-Envoy-Decorator-Operation", "x", "X-Forwarded-For", "127.0.0.1"},
		"another method":              {"X-Http-Method-Override", "OPTIONS", "X-Original-Method", "OPTIONS", "Access-Control-Request-Method", "POST"},
		"another way":                 {"Host", strings.TrimPrefix(g.Admin, "http://")},
	}
	for name, headers := range lies {
		for range 2 {
			body, id := c.ToolCall("time_get_time", "{}")
			a := c.Post(t, body, headers...)
			if a.Status != http.StatusBadRequest && a.Status != http.StatusNotFound {
				forbidden(t, g, a, fmt.Sprint(id))
			}
			listed := c.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, headers...)
			assert.NotContains(t, listed.Body, "get_time", name)
			assert.NotContains(t, listed.Body, "get_forecast", name)
		}
	}
	for _, path := range []string{"/mcp/", "/MCP", "//mcp", "/mcp/../mcp", "/mcp;x", "/mcp%2f", "/./mcp", "/mcp/x", "/.well-known/oauth-protected-resource/../../mcp"} {
		a := testbed.NewClient(t, g.Base+path).Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		assert.GreaterOrEqual(t, a.Status, 400, path)
		assert.NotContains(t, a.Body, "get_time", path)
	}
	require.Empty(t, c.ToolNames(t))
}
