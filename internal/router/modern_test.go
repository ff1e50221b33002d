package router

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

const requestMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},` +
	`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}}`

// stateless is a request of a client without a session.
func stateless(req *Request, method, name string) *Request {
	req.Reset()
	for _, h := range []Header{
		{":method", "POST"},
		{":path", "/mcp"},
		{":authority", "gateway.example.com"},
		{"content-type", "application/json"},
		{"content-length", "1024"},
		{"accept", "application/json, text/event-stream"},
		{"user-agent", "bench"},
		{wire.HeaderProtocolVersion, wire.Revision20260728},
		{wire.HeaderMCPMethod, method},
		{wire.HeaderMCPName, name},
	} {
		req.Add(h.Name, h.Value)
	}
	return req
}

// TestCarriedWithoutSessions: what the broker has the token for goes there, whatever its server speaks; and so does the call of a client with a session
// to a server without any, with the facts that policies need.
func TestCarriedWithoutSessions(t *testing.T) {
	w := newWorld(t)
	w.snap = newSnapshot(nil)
	w.snap.Server("twin").Carried = true
	d := new(Decision)
	w.router.Route(stateless(new(Request), "tools/call", "twin_both"), []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"twin_both",`+requestMeta+`}}`), d)
	require.Nil(t, d.Reply)
	got := labels(d)
	assert.Equal(t, []string{wire.BrokerCluster, "twin", "both", "tools/call"}, []string{got[wire.HeaderCluster], got[wire.HeaderServer], got[wire.HeaderMCPName], got[wire.HeaderMCPMethod]})
	assert.NotContains(t, got, ":path")

	d = new(Decision)
	w.router.Route(post(w.open.Token()), []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"era_look"}}`), d)
	require.Nil(t, d.Reply)
	got = labels(d)
	assert.Equal(t, []string{wire.BrokerCluster, "era", "look"}, []string{got[wire.HeaderCluster], got[wire.HeaderServer], got[wire.HeaderTool]})
	assert.NotContains(t, got, wire.HeaderMCPName, "what a client with a session says in it is not believed")
	assert.Contains(t, string(d.Body), `"name":"look"`)
}

// TestNumbersInHeaders: integers count by value, as far as every reader has them exactly.
func TestNumbersInHeaders(t *testing.T) {
	for _, tt := range []struct {
		header, argument string
		want             bool
	}{
		{"42", "42", true},
		{"42.0", "42", true},
		{"4.2e1", "42", true},
		{"-7", "-7", true},
		{"42", "43", false},
		{"42.5", "42.5", true},
		{"42.50", "42.5", false},
		{"9007199254740993", "9007199254740992", false},
		{"9007199254740993", "9007199254740993", true},
		{"1e400", "1e401", false},
		{"", "0", false},
		{"0x1p4", "16", false},
		{"true", "true", true},
		{"TRUE", "true", false},
		{"1", "true", false},
		{"NaN", "0", false},
	} {
		assert.Equal(t, tt.want, repeats(tt.header, []byte(tt.argument)), "%s for %s", tt.header, tt.argument)
	}
}

func benchmarkStateless(tb testing.TB, tool string) (*Router, []byte) {
	tb.Helper()
	body, err := os.ReadFile("../jsonrpc/testdata/tools_call_1k.json")
	require.NoError(tb, err)
	body = bytes.Replace(body, []byte("weather_get_forecast"), []byte(tool), 1)
	if i := bytes.Index(body, []byte(`"_meta":{`)); i >= 0 { // its own members come first
		body = []byte(string(body[:i]) + strings.TrimSuffix(requestMeta, "}") + "," + string(body[i+len(`"_meta":{`):]))
	} else {
		body = bytes.Replace(body, []byte(`"params":{`), []byte(`"params":{`+requestMeta+`,`), 1)
	}
	w := newWorld(tb)
	snap := newSnapshot(manyTools(10_000))
	return New(Options{BrokerKey: testBrokerKey}, w.sessions, func() *catalog.Snapshot { return snap }), body
}

// BenchmarkRouteWithoutASession is the decision for a call with all that has to be checked of it: of a tool that has no argument repeated in a header, and
// of one that may have three.
func BenchmarkRouteWithoutASession(b *testing.B) {
	for _, tool := range []string{"twin_both", "era_look"} {
		b.Run(tool, func(b *testing.B) {
			r, body := benchmarkStateless(b, tool)
			req, d := new(Request), new(Decision)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				d.Reset()
				r.Route(stateless(req, "tools/call", tool), body, d)
				if d.Reply != nil {
					b.Fatalf("%s", d.Reply.Body)
				}
			}
		})
	}
}

func TestAllocationsWithoutASession(t *testing.T) {
	r, body := benchmarkStateless(t, "era_look")
	req, d := new(Request), new(Decision)
	got := testing.AllocsPerRun(100, func() {
		d.Reset()
		r.Route(stateless(req, "tools/call", "era_look"), body, d)
	})
	require.Nil(t, d.Reply)
	assert.LessOrEqual(t, got, 10.0)
}
