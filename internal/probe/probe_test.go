package probe

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// gateway is what a probe may meet. Its zero value has two tools and no policies.
type gateway struct {
	t *testing.T

	token        string   // who has none is refused
	challenge    string   // with this; empty means with none
	byBroker     bool     // by the broker, and not by what should have refused it before
	metadata     string   // the protected resource metadata
	forbidden    []string // tools that nobody may call
	pages        [][]string
	failingFirst int    // so many requests are answered with 503 before others
	forget       bool   // the session, once
	answer       string // of a call; empty means that it succeeds
	hosts        []string
	mu           sync.Mutex
	ended        int
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hosts = append(g.hosts, r.Host)
	if g.failingFirst > 0 {
		g.failingFirst--
		http.Error(w, "no healthy upstream", http.StatusServiceUnavailable)
		return
	}
	switch {
	case strings.HasPrefix(r.URL.Path, "/.well-known/"):
		_, _ = io.WriteString(w, g.metadata)
	case r.URL.Path != "/mcp":
		http.NotFound(w, r)
	case g.token != "" && r.Header.Get("Authorization") != "Bearer "+g.token:
		if g.challenge != "" {
			w.Header().Set("WWW-Authenticate", g.challenge)
		}
		if g.byBroker {
			w.Header().Set("x-mcp-refused-by", "mcpBroker")
		}
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodDelete:
		g.ended++
	default:
		g.message(w, r)
	}
}

func (g *gateway) message(w http.ResponseWriter, r *http.Request) {
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct{ Name, Cursor string }
	}
	assert.NoError(g.t, json.NewDecoder(r.Body).Decode(&m))
	reply := func(status int, member, value string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,%q:%s}`, m.ID, member, value)
	}
	if m.Method != "initialize" && g.forget {
		g.forget = false
		reply(http.StatusNotFound, "error", `{"code":-32600,"message":"session not found"}`)
		return
	}
	switch m.Method {
	case "initialize":
		w.Header().Set("Mcp-Session-Id", "one")
		reply(http.StatusOK, "result", `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"mcp-gateway","version":"1"}}`)
	case "tools/list":
		reply(http.StatusOK, "result", g.page(m.Params.Cursor))
	case "tools/call":
		g.call(reply, m.Params.Name)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func (g *gateway) page(cursor string) string {
	pages := g.pages
	if pages == nil {
		pages = [][]string{{"weather_get_forecast", "weather_watch_storm"}}
	}
	at := len(cursor) // a cursor is a dot for each page that has been seen
	tools := []map[string]string{}
	for _, name := range pages[at] {
		tools = append(tools, map[string]string{"name": name})
	}
	result := map[string]any{"tools": tools}
	if at+1 < len(pages) {
		result["nextCursor"] = strings.Repeat(".", at+1)
	}
	text, _ := json.Marshal(result) // of strings, which does not fail
	return string(text)
}

func (g *gateway) call(reply func(int, string, string), tool string) {
	known := tool == "weather_get_forecast" || tool == "weather_watch_storm"
	switch {
	case !known:
		reply(http.StatusOK, "error", `{"code":-32602,"message":"unknown tool"}`)
	case strings.Contains(strings.Join(g.forbidden, " "), tool):
		reply(http.StatusForbidden, "error", `{"code":403,"message":"this request is not allowed"}`)
	case g.answer != "":
		reply(http.StatusOK, "result", g.answer)
	default:
		reply(http.StatusOK, "result", `{"content":[{"type":"text","text":"sunny"}]}`)
	}
}

// probed runs a probe of the gateway, quickly.
func probed(t *testing.T, g *gateway, o Options) (said string, err error) {
	t.Helper()
	g.t = t
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	if o.URL == nil {
		o.URL, err = url.Parse(server.URL + "/mcp")
		require.NoError(t, err)
	}
	if o.Timeout == 0 {
		o.Timeout = 1500 * time.Millisecond
	}
	var out bytes.Buffer
	err = run(t.Context(), o, &out, 5*time.Millisecond, 20*time.Millisecond)
	return out.String(), err
}

const (
	goodChallenge = `Bearer error="invalid_token", resource_metadata="http://mcp.example.com:8888/.well-known/oauth-protected-resource/mcp", scope="basic"`
	goodMetadata  = `{"resource":"http://mcp.example.com:8888/mcp","authorization_servers":["http://keycloak.example.com/realms/mcp"]}`
)

// A gateway that is right passes, with a line about each thing that was looked at, and the session is ended.
func TestEverythingRight(t *testing.T) {
	g := &gateway{token: "secret-token", challenge: goodChallenge, metadata: goodMetadata, forbidden: []string{"weather_watch_storm"}}
	said, err := probed(t, g, Options{
		Host: "mcp.example.com", Token: "secret-token", Challenge: true,
		Tool: "weather_get_forecast", Arguments: json.RawMessage(`{"city":"Rome"}`), Forbidden: "weather_watch_storm",
	})
	require.NoError(t, err)
	assert.Equal(t, `ok: a call without a token: refused with 401, which leads to http://mcp.example.com:8888/.well-known/oauth-protected-resource/mcp
ok: the protected resource metadata: the resource is http://mcp.example.com:8888/mcp, logins are at http://keycloak.example.com/realms/mcp
ok: initialize: "mcp-gateway 1" speaks revision 2025-11-25
ok: tools/list: 2 tools: weather_get_forecast, weather_watch_storm
ok: tools/call "weather_get_forecast": "sunny"
ok: tools/call "weather_watch_storm", which is forbidden: refused with 403
`, said)
	assert.Equal(t, 1, g.ended)
	for _, host := range g.hosts {
		assert.Equal(t, "mcp.example.com", host, "what clients call it, whatever the URL says")
	}
}

// Without a token there is nothing to see behind policies but the refusal.
func TestWithoutToken(t *testing.T) {
	said, err := probed(t, &gateway{token: "secret-token", challenge: goodChallenge, metadata: goodMetadata}, Options{Challenge: true, Tool: "weather_get_forecast"})
	require.NoError(t, err)
	assert.NotContains(t, said, "initialize")
	assert.Contains(t, said, "no tool was called, since there is no token to call it with")
}

// What takes a moment to be right is waited for, and every page of a list is read.
func TestPatience(t *testing.T) {
	said, err := probed(t, &gateway{failingFirst: 3, forget: true, pages: [][]string{{"a", "b"}, {"c"}, {"weather_get_forecast"}}},
		Options{Tool: "weather_get_forecast", Timeout: 10 * time.Second})
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(said, `not yet: initialize: HTTP 503 "no healthy upstream": Envoy does not reach the router or the broker; check that their pods are ready`),
		"the same is said once:\n%s", said)
	assert.Contains(t, said, "4 tools: a, b, c, weather_get_forecast")
}

func TestFaults(t *testing.T) {
	tests := map[string]struct {
		gateway *gateway
		options Options
		want    string
	}{
		"policies not in force":   {&gateway{}, Options{Challenge: true}, "a call without a token: it was let through (HTTP 200): the policies are accepted and not in force"},
		"no challenge":            {&gateway{token: "x"}, Options{Challenge: true}, "it was refused with 401 and without WWW-Authenticate, so that no client would log in"},
		"a challenge without way": {&gateway{token: "x", challenge: "Bearer"}, Options{Challenge: true}, `which names no resource_metadata, so that no client would find the login`},
		"no metadata":             {&gateway{token: "x", challenge: goodChallenge, metadata: "<html>"}, Options{Challenge: true}, "/.well-known/oauth-protected-resource/mcp is no JSON"},
		"metadata of nobody":      {&gateway{token: "x", challenge: goodChallenge, metadata: "{}"}, Options{Challenge: true}, "names no authorization server"},
		"a token is needed":       {&gateway{token: "x"}, Options{}, "initialize: HTTP 401: the gateway asks for a token"},
		"another token is needed": {&gateway{token: "x"}, Options{Token: "secret-token"}, "the token is not accepted; it may be too old, or of another issuer or audience"},
		"the tool is not there":   {&gateway{}, Options{Tool: "time_get_time"}, `the tool "time_get_time" is not among those that the caller may have: 2 tools: weather_get_forecast, weather_watch_storm`},
		"the tool is not allowed": {&gateway{forbidden: []string{"weather_get_forecast"}}, Options{Tool: "weather_get_forecast"}, "the policies do not allow it to this caller"},
		"the tool fails":          {&gateway{answer: `{"isError":true,"content":[{"type":"text","text":"no such city"}]}`}, Options{Tool: "weather_get_forecast"}, `the tool says that it failed: "no such city"`},
		"only the broker refuses": {&gateway{token: "t", challenge: `Bearer resource_metadata="https://x/y"`, byBroker: true}, Options{Challenge: true}, "it was refused by the broker, which has no part in most calls"},
		"a forbidden call passes": {&gateway{}, Options{Forbidden: "weather_watch_storm"}, "the call was let through: the policies are accepted and not in force"},
		"an unknown call":         {&gateway{}, Options{Forbidden: "moon_phase"}, "name a tool that the gateway has, by the name that clients use"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := probed(t, tt.gateway, tt.options)
			require.ErrorContains(t, err, tt.want)
			assert.NotContains(t, said+err.Error(), "secret-token", "a token is not shown")
		})
	}
}

// What no waiting helps against fails at once, however much time there is.
func TestFailsAtOnce(t *testing.T) {
	start := time.Now()
	_, err := probed(t, &gateway{answer: `{"isError":true,"content":[]}`}, Options{Tool: "weather_get_forecast", Timeout: time.Hour})
	require.Error(t, err)
	assert.Less(t, time.Since(start), time.Minute)
}

// HTTPS is verified against the host that requests name, with the roots that are given.
func TestHTTPS(t *testing.T) {
	g := &gateway{t: t, token: "secret-token", challenge: goodChallenge, metadata: goodMetadata}
	server := httptest.NewUnstartedServer(g)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that are to fail
	server.StartTLS()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL + "/mcp")
	require.NoError(t, err)
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	o := Options{URL: u, Host: "example.com", CA: roots, Token: "secret-token", Challenge: true} // the certificate of httptest is for example.com
	_, err = probed(t, g, o)
	require.NoError(t, err)
	o.Host = "mcp.example.org"
	_, err = probed(t, g, o)
	require.ErrorContains(t, err, "certificate is valid for")
	o.Host, o.CA = "example.com", nil
	_, err = probed(t, g, o)
	require.ErrorContains(t, err, "give the roots of the gateway's certificate")
}
