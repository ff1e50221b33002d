package auth_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// everything is what the example's servers have, ofMCP what its policies let the user mcp have, both as they are listed.
func everything() []string {
	return []string{"time_add_duration", "time_get_time", "weather_get_alerts", "weather_get_forecast", "weather_watch_storm"}
}

func ofMCP() []string {
	return []string{"time_get_time", "weather_get_alerts", "weather_get_forecast", "weather_watch_storm"}
}

func arguments(tool string) string {
	return map[string]string{
		"time_add_duration": `{"time":"2026-01-31T22:30:00Z","duration":"1h"}`, "time_get_time": `{}`, "weather_get_alerts": `{"region":"Alps"}`,
		"weather_get_forecast": `{"city":"Lisbon"}`, "weather_watch_storm": `{"steps":1}`,
	}[tool]
}

// forbidden checks that an answer is the one for those with a good token that does not suffice.
func forbidden(t *testing.T, g *gateway, a *testbed.Answer, id string) {
	t.Helper()
	require.Equal(t, http.StatusForbidden, a.Status, "%v", a)
	e := a.Error(t)
	assert.Equal(t, http.StatusForbidden, e.Code)
	assert.Equal(t, id, e.ID, "the error has the request's own id (Invariant 7)")
	c := challenge(t, a)
	assert.Equal(t, "insufficient_scope", c["error"])
	assert.Contains(t, c["resource_metadata"], g.Base)
}

// TestPermitted: what the shipped policies let each user of the shipped realm see is what they let them call, in a
// session's first calls, which the broker makes, and in later ones, which go straight.
func TestPermitted(t *testing.T) {
	t.Parallel()
	g := startExample(t, sharedRealm(t))
	for user, tools := range map[string][]string{"mcp": ofMCP(), "mcp-admin": everything(), "guest": nil} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			c := g.connect(t, g.realm.token(t, user))
			for range 2 {
				assert.Equal(t, tools, c.ToolNames(t))
				for _, tool := range everything() {
					body, id := c.ToolCall(tool, arguments(tool))
					a := c.Post(t, body)
					if slices.Contains(tools, tool) {
						a.Result(t)
					} else {
						forbidden(t, g, a, fmt.Sprint(id))
					}
				}
			}
		})
	}
}

// TestPromptsAndResources: a policy judges these as it judges tools.
func TestPromptsAndResources(t *testing.T) {
	t.Parallel()
	g := startExample(t, sharedRealm(t))
	read := `{"jsonrpc":"2.0","id":7,"method":"resources/read","params":{"uri":"time://zones"}}`
	prompt := `{"jsonrpc":"2.0","id":8,"method":"prompts/get","params":{"name":"time_plan_meeting","arguments":{"here":"UTC","there":"UTC"}}}`
	lists := map[string]string{"prompts/list": "plan_meeting", "resources/list": `"time://zones"`, "resources/templates/list": "time://zones/{region}"}
	for user, has := range map[string]struct{ resource, prompt bool }{"mcp": {true, false}, "mcp-admin": {true, true}, "guest": {false, false}} {
		c := g.connect(t, g.realm.token(t, user))
		for _, one := range []struct {
			body, id string
			allowed  bool
		}{{read, "7", has.resource}, {prompt, "8", has.prompt}} {
			a := c.Post(t, one.body)
			if one.allowed {
				a.Result(t)
			} else {
				forbidden(t, g, a, one.id)
			}
		}
		for method, item := range lists {
			result := c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":9,"method":%q,"params":{}}`, method)).Result(t)
			if method == "prompts/list" && has.prompt || method != "prompts/list" && has.resource {
				assert.Contains(t, result, item, user)
			} else {
				assert.NotContains(t, result, "zones", user)
				assert.NotContains(t, result, "plan_meeting", user)
			}
		}
	}
}

// TestRealServers: servers of both SDKs that we did not write are guarded by their own names and by their annotations.
func TestRealServers(t *testing.T) {
	t.Parallel()
	r := sharedRealm(t)
	acl := `    - {name: developers, groups: [developers], allow: [{server: gosdk, tool: "test_simple_*"}, "mcpgo_test_image_*"]}` + "\n"
	g := startGateway(t, r, policiesOf(r, acl), testbed.ServerSpec("gosdk", testbed.GoSDKEverything(t).URL), testbed.ServerSpec("mcpgo", testbed.MCPGoConformance(t).URL))
	require.Greater(t, len(g.Status(t).Tools), 10)
	c := g.connect(t, r.token(t, "mcp"))
	assert.Equal(t, []string{"gosdk_test_simple_text", "mcpgo_test_image_content"}, c.ToolNames(t))
	for range 2 {
		c.Call(t, "gosdk_test_simple_text", "{}").Result(t)
		c.Call(t, "mcpgo_test_image_content", "{}").Result(t)
		for _, tool := range []string{"mcpgo_test_simple_text", "gosdk_test_image_content"} {
			body, id := c.ToolCall(tool, "{}")
			forbidden(t, g, c.Post(t, body), fmt.Sprint(id))
		}
	}
	assert.Empty(t, g.connect(t, r.token(t, "mcp-admin")).ToolNames(t), "what no rule allows is denied (Invariant 5)")
}

// TestChangesInKeycloak: what a user is in Keycloak counts from the next token on, and the old token keeps what it says.
func TestChangesInKeycloak(t *testing.T) {
	t.Parallel()
	g := startExample(t, newRealm(t))
	r := g.realm
	old := g.connect(t, r.token(t, "guest"))
	require.Empty(t, old.ToolNames(t))
	guest := "/users/" + r.find(t, "/users", "guest")

	group := guest + "/groups/" + r.find(t, "/groups", "developers")
	r.admin(t, http.MethodPut, group, nil, nil)
	promoted := old.as(r.token(t, "guest"))
	assert.Equal(t, ofMCP()[1:], promoted.ToolNames(t), "the same session, with the next token")
	promoted.Call(t, "weather_get_forecast", arguments("weather_get_forecast")).Result(t)
	assert.Empty(t, old.ToolNames(t))

	var role map[string]any
	r.admin(t, http.MethodGet, "/roles/clock-reader", nil, &role)
	r.admin(t, http.MethodPost, guest+"/role-mappings/realm", []any{role}, nil)
	assert.Equal(t, ofMCP(), old.as(r.token(t, "guest")).ToolNames(t))

	r.admin(t, http.MethodDelete, group, nil, nil)
	demoted := old.as(r.token(t, "guest"))
	assert.Equal(t, []string{"time_get_time"}, demoted.ToolNames(t))
	body, id := demoted.ToolCall("weather_get_forecast", arguments("weather_get_forecast"))
	forbidden(t, g, demoted.Post(t, body), fmt.Sprint(id))
}

// TestPoliciesReload: the policy file counts within moments of a change, for calls and for lists alike, and a bad one
// changes nothing (Invariant 8).
func TestPoliciesReload(t *testing.T) {
	t.Parallel()
	g := startExample(t, sharedRealm(t))
	c := g.connect(t, g.realm.token(t, "guest"))
	write := func(policies string) { require.NoError(t, os.WriteFile(g.policies, []byte(policies), 0o600)) }
	call := func() int { return c.Call(t, "time_get_time", "{}").Status }
	require.Equal(t, http.StatusForbidden, call())

	write(policiesOf(g.realm, `    - {everyone: true, allow: ["time_get_*"]}`+"\n"))
	testbed.Await(t, "the new policies to count", func() bool { return call() == http.StatusOK && len(c.ToolNames(t)) == 1 })

	write("policies:\n  acl: {nonsense: true}\n")
	g.Process.Said(t, "policies.acl: must be a list of rules")
	assert.Equal(t, http.StatusOK, call())
	assert.Equal(t, []string{"time_get_time"}, c.ToolNames(t))
	unauthorized(t, g, testbed.NewClient(t, g.Endpoint).Post(t, firstMessage), `"first"`)

	write(policiesOf(g.realm, "    []\n"))
	testbed.Await(t, "nothing to be allowed any more", func() bool { return call() == http.StatusForbidden && len(c.ToolNames(t)) == 0 })
}

// TestRateLimit: a user who calls a limited tool too often is told when to come back, and another user is not held up.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	g := startExample(t, sharedRealm(t))
	c := g.connect(t, g.realm.token(t, "mcp"))
	for range 5 {
		c.Call(t, "weather_watch_storm", `{"steps":1}`).Result(t)
	}
	body, id := c.ToolCall("weather_watch_storm", `{"steps":1}`)
	a := g.connect(t, g.realm.token(t, "mcp")).Post(t, body)
	require.Equal(t, http.StatusTooManyRequests, a.Status, "in every session of the user: %v", a)
	e := a.Error(t)
	assert.Equal(t, http.StatusTooManyRequests, e.Code)
	assert.Equal(t, fmt.Sprint(id), e.ID)
	assert.Regexp(t, `^[1-9]\d*$`, a.Header.Get("Retry-After"))
	c.Call(t, "weather_get_forecast", arguments("weather_get_forecast")).Result(t)
	g.connect(t, g.realm.token(t, "mcp-admin")).Call(t, "weather_watch_storm", `{"steps":1}`).Result(t)
}
