package router

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// An Envoy that chooses its routes by the client's authority keeps that one; a client's own word for the server's does not count (Invariant 3).
func TestAuthorityHeader(t *testing.T) {
	w := newWorld(t)
	r := New(Options{BrokerKey: testBrokerKey, AuthorityHeader: wire.HeaderAuthority}, w.sessions, func() *catalog.Snapshot { return w.snap })
	req, d := post(w.open.Token()), new(Decision)
	req.Add(wire.HeaderAuthority, "evil.example.com")
	req.Add(wire.HeaderDirect, "no")
	r.Route(req, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"weather_alert"}}`), d)
	require.Nil(t, d.Reply)
	got := labels(d)
	assert.Equal(t, w.snap.Server("weather").Authority, got[wire.HeaderAuthority])
	assert.NotContains(t, got, ":authority")
	assert.Equal(t, w.snap.Server("weather").Path, got[":path"])
	assert.Contains(t, d.Remove, wire.HeaderAuthority)
	assert.Equal(t, "true", got[wire.HeaderDirect], "policies that know the endpoint by its path find the call by this")
	assert.Contains(t, d.Remove, wire.HeaderDirect)

	d = new(Decision)
	req = post(w.open.Token())
	req.Add(wire.HeaderAuthority, "evil.example.com")
	r.Route(req, []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`), d)
	assert.Contains(t, d.Remove, wire.HeaderAuthority)
	assert.NotContains(t, labels(d), wire.HeaderAuthority, "the broker needs none")
	assert.NotContains(t, labels(d), wire.HeaderDirect, "the endpoint's path is still there")
}
