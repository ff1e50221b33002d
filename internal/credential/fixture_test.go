package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/config"
)

const clientSecret = "s3cr3t/ä"

// authorizationServer answers token requests and keeps them. It is used without a network, so that tests can have a time of their own.
type authorizationServer struct {
	mu       sync.Mutex
	requests []string // whole, as they stand on the wire
	// answer is given the number of the request, from 1.
	answer func(w http.ResponseWriter, r *http.Request, n int)
	took   time.Duration
}

// granting answers each request with another token, which lives for so many seconds.
func granting(life int) *authorizationServer {
	return &authorizationServer{answer: func(w http.ResponseWriter, _ *http.Request, n int) { grantToken(w, fmt.Sprintf("token-%d", n), life) }}
}

func grantToken(w http.ResponseWriter, token string, life int) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, token, life)
}

func refuse(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": description})
}

func (s *authorizationServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var wire bytes.Buffer
	_ = r.Write(&wire)
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	s.requests = append(s.requests, wire.String())
	n, answer, took := len(s.requests), s.answer, s.took
	s.mu.Unlock()
	time.Sleep(took)
	answer(w, r, n)
}

// RoundTrip implements http.RoundTripper.
func (s *authorizationServer) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func (s *authorizationServer) set(answer func(w http.ResponseWriter, r *http.Request, n int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *authorizationServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

func (s *authorizationServer) request(i int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[i]
}

// noted is what a manager told.
type noted struct {
	mu      sync.Mutex
	changes []string
	log     bytes.Buffer
}

func (n *noted) change(servers []string, regained bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes = append(n.changes, fmt.Sprint(servers, regained))
}

func (n *noted) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.changes
	n.changes = nil
	return out
}

// Write implements io.Writer.
func (n *noted) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(p)
}

func (n *noted) logged() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.String()
}

func manage(t *testing.T, transport http.RoundTripper, o Options) (*Manager, *noted) {
	t.Helper()
	n := &noted{}
	o.Transport, o.OnChange = transport, n.change
	o.Logger = slog.New(slog.NewTextHandler(n, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m := New(o)
	t.Cleanup(m.Close)
	return m, n
}

func oauth(change ...func(*config.OAuthClient)) *config.OAuthClient {
	c := &config.OAuthClient{
		TokenURL: "https://idp.example.com/token", ID: "mcp gateway", Secret: config.NewSecret(clientSecret), Audience: "weather-server",
		Scopes: []string{"weather.read", "time"},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func server(name string, kind config.CredentialKind, client *config.OAuthClient) config.Server {
	return config.Server{
		Name: name, Enabled: true,
		Credential: &config.Credential{Kind: kind, Header: "authorization", Prefix: "Bearer ", Client: client},
	}
}

func servers(s ...config.Server) *config.Config { return &config.Config{Servers: s} }

// jwt is a token that says when it expires. Nobody here looks at its signature.
func jwt(subject string, expires time.Time) config.Secret {
	part := func(v any) string {
		data, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return config.NewSecret(part(map[string]string{"alg": "none"}) + "." + part(map[string]any{"sub": subject, "exp": expires.Unix()}) + ".sig")
}

func mustToken(t *testing.T, tokens Tokens) string {
	t.Helper()
	token, err := tokens.Token(t.Context())
	require.NoError(t, err)
	return token.Reveal()
}
