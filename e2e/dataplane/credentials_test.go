package dataplane_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
	"github.com/guicassolato/mcp-gateway/internal/config"
)

// issuer is an authorization server. A token says whose it is and how many were given before; those that were revoked are refused.
type issuer struct {
	*httptest.Server

	mu      sync.Mutex
	given   int
	life    int // seconds
	refused map[string]bool
	down    bool
	forms   []string
}

const (
	clientID     = "mcp-gateway"
	clientSecret = "cl13nt-s3cr3t"
)

func newIssuer(t *testing.T, life int) *issuer {
	t.Helper()
	i := &issuer{life: life, refused: map[string]bool{}}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	id, secret, _ := r.BasicAuth()
	switch {
	case i.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case id != clientID || secret != clientSecret:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"not %s"}`, secret)
	case i.refused[r.PostFormValue("subject_token")]:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"no session for %s"}`, r.PostFormValue("subject_token"))
	default:
		i.given++
		i.forms = append(i.forms, r.PostForm.Encode())
		whose := "gateway"
		if subject := r.PostFormValue("subject_token"); subject != "" {
			whose = "exchanged." + subjectOf(subject)
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"%s.%s.%d","token_type":"Bearer","expires_in":%d}`, whose, r.PostFormValue("audience"), i.given, i.life)
	}
}

func (i *issuer) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

// tokenOf is a client's token: a JWT as far as anybody looks at it here.
func tokenOf(subject string) string {
	part := func(v map[string]any) string {
		data, _ := json.Marshal(v) // it can always be written
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return part(map[string]any{"alg": "none"}) + "." + part(map[string]any{"iss": "https://idp.example.com", "sub": subject, "exp": 4e9}) + ".sig"
}

func subjectOf(token string) string {
	var claims struct{ Sub string }
	if parts := strings.Split(token, "."); len(parts) == 3 {
		data, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(data, &claims) // what is no token has no subject
	}
	return claims.Sub
}

// user is a client that sends a token with everything.
type user struct {
	*testbed.Client

	auth []string
}

func connectAs(t *testing.T, g *testbed.Gateway, name string) *user {
	t.Helper()
	u := &user{Client: testbed.NewClient(t, g.Endpoint), auth: []string{"Authorization", "Bearer " + tokenOf(name)}}
	u.Name = name
	u.Initialize(t, "{}", u.auth...)
	return u
}

func (u *user) call(t *testing.T, tool string) *testbed.Answer {
	t.Helper()
	return u.Call(t, tool, "{}", u.auth...)
}

// whoami is a server that says which Authorization a call came with.
func whoami() testbed.Script {
	return testbed.Script{Tools: []testbed.Tool{{Name: "whoami", Annotations: `{"readOnlyHint":true}`, Call: func(w http.ResponseWriter, c *testbed.Call) {
		c.Text(w, strings.Join(c.Header.Values("Authorization"), ","))
	}}}}
}

// guarded has a server refuse all but some tokens.
func guarded(s testbed.Script, accept func(token string) bool) testbed.Script {
	s.Before = func(w http.ResponseWriter, c *testbed.Call) bool {
		if token, _ := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer "); accept(token) {
			return false
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	return s
}

func withCredential(c config.CredentialSpec) func(*config.ServerSpec) {
	return func(s *config.ServerSpec) { s.Credential = &c }
}

func (i *issuer) clientCredentials() config.CredentialSpec {
	return config.CredentialSpec{ClientCredentials: &config.ClientCredentialsSpec{
		TokenURL: i.URL, ClientID: clientID, ClientSecret: config.SecretSpec{Env: "CLIENT_SECRET"}, Audience: "weather",
	}}
}

func (i *issuer) tokenExchange() config.CredentialSpec {
	return config.CredentialSpec{TokenExchange: &config.TokenExchangeSpec{
		TokenURL: i.URL, ClientID: clientID, ClientSecret: config.SecretSpec{Env: "CLIENT_SECRET"}, Audience: "weather",
	}}
}

func secretEnv() []string { return []string{"CLIENT_SECRET=" + clientSecret} }

// authorizations are the different Authorization headers that a server was sent in one client's name.
func authorizations(u *testbed.Upstream, client string) []string {
	var out []string
	for _, c := range u.Calls(client, func(*testbed.Call) bool { return true }) {
		out = append(out, strings.Join(c.Header.Values("Authorization"), ","))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func assertNoSecrets(t *testing.T, g *testbed.Gateway, secrets ...string) {
	t.Helper()
	texts := map[string]string{"log": g.Process.Output(), "status": testbed.Get(t, g.Admin+"/status").Body, "metrics": testbed.Get(t, g.Admin+"/metrics").Body}
	if g.EnvoyAdmin != "" {
		texts["dump"] = testbed.Get(t, "http://"+g.EnvoyAdmin+"/config_dump").Body
	}
	for what, text := range texts {
		for _, secret := range append(secrets, clientSecret) {
			assert.NotContains(t, text, secret, what)
		}
	}
}

// TestClientCredentials: the server gets the gateway's own token in all that reaches it, calls that Envoy makes included, and a renewed one
// in place of it without any cluster or session being another.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	as := newIssuer(t, 8) // renewed after 6 s
	script, end := whoami(), make(chan struct{})
	script.Tools = append(script.Tools, testbed.Tool{Name: "slow", Call: func(w http.ResponseWriter, c *testbed.Call) {
		send := testbed.SSE(w)
		<-end
		send("data: " + c.Result(testbed.TextResult("whole")) + "\n\n")
	}})
	up := testbed.NewUpstream(t, guarded(script, func(token string) bool { return strings.HasPrefix(token, "gateway.weather.") }))
	g := testbed.StartGateway(t, testbed.Options{
		Mode: testbed.Fed, Env: secretEnv(), Servers: []config.ServerSpec{spec("w", up.URL, withCredential(as.clientCredentials()))},
	})
	g.AwaitTools(t, "w_whoami")
	alice := connectAs(t, g, "alice")
	for range 2 {
		assert.Contains(t, alice.call(t, "w_whoami").Text(t), "Bearer gateway.weather.", "the second call is Envoy's")
	}
	assert.NotZero(t, routedDirectly(t, g))
	updates := envoyStat(t, g, "cluster_manager.cluster_added") + envoyStat(t, g, "cluster_manager.cluster_modified")

	body, _ := alice.ToolCall("w_slow", "{}")
	slow := alice.Open(t, http.MethodPost, body, alice.auth...)
	seen := map[string]bool{}
	testbed.Await(t, "a call with a renewed token", func() bool {
		seen[alice.call(t, "w_whoami").Text(t)] = true
		return len(seen) > 2
	})
	close(end)
	slow.Find(t, "whole") // no renewal has cut it
	for token := range seen {
		assert.True(t, strings.HasPrefix(token, "Bearer gateway.weather."), token)
	}
	assert.Len(t, up.Sessions("alice"), 1, "one session for all tokens")
	assert.Len(t, up.Calls("alice", testbed.RPC("initialize")), 1)
	assert.Equal(t, updates, envoyStat(t, g, "cluster_manager.cluster_added")+envoyStat(t, g, "cluster_manager.cluster_modified"), "a token changes no cluster")
	assertNoSecrets(t, g, "gateway.weather.", tokenOf("alice"))
}

// routedDirectly is how many requests Envoy took straight to a server.
func routedDirectly(t *testing.T, g *testbed.Gateway) float64 {
	t.Helper()
	return g.Metric(t, `mcp_gateway_router_decisions_total{outcome="server",status=""}`)
}

func envoyStat(t *testing.T, g *testbed.Gateway, name string) string {
	t.Helper()
	for line := range strings.Lines(testbed.Get(t, "http://"+g.EnvoyAdmin+"/stats").Body) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return value
		}
	}
	t.Fatalf("Envoy has no %s", name)
	return ""
}

// TestClientCredentialsInTrouble: without a first token the server fails with a clear error, and is there as soon as there is one. A token that
// the server does not take any more is replaced.
func TestClientCredentialsInTrouble(t *testing.T) {
	t.Parallel()
	as := newIssuer(t, 300)
	as.down = true
	var revoked sync.Map
	script := guarded(whoami(), func(token string) bool {
		_, gone := revoked.Load(token)
		return strings.HasPrefix(token, "gateway.") && !gone
	})
	direct, carried, plain := testbed.NewUpstream(t, script), testbed.NewUpstream(t, script), testbed.NewUpstream(t, whoami())
	other := as.clientCredentials()
	other.ClientCredentials.Audience = "other"
	g := testbed.StartGateway(t, testbed.Options{Env: secretEnv(), Servers: []config.ServerSpec{
		spec("direct", direct.URL, withCredential(as.clientCredentials())), spec("carried", carried.URL, withCredential(other)), spec("plain", plain.URL),
	}})
	g.AwaitTools(t, "plain_whoami")
	testbed.Await(t, "the error to be told", func() bool {
		for _, s := range g.Status(t).Servers {
			if s.Name == "direct" && s.State == "failing" {
				return assert.Contains(t, s.LastError, `no token from "`+as.URL+`": answered with HTTP status 503`)
			}
		}
		return false
	})
	assert.Empty(t, direct.AllCalls(), "nothing reaches a server without its token")
	alice := connectAs(t, g, "alice")
	assert.Empty(t, alice.call(t, "plain_whoami").Text(t), "the others are none the worse for it (Invariant 12)")

	as.change(func() { as.down = false })
	g.AwaitTools(t, "direct_whoami", "carried_whoami")
	revoke := func(header string) { revoked.Store(strings.TrimPrefix(header, "Bearer "), true) }

	// The first call of a session is the broker's, which repeats it at once.
	first := alice.call(t, "carried_whoami").Text(t)
	revoke(first)
	assert.NotEqual(t, first, connectAs(t, g, "bob").call(t, "carried_whoami").Text(t))

	// The next one is Envoy's. It fails, and those behind it have another token.
	first = alice.call(t, "direct_whoami").Text(t)
	testbed.Await(t, "Envoy to make the calls", func() bool {
		alice.call(t, "direct_whoami").Result(t)
		return routedDirectly(t, g) > 0
	})
	revoke(first)
	testbed.Await(t, "a call with another token", func() bool {
		a := alice.call(t, "direct_whoami")
		if a.Status != http.StatusOK {
			return assert.Equal(t, -32603, a.Error(t).Code) && false
		}
		return assert.NotEqual(t, first, a.Text(t))
	})
	assertNoSecrets(t, g, "gateway.weather.", "gateway.other.")
}

// TestTokenExchange: each caller's calls carry a token of that caller's for that server, and nothing else of a caller reaches the server
// (Invariant 6), in whatever way the gateway and Envoy are put together.
func TestTokenExchange(t *testing.T) {
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		as := newIssuer(t, 300)
		up := testbed.NewUpstream(t, guarded(whoami(), func(token string) bool { return strings.Contains(token, ".weather.") }))
		g := testbed.StartGateway(t, testbed.Options{
			Mode: mode, Env: secretEnv(), Servers: []config.ServerSpec{spec("w", up.URL, withCredential(as.tokenExchange()))},
		})
		g.AwaitTools(t, "w_whoami")
		alice, bob := connectAs(t, g, "alice"), connectAs(t, g, "bob")
		of := map[*user]string{}
		for range 3 {
			for _, u := range []*user{alice, bob} {
				got := u.call(t, "w_whoami").Text(t)
				assert.Contains(t, got, "Bearer exchanged."+u.Name+".weather.")
				if of[u] != "" {
					assert.Equal(t, of[u], got, "a token is kept for the next call")
				}
				of[u] = got
			}
		}
		for _, u := range []*user{alice, bob} {
			assert.Equal(t, []string{of[u]}, authorizations(up, u.Name), "all of a session is the caller's, its beginning included")
			assert.Len(t, up.Sessions(u.Name), 1)
		}
		assert.Zero(t, routedDirectly(t, g), "the broker makes all calls")
		for _, header := range authorizations(up, "mcp-gateway") {
			assert.Contains(t, header, "Bearer gateway.weather.", "the lists are read by the gateway")
		}
		as.change(func() {
			for _, form := range as.forms {
				assert.Contains(t, form, "audience=weather")
			}
		})

		// The end of a session is told in the caller's name.
		assert.Equal(t, http.StatusNoContent, alice.Do(t, http.MethodDelete, nil, alice.auth...).Status)
		testbed.Await(t, "the session to end", func() bool { return len(up.Sessions("alice")) == 0 })
		assert.Equal(t, []string{of[alice]}, authorizations(up, "alice"))

		anonymous := testbed.Connect(t, g.Endpoint)
		refused := anonymous.Call(t, "w_whoami", "{}")
		assert.Equal(t, http.StatusUnauthorized, refused.Status, refused)
		assert.Equal(t, 401, refused.Error(t).Code)

		eve := connectAs(t, g, "eve")
		as.change(func() { as.refused[tokenOf("eve")] = true })
		refused = eve.call(t, "w_whoami")
		assert.Equal(t, http.StatusForbidden, refused.Status, refused)
		assert.Equal(t, 403, refused.Error(t).Code)
		assert.Contains(t, refused.Error(t).Message, "log in again")

		carol := connectAs(t, g, "carol")
		as.change(func() { as.down = true })
		refused = carol.call(t, "w_whoami")
		assert.Equal(t, http.StatusBadGateway, refused.Status, refused)
		assert.Equal(t, -32603, refused.Error(t).Code)
		assert.Equal(t, of[bob], bob.call(t, "w_whoami").Text(t), "who has a token needs no authorization server")
		assertNoSecrets(t, g, "exchanged.", "gateway.weather.", tokenOf("alice"), tokenOf("eve"))
	})
}

// TestExchangedSessionsAreTheirCallersAlone: a session with a server is never used with the token of another caller, not even where two callers
// of one session cannot be told apart but by their tokens.
func TestExchangedSessionsAreTheirCallersAlone(t *testing.T) {
	t.Parallel()
	for kind, credential := range map[string]func(*issuer) config.CredentialSpec{
		"tokenExchange": (*issuer).tokenExchange,
		"clientToken":   func(*issuer) config.CredentialSpec { return config.CredentialSpec{ClientToken: true} },
	} {
		as := newIssuer(t, 300)
		up := testbed.NewUpstream(t, whoami())
		g := testbed.StartGateway(t, testbed.Options{Env: secretEnv(), Servers: []config.ServerSpec{spec("w", up.URL, withCredential(credential(as)))}})
		g.AwaitTools(t, "w_whoami")
		c := testbed.NewClient(t, g.Endpoint)
		c.Name = "shared"
		c.Initialize(t, "{}", "Authorization", "Bearer opaque-1")
		for _, token := range []string{"opaque-1", "opaque-2", "opaque-1", "opaque-2"} {
			c.Call(t, "w_whoami", "{}", "Authorization", "Bearer "+token).Result(t)
		}
		owner := map[string]string{} // of sessions
		for _, call := range up.Calls("shared", func(c *testbed.Call) bool { return c.Header.Get("Mcp-Session-Id") != "" }) {
			id, token := call.Header.Get("Mcp-Session-Id"), call.Header.Get("Authorization")
			assert.Contains(t, []string{"", token}, owner[id], "%s: a session was used with two tokens", kind)
			owner[id] = token
		}
		// Each change of callers opens another, unless a router inside of Envoy has not heard of that yet: then the caller's own is used again.
		assert.Contains(t, []int{2, 3, 4}, len(owner), kind)
		// Somebody else's session is unknown to a caller with a token that names somebody.
		assert.Equal(t, http.StatusNotFound, c.Call(t, "w_whoami", "{}", "Authorization", "Bearer "+tokenOf("mallory")).Status)
	}
}

// TestCarriedConversation: what belongs to a call reaches the server through the broker too: the answers to its requests, cancellations, and
// the resumption of its stream.
func TestCarriedConversation(t *testing.T) {
	t.Parallel()
	as := newIssuer(t, 300)
	cancelled := make(chan struct{})
	answered := make(chan string, 1)
	script := whoami()
	script.Tools = append(script.Tools, testbed.Tool{Name: "ask", Call: func(w http.ResponseWriter, c *testbed.Call) {
		send := testbed.SSE(w)
		send("id: ev-1\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"elicitation/create\",\"params\":{\"message\":\"?\"}}\n\n")
		select {
		case answer := <-answered:
			send("data: " + c.Result(testbed.TextResult(answer)) + "\n\n")
		case <-c.Context().Done():
		}
	}}, testbed.Tool{Name: "slow", Call: func(w http.ResponseWriter, c *testbed.Call) {
		send := testbed.SSE(w)
		send(": begun\n\n")
		select {
		case <-cancelled:
		case <-c.Context().Done():
		}
	}})
	script.Before = func(_ http.ResponseWriter, c *testbed.Call) bool {
		switch {
		case c.RPC == "notifications/cancelled":
			close(cancelled)
		case c.RPC == "" && c.Method == http.MethodPost:
			answered <- string(c.Body)
		}
		return false
	}
	script.Resume = func(w http.ResponseWriter, c *testbed.Call) {
		testbed.SSE(w)("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"after " + c.Header.Get("Last-Event-Id") + "\"}}\n\n")
	}
	up := testbed.NewUpstream(t, script)
	g := testbed.StartGateway(t, testbed.Options{Env: secretEnv(), Servers: []config.ServerSpec{spec("w", up.URL, withCredential(as.tokenExchange()))}})
	g.AwaitTools(t, "w_ask")
	alice := connectAs(t, g, "alice")

	body, _ := alice.ToolCall("w_ask", "{}")
	stream := alice.Open(t, http.MethodPost, body, alice.auth...)
	asked := stream.Find(t, "elicitation/create")
	var request struct{ ID json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(asked.Data), &request))
	reply := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"action":"accept","content":{"n":9007199254740993}}}`, request.ID)
	assert.Equal(t, http.StatusAccepted, alice.Post(t, reply, alice.auth...).Status)
	assert.Contains(t, stream.Find(t, `"result"`).Data, `\"id\":7,\"result\":{\"action\":\"accept\",\"content\":{\"n\":9007199254740993}}`)

	resumed := alice.Open(t, http.MethodGet, "", append([]string{"Last-Event-ID", asked.ID}, alice.auth...)...)
	assert.Equal(t, http.StatusOK, resumed.Status)
	resumed.Find(t, "after ev-1")

	body, id := alice.ToolCall("w_slow", "{}")
	slow := alice.Open(t, http.MethodPost, body, alice.auth...)
	assert.Equal(t, http.StatusOK, slow.Status)
	note := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, id)
	assert.Equal(t, http.StatusAccepted, alice.Post(t, note, alice.auth...).Status)
	select {
	case <-cancelled:
	case <-time.After(testbed.Patience):
		t.Fatal("the cancellation did not reach the server")
	}
	for _, header := range authorizations(up, "alice") {
		assert.Contains(t, header, "Bearer exchanged.alice.weather.")
	}
}

// TestClientToken: the client's own token reaches the server by explicit choice, through Envoy and through the broker, with a warning; the
// lists are read with what is configured for that. A server beside it gets nothing of it (Invariant 6).
func TestClientToken(t *testing.T) {
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		up, listed, plain := testbed.NewUpstream(t, whoami()), testbed.NewUpstream(t, whoami()), testbed.NewUpstream(t, whoami())
		g := testbed.StartGateway(t, testbed.Options{Mode: mode, Env: []string{"READER=reader-t0ken"}, Servers: []config.ServerSpec{
			spec("w", up.URL, withCredential(config.CredentialSpec{ClientToken: true})),
			spec("listed", listed.URL, withCredential(config.CredentialSpec{ClientToken: true, Discovery: &config.SecretSpec{Env: "READER"}})),
			spec("plain", plain.URL),
		}})
		g.AwaitTools(t, "w_whoami", "listed_whoami", "plain_whoami")
		alice := connectAs(t, g, "alice")
		own := "Bearer " + tokenOf("alice")
		for range 2 {
			assert.Equal(t, own, alice.call(t, "w_whoami").Text(t))
			assert.Equal(t, own, alice.call(t, "listed_whoami").Text(t))
			assert.Empty(t, alice.call(t, "plain_whoami").Text(t))
		}
		assert.Equal(t, []string{own}, authorizations(up, "alice"))
		assert.Equal(t, []string{own}, authorizations(listed, "alice"))
		assert.Equal(t, []string{""}, authorizations(plain, "alice"))
		assert.Equal(t, []string{""}, authorizations(up, "mcp-gateway"))
		assert.Equal(t, []string{"Bearer reader-t0ken"}, authorizations(listed, "mcp-gateway"))

		anonymous := testbed.Connect(t, g.Endpoint)
		for range 2 {
			assert.Empty(t, anonymous.Call(t, "listed_whoami", "{}").Text(t), "the token for the lists is not for calls")
		}
		warned := []string{}
		for _, p := range g.Status(t).Problems {
			if strings.Contains(p.Message, "clientToken passes the token of each client on") {
				warned = append(warned, p.Server)
			}
		}
		assert.Equal(t, []string{"w", "listed"}, warned)
		assert.Contains(t, g.Process.Output(), "clientToken passes the token of each client on")
		assertNoSecrets(t, g, "reader-t0ken", tokenOf("alice"))
	})
}

// TestStaticFileHasNoTokens: an Envoy that nobody feeds cannot be given tokens, and that is said where the file is made.
func TestStaticFileHasNoTokens(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/config.yaml"
	testbed.WriteConfig(t, path, spec("w", "http://127.0.0.1:1", withCredential((&issuer{Server: &httptest.Server{URL: "http://127.0.0.1:2"}}).clientCredentials())))
	cmd := exec.CommandContext(t.Context(), testbed.Program(t, testbed.GatewayBin), "envoy-config", "--mcp-gateway-config", path)
	cmd.Env = append(cmd.Environ(), secretEnv()...)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), `server "w": clientCredentials give tokens that have to be renewed, which only an Envoy gets that the gateway feeds`)
	assert.NotContains(t, string(out), clientSecret)
}
