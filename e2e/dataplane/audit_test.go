package dataplane_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// audit reads the lines of an audit log, and leaves out of each what differs from run to run, which must be there.
func audit(t *testing.T, path string) (lines []map[string]any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var entry map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		for _, name := range []string{"time", "request_id", "client", "duration_ms", "detail"} {
			assert.Contains(t, entry, name, line)
			delete(entry, name)
		}
		lines = append(lines, entry)
	}
	return lines
}

// TestAuditLog: who used what and what became of it is noted by Envoy itself, for what is refused, too; nothing else is.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.json")
	b := newAccessBed(t, testbed.Standalone, "--envoy-audit-log", path)
	who := func(user string, claims map[string]any) *testbed.Client {
		c := testbed.NewClient(t, b.Endpoint)
		c.Initialize(t, "{}", "Authorization", b.issuer.Token(t, user, claims))
		return c
	}
	token := b.issuer.Token(t, "ann", map[string]any{"groups": []string{"readers"}, "secret": "do not tell"})
	ann := who("ann", map[string]any{"groups": []string{"readers"}})
	ann.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, "Authorization", token)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for range 2 { // by the broker, then straight through Envoy
		ann.Call(t, "docs_look", `{"argument":"do not tell"}`, "Authorization", token, "Traceparent", trace).Result(t)
	}
	assert.Equal(t, http.StatusForbidden, ann.Call(t, "docs_change", "{}", "Authorization", token).Status)
	assert.Equal(t, http.StatusUnauthorized, ann.Call(t, "docs_look", "{}", "Authorization", token[:strings.LastIndexByte(token, '.')]+".AAAA").Status)
	ann.Post(t, `{"jsonrpc":"2.0","id":2,"method":"prompts/get","params":{"name":"docs_ask"}}`, "Authorization", token).Result(t)
	ann.Call(t, "nothing", "{}", "Authorization", token)
	root := b.issuer.Token(t, "root", nil)
	r := who("root", nil)
	for range 3 {
		r.Call(t, "notes_slow", "{}", "Authorization", root)
	}
	var lines []map[string]any
	testbed.Await(t, "all lines", func() bool { lines = audit(t, path); return len(lines) >= 9 })
	issuer := b.issuer.URL
	call := func(user, rule, server, tool string, more map[string]any) map[string]any {
		e := map[string]any{"method": "tools/call", "server": server, "tool": tool, "public_name": server + "_" + tool, "status": 200.0, "flags": "-"}
		if user != "" {
			e["issuer"], e["subject"] = issuer, "id-of-"+user
		}
		if rule != "" {
			e["decision"], e["rule"] = "allowed", rule
		}
		for name, value := range more {
			e[name] = value
		}
		return e
	}
	assert.Equal(t, []map[string]any{
		call("ann", "readers", "docs", "look", map[string]any{"trace": trace}),
		call("ann", "readers", "docs", "look", map[string]any{"trace": trace}),
		call("ann", "", "docs", "change", map[string]any{"status": 403.0, "decision": "denied"}),
		call("", "", "docs", "look", map[string]any{"status": 401.0}),
		{"method": "prompts/get", "server": "docs", "prompt": "ask", "public_name": "docs_ask", "status": 200.0, "flags": "-", "issuer": issuer, "subject": "id-of-ann", "decision": "allowed", "rule": "readers"},
		{"method": "tools/call", "status": 200.0, "flags": "-"},
		call("root", "root", "notes", "slow", nil), call("root", "root", "notes", "slow", nil),
		call("root", "root", "notes", "slow", map[string]any{"status": 429.0, "flags": "RL"}),
	}, lines)
	all, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.NotContains(t, string(all), "do not tell")
}

// TestLoads: operators see which server is called, while it is called and afterwards.
func TestLoads(t *testing.T) {
	t.Parallel()
	for _, mode := range []testbed.Mode{testbed.Standalone, testbed.Fed} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			u := testbed.NewUpstream(t, testbed.Script{Sessionless: true, Tools: []testbed.Tool{
				{Name: "wait", Call: func(w http.ResponseWriter, c *testbed.Call) { <-release; c.Text(w, "done") }},
				{Name: "fail", Call: func(w http.ResponseWriter, _ *testbed.Call) { w.WriteHeader(http.StatusInternalServerError) }},
			}})
			g := testbed.StartGateway(t, testbed.Options{Mode: mode, Servers: specs(map[string]*testbed.Upstream{"u": u})})
			g.AwaitTools(t, "u_fail", "u_wait")
			c := testbed.Connect(t, g.Endpoint)
			done := make(chan struct{})
			go func() { defer close(done); c.Call(t, "u_wait", "{}") }()
			metrics := func() string { return testbed.Get(t, g.Admin+"/metrics").Body }
			testbed.Await(t, "the call to be told of", func() bool {
				return strings.Contains(metrics(), `mcp_gateway_server_calls_active{carrier="envoy",server="u"} 1`)
			})
			assert.Contains(t, testbed.Get(t, g.Admin+"/status").Body, `"active": 1`)
			close(release)
			<-done
			c.Call(t, "u_fail", "{}")
			testbed.Await(t, "both calls to be counted", func() bool {
				m := metrics()
				return strings.Contains(m, `mcp_gateway_server_calls_total{carrier="envoy",result="success",server="u"} 1`) &&
					strings.Contains(m, `mcp_gateway_server_calls_total{carrier="envoy",result="error",server="u"} 1`) && strings.Contains(m, `mcp_gateway_server_calls_active{carrier="envoy",server="u"} 0`)
			})
		})
	}
}

// TestLiveCallsOfTheBroker: the calls that the broker makes itself count as those of their servers while they go on: the first one of a session, and one that is
// translated. Envoy tells of neither.
func TestLiveCallsOfTheBroker(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	u := testbed.NewUpstream(t, testbed.Script{Tools: []testbed.Tool{
		{Name: "wait", Call: func(w http.ResponseWriter, c *testbed.Call) { <-release; c.Text(w, "done") }},
	}})
	g := testbed.StartGateway(t, testbed.Options{Servers: specs(map[string]*testbed.Upstream{"u": u})})
	g.AwaitTools(t, "u_wait")
	var calls sync.WaitGroup
	calls.Go(func() { testbed.Connect(t, g.Endpoint).Call(t, "u_wait", "{}") })
	calls.Go(func() { testbed.NewStateless(t, g.Endpoint).Ask(t, "tools/call", `{"name":"u_wait","arguments":{}}`) })
	metrics := func() string { return testbed.Get(t, g.Admin+"/metrics").Body }
	testbed.Await(t, "both calls to be told of", func() bool {
		return strings.Contains(metrics(), `mcp_gateway_server_calls_active{carrier="broker",server="u"} 2`)
	})
	assert.NotContains(t, metrics(), `mcp_gateway_server_calls_active{carrier="envoy",server="u"}`)
	assert.Contains(t, testbed.Get(t, g.Admin+"/status").Body, `"carried": 2`)
	testbed.Await(t, "Envoy's first report", func() bool { return strings.Contains(testbed.Get(t, g.Admin+"/status").Body, `"active": 2`) })
	close(release)
	calls.Wait()
	testbed.Await(t, "both calls to be over", func() bool {
		m := metrics()
		return strings.Contains(m, `mcp_gateway_server_calls_active{carrier="broker",server="u"} 0`) && strings.Contains(m, `mcp_gateway_server_calls_total{carrier="broker",result="success",server="u"} 2`)
	})
}
