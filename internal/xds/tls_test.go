package xds_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/wire"
	"github.com/guicassolato/mcp-gateway/internal/xds"
)

// A server's certificate must be for the configured name and from the configured roots, whatever Host the request has.
func TestEnvoyVerifiesServers(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-seen", r.Proto+" "+r.Host+" "+r.TLS.ServerName)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	foreign, err := os.ReadFile("testdata/ca.pem")
	require.NoError(t, err)

	// The certificate is for example.com, *.example.com and 127.0.0.1.
	tests := map[string]struct {
		tls  *config.TLS
		seen string
	}{
		"the-right-name":  {tls: &config.TLS{ServerName: "example.com", CA: ca}, seen: "HTTP/2.0 the.server example.com"},
		"a-wildcard":      {tls: &config.TLS{ServerName: "a.example.com", CA: ca}, seen: "HTTP/2.0 the.server a.example.com"},
		"its-address":     {tls: &config.TLS{CA: ca}, seen: "HTTP/2.0 the.server"},
		"another-name":    {tls: &config.TLS{ServerName: "other.example.org", CA: ca}},
		"another-address": {tls: &config.TLS{ServerName: "127.0.0.2", CA: ca}},
		"other-roots":     {tls: &config.TLS{ServerName: "example.com", CA: foreign}},
		"system-roots":    {tls: &config.TLS{ServerName: "example.com"}},
	}
	var cs []xds.Cluster
	for name, tt := range tests {
		c := clusterAt(t, name, s.URL)
		c.Server.TLS = tt.tls
		cs = append(cs, c)
	}
	o := testOptions(t)
	o.SystemCA = writeFile(t, "system.pem", foreign)
	base := startGateway(t, o, cs...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := send(t, http.MethodPost, base+"/mcp", stubCall{To: name, Set: map[string]string{":authority": "the.server"}}.body(t))
			if tt.seen == "" {
				require.Equal(t, http.StatusServiceUnavailable, got.status)
				require.Equal(t, rpcError("1", -32603, "the MCP server did not answer"), got.body)
				return
			}
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.Equal(t, tt.seen, got.header.Get("x-seen"))
		})
	}
}

// Over plain HTTP the server sees the router's authority and path, not the client's.
func TestEnvoySendsTheRoutersAuthority(t *testing.T) {
	a := upstream(t, "a", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("x-seen", r.Proto+" "+r.Host+r.URL.Path) })
	base := startGateway(t, testOptions(t), a)
	call := stubCall{To: "a", Set: map[string]string{":authority": "weather.example.com", ":path": "/its/mcp", wire.HeaderEnvoyTimeout: "0"}}
	require.Equal(t, "HTTP/1.1 weather.example.com/its/mcp", send(t, http.MethodPost, base+"/mcp", call.body(t)).header.Get("x-seen"))
}
