package dataplane_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// TestToolCalls: the status tells of each tool how often it was called, and of how many calls that goes on, whoever carries them, as far as that can be known; and
// with Envoy's reports, how many failed.
func TestToolCalls(t *testing.T) {
	t.Parallel()
	for _, reports := range []bool{false, true} {
		t.Run(fmt.Sprintf("reports=%t", reports), func(t *testing.T) {
			t.Parallel()
			testToolCalls(t, reports)
		})
	}
}

func testToolCalls(t *testing.T, reports bool) {
	t.Helper()
	slow := func(w http.ResponseWriter, c *testbed.Call) {
		testbed.SSE(w)(": it takes long\n\n")
		<-c.Context().Done()
	}
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
		{Name: "quick"},
		{Name: "slow", Call: slow},
		{Name: "idle"},
		{Name: "broken", Call: func(w http.ResponseWriter, _ *testbed.Call) { w.WriteHeader(http.StatusInternalServerError) }},
	}})
	o := testbed.Options{Servers: specs(map[string]*testbed.Upstream{"u": u})}
	if reports {
		o.EnvoyFlags = []string{"--envoy-call-reports"}
	}
	g := testbed.StartGateway(t, o)
	g.AwaitTools(t, "u_quick", "u_slow", "u_idle", "u_broken")
	client, other := testbed.Connect(t, g.Endpoint), testbed.Connect(t, g.Endpoint)
	for range 3 { // by the broker, then straight through Envoy
		client.Call(t, "u_quick", "{}").Result(t)
	}
	client.Call(t, "u_broken", "{}")
	client.Post(t, `{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"u_none"}}`)
	body, _ := other.ToolCall("u_slow", "{}")
	first := other.Open(t, http.MethodPost, body) // at the broker
	body, _ = client.ToolCall("u_slow", "{}")
	second := client.Open(t, http.MethodPost, body) // through Envoy

	known := map[bool]string{false: "broker", true: "all"}
	open, failed := 1, 0
	if testbed.Module() {
		open = 2
	}
	if reports {
		failed = 1
	}
	counts := func() string {
		s := g.Status(t)
		assert.Equal(t, known[testbed.Module()]+" "+known[reports], s.ToolCalls.Open+" "+s.ToolCalls.Failed)
		var out []string
		for _, tool := range s.Tools {
			out = append(out, fmt.Sprintf("%s %d %d %d", tool.OwnName, tool.Calls, tool.Open, tool.Failed))
		}
		return strings.Join(out, ", ")
	}
	say := func(what, want string) {
		testbed.Await(t, what, func() bool { return counts() == want })
	}
	say("what is counted of each tool", fmt.Sprintf("broken 1 0 %d, idle 0 0 0, quick 3 0 0, slow 2 %d 0", failed, open))
	first.Close()
	second.Close()
	say("the end of what goes on", fmt.Sprintf("broken 1 0 %d, idle 0 0 0, quick 3 0 0, slow 2 0 0", failed))
	metrics := testbed.Get(t, g.Admin+"/metrics").Body
	assert.Contains(t, metrics, `mcp_gateway_tool_calls_total{server="u",tool="quick"} 3`)
	assert.NotContains(t, metrics, `tool="idle"`)

	testbed.WriteConfig(t, g.Config, append(specs(map[string]*testbed.Upstream{"u": u}), testbed.ServerSpec("more", u.URL))...)
	g.AwaitTools(t, "u_quick", "u_slow", "u_idle", "u_broken", "more_quick", "more_slow", "more_idle", "more_broken")
	client.Call(t, "u_quick", "{}").Result(t)
	testbed.Await(t, "the count to go on in another configuration", func() bool { return strings.Contains(counts(), "quick 4 0 0") })
}
