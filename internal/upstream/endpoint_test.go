package upstream

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

func withCredential(cfg *config.Server) {
	cfg.Hostname = "weather.example.com"
	cfg.Headers = []config.Header{{Name: "x-tenant", Value: "tenant-blue"}, {Name: "x-flag", Value: "1"}}
	cfg.Credential = &config.Credential{Header: "authorization", Prefix: "Bearer ", Value: config.NewSecret("s3cr3t")}
}

func TestPostSendsWhatIsConfigured(t *testing.T) {
	s := newScript()
	e := serve(t, s, EndpointOptions{UserAgent: "mcp-gateway/1"}, withCredential)
	extra := http.Header{
		"x-tenant": {"tenant-green"}, "X-Caller": {"alice"},
		"Mcp-Session-Id": {"stolen"}, "accept": {"text/html"}, "Host": {"elsewhere"}, "mcp-protocol-version": {"1999-01-01"},
	}
	resp, err := e.Post(t.Context(), Session{ID: "s-7", Revision: "2025-06-18"}, []byte(`{"jsonrpc":"2.0","method":"x"}`), extra)
	require.NoError(t, err)
	discard(resp)

	got := s.requests("")[0]
	assert.Equal(t, "weather.example.com", got.Host)
	assert.Equal(t, raw(`{"jsonrpc":"2.0","method":"x"}`), raw(got.Body))
	assert.Equal(t, http.Header{
		"Accept":               {"application/json, text/event-stream"},
		"Accept-Encoding":      {"identity"},
		"Authorization":        {"Bearer s3cr3t"},
		"Content-Length":       {"30"},
		"Content-Type":         {"application/json"},
		"Mcp-Protocol-Version": {"2025-06-18"},
		"Mcp-Session-Id":       {"s-7"},
		"User-Agent":           {"mcp-gateway/1"},
		"X-Caller":             {"alice"},
		"X-Flag":               {"1"},
		"X-Tenant":             {"tenant-green"},
	}, got.Header)
}

func TestRequestsWithoutSession(t *testing.T) {
	s := newScript()
	e := serve(t, s, EndpointOptions{}, func(cfg *config.Server) {
		cfg.Headers = []config.Header{{Name: "mcp-session-id", Value: "mine"}, {Name: "mcp-protocol-version", Value: "mine"}, {Name: "accept", Value: "text/html"}}
	})
	resp, err := e.Get(t.Context(), Session{}, "")
	require.NoError(t, err)
	discard(resp)
	got := s.requests("GET")[0]
	for _, name := range []string{"Mcp-Session-Id", "Mcp-Protocol-Version", "Last-Event-Id", "Authorization"} {
		assert.NotContains(t, got.Header, name)
	}
	assert.Equal(t, "text/event-stream", got.Header.Get("Accept"))
}

func TestGetResumes(t *testing.T) {
	s := newScript()
	e := serve(t, s, EndpointOptions{})
	resp, err := e.Get(t.Context(), Session{ID: "s-1"}, "ev-9")
	require.NoError(t, err)
	discard(resp)
	assert.Equal(t, "ev-9", s.requests("GET")[0].Header.Get("Last-Event-Id"))
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.invalid:3128")
	t.Setenv("ALL_PROXY", "http://proxy.invalid:3128")
	var dialled atomic.Value
	e, err := NewEndpoint(configOf(t, "weather", "http://weather.example.com:8080"), EndpointOptions{
		Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			dialled.Store(address)
			return nil, io.EOF
		},
	})
	require.NoError(t, err)
	defer e.Close()
	_, err = e.Post(t.Context(), Session{}, nil, nil) //nolint:bodyclose // there is none
	require.Error(t, err)
	assert.Equal(t, "weather.example.com:8080", dialled.Load())
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer target.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newScript()
		s.on["initialize"] = func(w http.ResponseWriter, _ *http.Request, _ *jsonMessage) {
			w.Header().Set("Location", target.URL+"/mcp/?token=abc#frag")
			w.WriteHeader(status)
		}
		_, err := serve(t, s, EndpointOptions{}, withCredential).Open(t.Context(), raw(`{}`))
		var as *StatusError
		require.ErrorAs(t, err, &as)
		assert.Equal(t, status, as.Status)
		require.EqualError(t, err, fmt.Sprintf(`server "weather": initialize: redirects (HTTP %d) to %q: put the final URL into the configuration`,
			status, target.URL+"/mcp/"))
	}
	assert.Zero(t, elsewhere.Load(), "a redirect was followed, with the credential")
}

func TestDelete(t *testing.T) {
	for status, wrong := range map[int]bool{200: false, 202: false, 204: false, 404: false, 405: false, 500: true, 401: true} {
		s := newScript()
		s.on["DELETE"] = answerStatus(status, "")
		err := serve(t, s, EndpointOptions{}).Delete(t.Context(), Session{ID: "s-1", Revision: "2025-11-25"})
		assert.Equal(t, wrong, err != nil, "%d: %v", status, err)
		assert.Equal(t, "s-1", s.requests("DELETE")[0].Session)
	}
	s := newScript()
	require.NoError(t, serve(t, s, EndpointOptions{}).Delete(t.Context(), Session{}))
	assert.Empty(t, s.requests(""), "there was no session to delete")
}

func TestTLS(t *testing.T) {
	s := newScript()
	proto := make(chan string, 1)
	s.on["ping"] = func(w http.ResponseWriter, r *http.Request, m *jsonMessage) {
		proto <- r.Proto
		answerJSON(w, m, `{}`)
	}
	srv := httptest.NewUnstartedServer(s)
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	defer srv.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	call := func(tlsConfig *config.TLS) error {
		cfg := configOf(t, "weather", srv.URL)
		cfg.TLS = tlsConfig
		e, err := NewEndpoint(cfg, EndpointOptions{})
		require.NoError(t, err)
		defer e.Close()
		_, err = e.Call(t.Context(), Session{}, "ping", nil)
		return err
	}
	require.NoError(t, call(&config.TLS{ServerName: "example.com", CA: ca}))
	assert.Equal(t, "HTTP/2.0", <-proto)

	err := call(&config.TLS{ServerName: "weather.example.org", CA: ca})
	require.ErrorContains(t, err, "weather.example.org")
	err = call(&config.TLS{ServerName: "example.com"})
	assert.ErrorContains(t, err, "certificate signed by unknown authority: give the CA's file in the server's tls configuration")
}

func TestTLSRefusesOldVersionsAndPlainServers(t *testing.T) {
	srv := httptest.NewUnstartedServer(newScript())
	srv.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // that is the point
	srv.Config.ErrorLog = quiet()
	srv.StartTLS()
	defer srv.Close()
	cfg := configOf(t, "weather", srv.URL)
	cfg.TLS = &config.TLS{CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), ServerName: "example.com"}
	e, err := NewEndpoint(cfg, EndpointOptions{})
	require.NoError(t, err)
	defer e.Close()
	_, err = e.Call(t.Context(), Session{}, "ping", nil)
	require.ErrorContains(t, err, "protocol version")

	plain := httptest.NewServer(newScript())
	defer plain.Close()
	cfg = configOf(t, "weather", plain.URL)
	cfg.Scheme, cfg.TLS = "https", &config.TLS{ServerName: "example.com"}
	e, err = NewEndpoint(cfg, EndpointOptions{})
	require.NoError(t, err)
	defer e.Close()
	_, err = e.Call(t.Context(), Session{}, "ping", nil)
	assert.EqualError(t, err, `server "weather": ping: the server does not speak TLS on this port: is its url meant to be http?`)
}

func TestNewEndpointRefuses(t *testing.T) {
	cfg := configOf(t, "weather", "https://weather.example.com:443")
	cfg.TLS = &config.TLS{CA: []byte("no certificate"), CAFile: "ca.pem"}
	_, err := NewEndpoint(cfg, EndpointOptions{})
	require.EqualError(t, err, `server "weather": no certificate in the CA file "ca.pem"`)

	cfg = configOf(t, "weather", "http://weather.example.com:80")
	cfg.Path = "/%zz"
	_, err = NewEndpoint(cfg, EndpointOptions{})
	require.EqualError(t, err, `server "weather": its url is not one: invalid URL escape "%zz"`)
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	e, err := NewEndpoint(configOf(t, "weather", "http://"+address), EndpointOptions{})
	require.NoError(t, err)
	defer e.Close()
	_, err = e.Call(t.Context(), Session{}, "ping", nil)
	assert.EqualError(t, err, `server "weather": ping: cannot connect to `+address+`: connect: connection refused`)
}
