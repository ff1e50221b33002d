package router

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// labels are the headers that a decision sets.
func labels(d *Decision) map[string]string {
	out := map[string]string{}
	for _, h := range d.Set {
		out[h.Name] = h.Value
	}
	return out
}

// change makes a snapshot in which two servers are as f makes them. Nobody reads a snapshot that is not published yet.
func (w *world) change(f func(*catalog.Server)) {
	w.snap = newSnapshot(nil)
	f(w.snap.Server("weather"))
	f(w.snap.Server("calc"))
}

// All that is for a server whose calls are carried goes to the broker, with the facts that policies need, in an open session and for a server
// without any.
func TestCarried(t *testing.T) {
	w := newWorld(t)
	w.change(func(s *catalog.Server) { s.Carried = true })
	sealedID := w.open.Seal(session.SealRequest, "weather", []byte("5"))
	sealedToken := w.open.Seal(session.SealToken, "weather", []byte(`"p"`))
	for body, want := range map[string]struct{ server, body string }{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"weather_alert"}}`:                                         {"weather", `"name":"alert"`},
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add"}}`:                                                   {"calc", ""},
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`:                                            {"weather", ""},
		fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":{}}`, sealedID):                                                             {"weather", `"id":5,`},
		fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%q,"progress":1}}`, sealedToken): {"weather", `"progressToken":"p"`},
	} {
		d := new(Decision)
		w.router.Route(post(w.open.Token()), []byte(body), d)
		require.Nil(t, d.Reply, body)
		got := labels(d)
		assert.Equal(t, wire.BrokerCluster, got[wire.HeaderCluster], body)
		assert.Equal(t, testBrokerKey, got[wire.HeaderRouterKey], body)
		assert.Equal(t, want.server, got[wire.HeaderServer], body)
		assert.NotContains(t, got, ":path", body)
		assert.NotContains(t, got, wire.HeaderSessionID, "the broker needs the client's own")
		assert.Nil(t, d.Watch)
		assert.Contains(t, string(d.Body), want.body)
	}
	get := new(Request)
	get.Reset()
	for _, h := range []Header{
		{":method", "GET"},
		{":path", "/mcp"},
		{"accept", "text/event-stream"},
		{wire.HeaderSessionID, w.open.Token()},
		{wire.HeaderLastEventID, w.open.Seal(session.SealCallEvent, "weather", []byte("ev-1"))},
	} {
		get.Add(h.Name, h.Value)
	}
	d := new(Decision)
	w.router.Route(get, nil, d)
	assert.Equal(t, wire.BrokerCluster, labels(d)[wire.HeaderCluster])
	assert.Equal(t, "weather", labels(d)[wire.HeaderServer])
	assert.NotContains(t, labels(d), wire.HeaderLastEventID, "the broker unseals it itself")
}

// A backend session is the caller's who opened it. Callers of one session that only their tokens tell apart have one each.
func TestBackendSessionsOfCallers(t *testing.T) {
	w := newWorld(t)
	w.change(func(s *catalog.Server) { s.PerCaller = true })
	weather := w.snap.Server("weather")
	call := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"weather_alert"}}`)
	route := func(s *session.Session, authorization string) string {
		req, d := post(s.Token()), new(Decision)
		req.Add("authorization", authorization)
		w.router.Route(req, call, d)
		require.Nil(t, d.Reply)
		return labels(d)[wire.HeaderCluster]
	}
	for _, who := range []string{"one", "two"} {
		assert.Equal(t, wire.BrokerCluster, route(w.open, "Bearer "+who), "what was opened for all is nobody's")
	}
	key := w.open.BackendKey(weather.Fingerprint, true, "Bearer one")
	require.True(t, w.open.SetBackend("weather", session.Backend{ID: "b-1", Fingerprint: key}))
	assert.Equal(t, weather.Cluster, route(w.open, "Bearer one"))
	assert.Equal(t, wire.BrokerCluster, route(w.open, "Bearer two"))

	key = w.alice.BackendKey(weather.Fingerprint, true, "Bearer "+w.tokens["alice"])
	assert.Equal(t, weather.Fingerprint, key, "a session that is bound to its caller needs nothing else")
	require.True(t, w.alice.SetBackend("weather", session.Backend{ID: "b-2", Fingerprint: key}))
	assert.Equal(t, weather.Cluster, route(w.alice, "Bearer "+w.tokens["alice"]))
	assert.Equal(t, weather.Cluster, route(w.alice, "Bearer "+w.tokens["alice"]+"renewed"))
}
