package istio_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// calls are the tool calls that a server got straight from Envoy, or else from the broker: only Envoy passes the router's headers on.
func calls(u *testbed.Upstream, direct bool) []*testbed.Call {
	var out []*testbed.Call
	for _, c := range u.AllCalls() {
		if c.RPC == "tools/call" && (c.Header.Get("X-Mcp-Toolname") != "") == direct {
			out = append(out, c)
		}
	}
	return out
}

// A call for a server without a credential or sessions is Envoy's alone, and the server sees its own name and nothing of the client's (Invariant 6).
func (w *world) testDirect(t *testing.T) {
	c := w.client(t)
	c.Initialize(t, "{}")
	a := c.Call(t, "plain_hello", `{"n":9007199254740993}`,
		"Authorization", "Bearer the-clients", "Cookie", "a=b", "X-Forwarded-For", "10.1.1.1", "Accept-Encoding", "gzip", "X-Envoy-Upstream-Rq-Timeout-Ms", "1")
	assert.Contains(t, a.Text(t), `9007199254740993`)
	assert.Empty(t, a.Header.Get("X-Mcp-Answered"))
	got := calls(w.plain, true)
	require.NotEmpty(t, got)
	last := got[len(got)-1]
	assert.Equal(t, "plain.tools.internal", last.Host)
	assert.Equal(t, "/mcp", last.URL.Path)
	assert.Equal(t, "hello", last.Tool)
	for _, name := range []string{"Authorization", "Cookie", "X-Forwarded-For", "X-Forwarded-Proto", "Accept-Encoding", "X-Mcp-Cluster", "X-Mcp-Router-Key", "Mcp-Session-Id"} {
		assert.Empty(t, last.Header.Get(name), name)
	}
	assert.Empty(t, calls(w.plain, false), "the broker made none")
}

// The first call of a session is the broker's, which opens the session with the server; the next ones are direct, streams included.
func (w *world) testSessions(t *testing.T) {
	c := w.client(t)
	c.Initialize(t, "{}")
	carried, direct := len(calls(w.sessions, false)), len(calls(w.sessions, true))
	assert.Contains(t, c.Call(t, "sessions_hello", "{}").Text(t), "hello")
	assert.Contains(t, c.Call(t, "sessions_hello", "{}").Text(t), "hello")
	a := c.Call(t, "sessions_stream", "{}")
	assert.Equal(t, "streamed", a.Text(t))
	assert.Contains(t, a.Body, "on its way")
	assert.Empty(t, a.Header.Get("Mcp-Session-Id"), "the server's own is nobody's business")
	assert.Empty(t, a.Header.Get("X-Mcp-Answered"))
	assert.Len(t, calls(w.sessions, false), carried+1)
	got := calls(w.sessions, true)
	require.Len(t, got, direct+2)
	for _, call := range got[direct:] {
		assert.True(t, w.sessions.Knows(call.Header.Get("Mcp-Session-Id")), "the server's session")
	}

	// A session that the server has forgotten costs the client nothing but this call, whose answer is watched.
	w.sessions.Forget()
	a = c.Call(t, "sessions_hello", "{}")
	assert.Equal(t, http.StatusBadGateway, a.Status, a)
	assert.Equal(t, -32603, a.Error(t).Code)
	assert.Empty(t, a.Header.Get("X-Mcp-Answered"))
	assert.Contains(t, c.Call(t, "sessions_hello", "{}").Text(t), "hello")
	require.Equal(t, http.StatusNoContent, c.Do(t, http.MethodDelete, nil).Status)
}

// What needs a credential is the broker's to call, and Envoy never learns the credential.
func (w *world) testCarried(t *testing.T) {
	c := w.client(t)
	c.Initialize(t, "{}")
	assert.Contains(t, c.Call(t, "secret_hello", "{}", "Authorization", "Bearer the-clients").Text(t), "hello")
	assert.Empty(t, calls(w.secret, true))
	got := calls(w.secret, false)
	require.NotEmpty(t, got)
	assert.Equal(t, "Bearer only-the-broker-knows", got[len(got)-1].Header.Get("Authorization"))
	assert.NotContains(t, testbed.Get(t, w.admin+"/config_dump").Body, "only-the-broker-knows")
}

// Envoy's buffers, of 1 MiB as Istio leaves them, do not limit a request: the router does.
func (w *world) testLarge(t *testing.T) {
	c := w.client(t)
	c.Initialize(t, "{}")
	text := strings.Repeat("x", 3<<20)
	for _, tool := range []string{"plain_hello", "secret_hello"} {
		assert.Contains(t, c.Call(t, tool, `{"text":"`+text+`"}`).Text(t), text, tool)
	}
	a := c.Call(t, "plain_hello", `{"text":"`+text+text+`"}`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.Error(t).Code)
}

// What no client must see of a server's answer becomes an error of the client's own request (Invariant 7).
func (w *world) testJudge(t *testing.T) {
	c := w.client(t)
	c.Initialize(t, "{}")
	w.plain.Change(func(s *testbed.Script) {
		s.Before = func(rw http.ResponseWriter, call *testbed.Call) bool {
			if call.RPC != "tools/call" {
				return false
			}
			rw.Header().Set("Content-Type", "text/html")
			rw.Header().Set("Set-Cookie", "tracking=1")
			_, _ = rw.Write([]byte("<p>maintenance"))
			return true
		}
	})
	defer w.plain.Change(func(s *testbed.Script) { s.Before = nil })
	a := c.Call(t, "plain_hello", "{}")
	assert.Equal(t, http.StatusBadGateway, a.Status)
	assert.Equal(t, -32603, a.Error(t).Code)
	assert.NotEmpty(t, a.Error(t).ID)
	assert.Empty(t, a.Header.Get("Set-Cookie"))

	w.plain.Down()
	defer w.plain.Up(t)
	a = c.Call(t, "plain_hello", "{}")
	assert.Equal(t, http.StatusServiceUnavailable, a.Status, a)
	assert.Equal(t, -32603, a.Error(t).Code)
	assert.NotEmpty(t, a.Error(t).ID, "Envoy's own reply has the request's id")
}

// A policy that knows nothing of us sees what the router decided, and what it refuses is a JSON-RPC error.
func (w *world) testPolicies(t *testing.T) {
	c := w.client(t)
	c.Initialize(t, "{}")
	before := len(w.plain.AllCalls())
	a := c.Call(t, "plain_forbidden", "{}")
	assert.Equal(t, http.StatusForbidden, a.Status, a)
	assert.Equal(t, http.StatusForbidden, a.Error(t).Code)
	assert.NotEmpty(t, a.Error(t).ID)
	assert.Len(t, w.plain.AllCalls(), before)
}

func (w *world) testBrowsers(t *testing.T) {
	a := w.ask(t, http.MethodOptions, "http://"+endpointHost+"/mcp", "", "Origin", "http://localhost:6274", "Access-Control-Request-Method", "POST")
	assert.Equal(t, http.StatusOK, a.Status)
	assert.Equal(t, "http://localhost:6274", a.Header.Get("Access-Control-Allow-Origin"))
	c := w.client(t)
	c.Initialize(t, "{}")
	a = c.Call(t, "plain_forbidden", "{}", "Origin", "http://localhost:6274")
	assert.Equal(t, http.StatusForbidden, a.Status)
	assert.Equal(t, "http://localhost:6274", a.Header.Get("Access-Control-Allow-Origin"), "a refusal can be read too")
	a = w.ask(t, http.MethodGet, "http://"+endpointHost+"/.well-known/oauth-protected-resource/mcp", "", "Origin", "https://anywhere.example")
	assert.Equal(t, http.StatusOK, a.Status, a)
	assert.Equal(t, "https://anywhere.example", a.Header.Get("Access-Control-Allow-Origin"))
}
