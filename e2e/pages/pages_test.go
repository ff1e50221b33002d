// Package pages_test looks at the status pages as people do: in a real browser, with a real gateway and a real Envoy behind.
package pages_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// screenshots names the folder in which pictures are kept; without it they go with the test.
const screenshots = "PAGES_SCREENSHOTS"

// browse runs the scenarios of a script.
func browse(t *testing.T, script string, given map[string]any) {
	t.Helper()
	t.Logf("%s", testbed.NewBrowser(t, screenshots).Run(t, "browser/"+script, "", given))
}

// forecast has every kind of field, and words that would be a script where somebody forgot to escape them.
const forecast = `{"name":"forecast","title":"Forecast","description":"The weather of some days <script>alert(1)</script>",
	"inputSchema":{"type":"object","required":["city"],"properties":{
		"city":{"type":"string","description":"Where it is asked for"},"days":{"type":"integer","description":"How many","default":3},
		"units":{"type":"string","enum":["metric","imperial"]},"quick":{"type":"boolean"},"tags":{"type":"array","items":{"type":"string"}}}},
	"annotations":{"readOnlyHint":true}}`

// weather is a server with a tool for each way in which a call can end.
func weather(t *testing.T) *testbed.Upstream {
	return testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
		{Name: "forecast", Definition: forecast},
		{Name: "fails", Call: func(w http.ResponseWriter, c *testbed.Call) {
			c.Reply(w, `{"content":[{"type":"text","text":"no weather today"}],"isError":true}`)
		}},
		{Name: "error", Call: func(w http.ResponseWriter, c *testbed.Call) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"bad city"}}`, c.ID)
		}},
		{Name: "slow", Annotations: `{"destructiveHint":true}`, Call: func(w http.ResponseWriter, c *testbed.Call) {
			send := testbed.SSE(w)
			send("data: " + `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"console","progress":1,"total":2,"message":"half"}}` + "\n\n")
			<-c.Context().Done()
		}},
	}})
}

// TestPages: with ten thousand tools, a server that is dead and one that is off.
func TestPages(t *testing.T) {
	t.Parallel()
	var many []testbed.Tool
	for i := range 10_000 {
		many = append(many, testbed.Tool{Name: fmt.Sprintf("tool_%04d", i), Definition: fmt.Sprintf(
			`{"name":"tool_%04d","description":"Does number %d of very many things","inputSchema":{"type":"object","properties":{"x":{"type":"string"}}}}`, i, i)})
	}
	off := false
	disabled := testbed.ServerSpec("off", "http://127.0.0.1:1/mcp")
	disabled.Enabled = &off
	g := testbed.StartGateway(t, testbed.Options{
		Servers: []config.ServerSpec{
			testbed.ServerSpec("weather", weather(t).URL), testbed.ServerSpec("many", testbed.NewUpstream(t, testbed.Script{Tools: many}).URL),
			testbed.ServerSpec("dead", "http://"+testbed.FreeAddress(t)+"/mcp"), disabled,
		},
		VirtualServers: []config.VirtualServerSpec{{Name: "storms", Description: "For bad days", Tools: []string{"weather_*"}}},
	})
	const tools = 10_004
	testbed.Await(t, "all tools to be there and the dead server to be known as dead", func() bool {
		var s testbed.Status
		return json.Unmarshal([]byte(testbed.Get(t, g.Admin+"/status").Body), &s) == nil && len(s.Tools) == tools && strings.Contains(fmt.Sprint(s.Servers), "refused")
	})
	client := testbed.Connect(t, g.Endpoint)
	for range 3 {
		client.Call(t, "weather_forecast", "{}").Result(t)
	}
	client.Call(t, "many_tool_0042", "{}").Result(t)
	other := testbed.Connect(t, g.Endpoint)
	body, _ := other.ToolCall("weather_slow", "{}")
	other.Open(t, http.MethodPost, body) // it goes on at the broker for as long as the test
	browse(t, "open.mjs", map[string]any{"admin": g.Admin, "endpoint": g.Endpoint, "tools": tools})
}

// TestPagesWithPolicies: who may call what, and calls with a login.
func TestPagesWithPolicies(t *testing.T) {
	t.Parallel()
	issuer := testbed.NewIssuer(t)
	policies := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(policies, []byte(fmt.Sprintf(`
policies:
  authentication: {issuer: %q, audiences: [mcp-gateway]}
  acl:
    - {name: staff-forecasts, groups: [staff], allow: [{tool: forecast, server: weather}]}
    - {name: alice, users: [alice], when: "claims.iss != ''", allow: ["weather_forecast"]}
  rateLimits: [{name: not-too-many, tools: ["weather_*"], per: user, limit: 1000, window: 1m}]
`, issuer.URL)), 0o600))
	g := testbed.StartGateway(t, testbed.Options{Servers: []config.ServerSpec{testbed.ServerSpec("weather", weather(t).URL)}, Policies: policies})
	token := strings.TrimPrefix(issuer.Token(t, "alice", nil), "Bearer ")
	browse(t, "policies.mjs", map[string]any{"admin": g.Admin, "endpoint": g.Endpoint, "token": token})
	assert.NotContains(t, testbed.Get(t, g.Admin+"/access").Body, token)
}
