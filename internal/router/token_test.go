package router

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/wire"
)

// A policy is shown the token of the one form of the header, and nothing that somebody could read another token out of.
func TestBearerToken(t *testing.T) {
	for authorization, want := range map[string]string{
		"Bearer a.b.c":              "a.b.c",
		"bearer a-_9.Bb.c":          "a-_9.Bb.c",
		"":                          "",
		"BEARER a.b.c":              "",
		"Bearer  a.b.c":             "",
		"Bearer a.b.c ":             "",
		"Bearer a.b":                "",
		"Bearer a.b.c.d":            "",
		"Bearer a.b.":               "",
		"Bearer a.b.c Bearer d.e.f": "",
		"Bearer a.b.c,d":            "",
		"Basic Bearer a.b.c":        "",
		"a.b.c":                     "",
		"Bearer a.b.c\u00e9":        "",
	} {
		assert.Equal(t, want, bearerToken(authorization), "%q", authorization)
	}
}

// The token goes where it is asked for, a client's own word for it does not count (Invariant 3), and where nobody asks it goes nowhere.
func TestTokenHeader(t *testing.T) {
	w := newWorld(t)
	const token = "eyJhIjowfQ.eyJiIjowfQ.c2ln"
	for _, header := range []string{wire.HeaderToken, ""} {
		r := New(Options{BrokerKey: testBrokerKey, TokenHeader: header}, w.sessions, func() *catalog.Snapshot { return w.snap })
		req := &Request{}
		req.Reset()
		for name, value := range map[string]string{
			":method": "POST", ":path": wire.PathMCP, "content-type": "application/json", "authorization": "Bearer " + token, wire.HeaderToken: "x.y.z",
		} {
			req.Add(name, value)
		}
		d := &Decision{}
		r.Route(req, []byte(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`), d)
		assert.Contains(t, d.Remove, wire.HeaderToken)
		if header == "" {
			assert.NotContains(t, d.Set, Header{wire.HeaderToken, token})
			continue
		}
		assert.Contains(t, d.Set, Header{wire.HeaderToken, token})
	}
}
