package istio_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// guarded is a world whose endpoint is guarded by what the chart makes of policy values, from end to end.
type guarded struct {
	*world
	issuer *testbed.Issuer
}

// values are policy values with these rules.
func (w *guarded) values(rules string) string {
	return `policies:
  authentication: {issuer: "` + w.issuer.URL + `", audiences: [mcp-gateway]}
  acl: ` + rules + `
  rateLimits:
    - {name: few, tools: [plain_forbidden], per: user, limit: 2, window: 1h}
`
}

const firstRules = `[{users: [ann], allow: [plain_hello, {server: sessions}]}, {groups: [staff], allow: [{server: secret}]}, {users: [eve], allow: [plain_forbidden]}]`

// One world serves all tests, in this order.
func TestPolicies(t *testing.T) {
	// The command line is as in a cluster, with a ConfigMap that is not there yet.
	mesh := newGuarded(t)
	t.Run("before there are policies", mesh.testUnknown)
	began := time.Now()
	mesh.enforce(t, mesh.values(firstRules))
	mesh.awaitGeneration(t, 1)
	t.Logf("policies in force at Envoy and at the broker after %v", time.Since(began).Round(time.Millisecond))

	t.Run("tokens", mesh.testTokens)
	t.Run("virtual servers", mesh.testVirtualServers)
	t.Run("rights", mesh.testRights)
	t.Run("limits", mesh.testLimits)
	t.Run("forged headers", mesh.testForgedFacts)
	t.Run("spellings of the host", mesh.testSpellings)
	t.Run("a change while streams go on", mesh.testChange)
	t.Run("bad values", mesh.testBadValues)
	t.Run("neighbours", mesh.testGuardedNeighbours)
	t.Run("neighbours' tokens", mesh.testNeighboursTokens)
	t.Run("neighbours' policies", mesh.testNeighboursPolicies)
	t.Run("a policy that is not in force", mesh.testNotInForce)
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	w := &guarded{issuer: testbed.NewIssuer(t)}
	w.world = newWorldWith(t, func(w *world) []string {
		return []string{"--policies-config-map", "mcp-system/mcp-gateway-policies", "--kubeconfig", w.cluster.Kubeconfig()}
	})
	w.wire(t, "--public-url", "http://"+endpointHost)
	w.awaitWired(t)
	return w
}

// as is a client with a session of its own, whose token is a user's.
func (w *guarded) as(t *testing.T, user string, claims map[string]any) *testbed.Client {
	t.Helper()
	c := w.client(t)
	c.Authorization = w.issuer.Token(t, user, claims)
	c.Initialize(t, "{}")
	return c
}

// generation is that of the values that the broker has, and what is wrong with the ones that it should have.
func (w *guarded) generation(t *testing.T) (generation int, problems []string) {
	t.Helper()
	var status struct {
		Policies struct {
			Generation int
			Problems   []string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(testbed.Get(t, w.status+"/status").Body), &status))
	return status.Policies.Generation, status.Policies.Problems
}

func (w *guarded) awaitGeneration(t *testing.T, want int) {
	t.Helper()
	testbed.Await(t, fmt.Sprintf("the broker to have values %d", want), func() bool {
		got, _ := w.generation(t)
		return got == want
	})
}

// Where nobody knows who may have what, nobody gets anything (Invariant 5).
func (w *guarded) testUnknown(t *testing.T) {
	ready := testbed.Get(t, w.status+"/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, ready.Status)
	assert.Contains(t, ready.Body, "there are no good policies in the ConfigMap mcp-system/mcp-gateway-policies yet")
	a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", initialize, "Content-Type", "application/json", "Authorization", w.issuer.Token(t, "ann", nil))
	require.Equal(t, http.StatusServiceUnavailable, a.Status, a)
	assert.Equal(t, -32603, a.Error(t).Code)
	assert.Empty(t, a.Header.Get("Mcp-Session-Id"))
	assert.Empty(t, a.Header.Get("WWW-Authenticate"), "another login would not help")
}

const (
	missingToken = `Bearer resource_metadata="` + metadataURL + `", scope="basic"`
	badToken     = `Bearer error="invalid_token", resource_metadata="` + metadataURL + `", scope="basic"`
	noRight      = `Bearer error="insufficient_scope", scope="basic", resource_metadata="` + metadataURL + `"`
)

// A refused client learns where to log in (Invariants 5 and 7).
func (w *guarded) testTokens(t *testing.T) {
	foreign := testbed.NewSigningKey(t, "first")
	good := w.issuer.Token(t, "ann", nil)
	sign := func(claims map[string]any) string { return w.issuer.Token(t, "ann", claims) }
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for name, tt := range map[string]struct{ authorization, message, challenge string }{
		"none":           {"", "authentication is needed", missingToken},
		"another scheme": {"Basic " + strings.TrimPrefix(good, "Bearer "), "authentication is needed", missingToken},
		"two schemes":    {"Basic " + good, "authentication is needed", missingToken},
		"two tokens":     {good + " " + good, "authentication is needed", missingToken},
		"no token":       {"Bearer ", "authentication is needed", missingToken},
		"no JWT":         {"Bearer abc", "authentication is needed", missingToken},
		"expired":        {sign(map[string]any{"exp": at(-2 * time.Minute)}), "the access token is not accepted", badToken},
		// This one Istio takes, and the broker does not.
		"never expiring":        {sign(map[string]any{"exp": nil}), "the access token is not accepted", badToken},
		"not valid yet":         {sign(map[string]any{"nbf": at(5 * time.Minute)}), "the access token is not accepted", badToken},
		"for another audience":  {sign(map[string]any{"aud": "shop"}), "the access token is not accepted", badToken},
		"for no audience":       {sign(map[string]any{"aud": nil}), "the access token is not accepted", badToken},
		"of another issuer":     {sign(map[string]any{"iss": "https://other.example.com"}), "the access token is not accepted", badToken},
		"of nobody":             {sign(map[string]any{"sub": nil}), "the access token is not accepted", badToken},
		"signed by another key": {"Bearer " + foreign.Sign(t, nil, w.issuer.Claims("ann", nil)), "the access token is not accepted", badToken},
		"not signed": {
			"Bearer " + testbed.Segment(t, map[string]any{"alg": "none"}) + "." + testbed.Segment(t, w.issuer.Claims("ann", nil)) + ".AAAA", "the access token is not accepted", badToken,
		},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream", "Origin", "http://localhost:6274"}
			if tt.authorization != "" {
				headers = append(headers, "Authorization", tt.authorization)
			}
			w.quiet(t, func() {
				a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", initialize, headers...)
				require.Equal(t, http.StatusUnauthorized, a.Status, a)
				assert.Equal(t, `{"jsonrpc":"2.0","id":"f","error":{"code":401,"message":"`+tt.message+`"}}`, a.Body)
				assert.Equal(t, []string{tt.challenge}, a.Header.Values("WWW-Authenticate"))
				assert.Contains(t, a.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate")
			})
		})
	}
	// A token in the place where Istio looks for it is not one, and what leads to the login needs none.
	a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp", initialize,
		"Content-Type", "application/json", "Accept", "application/json, text/event-stream", "X-Mcp-Token", strings.TrimPrefix(good, "Bearer "))
	assert.Equal(t, http.StatusUnauthorized, a.Status, a)
	a = w.ask(t, http.MethodGet, metadataURL, "")
	assert.Equal(t, http.StatusOK, a.Status, a)
	assert.Contains(t, a.Body, w.issuer.URL)
	a = w.ask(t, http.MethodGet, metadataURL, "", "Authorization", "Bearer garbage")
	assert.Equal(t, http.StatusOK, a.Status, a)
}

// A virtual server has metadata of its own.
func (w *guarded) testVirtualServers(t *testing.T) {
	const own = "http://" + endpointHost + "/.well-known/oauth-protected-resource/mcp/team"
	headers := []string{"Content-Type", "application/json", "Accept", "application/json, text/event-stream"}
	a := w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp/team", initialize, headers...)
	require.Equal(t, http.StatusUnauthorized, a.Status, a)
	assert.Equal(t, `Bearer resource_metadata="`+own+`", scope="basic"`, a.Header.Get("WWW-Authenticate"))
	assert.Equal(t, http.StatusOK, w.ask(t, http.MethodGet, own, "").Status)
	a = w.ask(t, http.MethodPost, "http://"+endpointHost+"/mcp/team", initialize, append(headers, "Authorization", w.issuer.Token(t, "ann", map[string]any{"aud": "x"}))...)
	assert.Equal(t, `Bearer error="invalid_token", resource_metadata="`+own+`", scope="basic"`, a.Header.Get("WWW-Authenticate"))

	c := w.client(t)
	c.Endpoint, c.Authorization = "http://"+endpointHost+"/mcp/team", w.issuer.Token(t, "ann", nil)
	c.Initialize(t, "{}")
	assert.Equal(t, []string{"plain_hello"}, c.ToolNames(t), "what is both the virtual server's and allowed")
	assert.Contains(t, c.Call(t, "plain_hello", "{}").Text(t), "hello")
	a = c.Call(t, "secret_hello", "{}")
	require.Equal(t, http.StatusForbidden, a.Status, a)
	assert.Equal(t, `Bearer error="insufficient_scope", scope="basic", resource_metadata="`+own+`"`, a.Header.Get("WWW-Authenticate"))
}

// Lists show what calls get, whoever carries them.
func (w *guarded) testRights(t *testing.T) {
	ann, bob, nobody := w.as(t, "ann", nil), w.as(t, "bob", map[string]any{"groups": []string{"x", "staff"}}), w.as(t, "nobody", nil)
	assert.Equal(t, []string{"plain_hello", "sessions_hello", "sessions_stream", "sessions_wait"}, ann.ToolNames(t))
	assert.Equal(t, []string{"secret_hello"}, bob.ToolNames(t))
	assert.Empty(t, nobody.ToolNames(t))
	assert.Contains(t, ann.Call(t, "plain_hello", "{}").Text(t), "hello")
	assert.Contains(t, ann.Call(t, "sessions_hello", "{}").Text(t), "hello", "the first call is the broker's")
	assert.Contains(t, ann.Call(t, "sessions_hello", "{}").Text(t), "hello", "the next one is Envoy's")
	assert.Contains(t, bob.Call(t, "secret_hello", "{}").Text(t), "hello")
	w.quiet(t, func() {
		for c, tools := range map[*testbed.Client][]string{ann: {"secret_hello", "plain_forbidden"}, bob: {"plain_hello", "sessions_hello"}, nobody: {"plain_hello", "secret_hello"}} {
			for _, tool := range tools {
				a := c.Call(t, tool, "{}")
				require.Equal(t, http.StatusForbidden, a.Status, "%s: %s", tool, a)
				assert.Equal(t, http.StatusForbidden, a.Error(t).Code)
				assert.NotEmpty(t, a.Error(t).ID)
				assert.Equal(t, []string{noRight}, a.Header.Values("WWW-Authenticate"))
			}
		}
	})
}

func (w *guarded) testLimits(t *testing.T) {
	eve := w.as(t, "eve", nil)
	for range 2 {
		assert.Contains(t, eve.Call(t, "plain_forbidden", "{}").Text(t), "forbidden")
	}
	w.quiet(t, func() {
		a := eve.Call(t, "plain_forbidden", "{}")
		require.Equal(t, http.StatusTooManyRequests, a.Status, a)
		assert.Equal(t, "1800", a.Header.Get("Retry-After"), "when one of two calls in an hour has been filled up")
		assert.Equal(t, http.StatusTooManyRequests, a.Error(t).Code)
		assert.NotEmpty(t, a.Error(t).ID)
	})
	assert.Equal(t, []string{"plain_forbidden"}, eve.ToolNames(t), "lists are not counted")
}

// What only the gateway may say, a client cannot (Invariant 3).
func (w *guarded) testForgedFacts(t *testing.T) {
	c := w.as(t, "nobody", nil)
	ann := strings.TrimPrefix(w.issuer.Token(t, "ann", nil), "Bearer ")
	w.quiet(t, func() {
		for _, forged := range [][]string{
			forged("outbound|80||plain.tools.internal"),
			{"X-Mcp-Token", ann},
			{"X-Mcp-Toolname", "hello", "X-Mcp-Publicname", "plain_hello", "X-Mcp-Servername", "plain", "X-Mcp-Method", "tools/list"},
			{"X-Forwarded-Authorization", "Bearer " + ann, "Cookie", "token=" + ann, "X-Mcp-Authorized", ann},
		} {
			a := c.Call(t, "plain_hello", "{}", forged...)
			require.Equal(t, http.StatusForbidden, a.Status, "%v: %s", forged, a)
		}
	})
}

// The host is not what decides: under every spelling, and by HTTP/2, a request is judged or goes nowhere.
func (w *guarded) testSpellings(t *testing.T) {
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"plain_hello","arguments":{}}}`
	session := w.as(t, "nobody", nil)
	for _, host := range []string{"mcp.example.com", "MCP.Example.COM", "mcp.example.com:8443"} {
		for _, version := range []string{"1", "2"} {
			a := w.askBy(t, version, http.MethodPost, host, "/mcp", initialize, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
			require.Equal(t, http.StatusUnauthorized, a.Status, "HTTP/%s %s: %s", version, host, a)
			assert.Equal(t, []string{missingToken}, a.Header.Values("WWW-Authenticate"))
		}
	}
	for _, host := range []string{"mcp.example.com", "MCP.Example.COM", "mcp.example.com:80", "mcp.example.com:8443", "mcp.example.com.", "mcp.example.com.:80", "plain.tools.internal", "plain.example.com"} {
		for _, version := range []string{"1", "2"} {
			for _, path := range []string{"/mcp", "/mcp/", "//mcp", "/mcp?x=y", "/mcp;x", "/%6dcp", "/mcp/team", "/MCP", "/x/../mcp"} {
				w.quiet(t, func() {
					for _, authorization := range []string{"", session.Authorization} {
						a := w.askBy(t, version, http.MethodPost, host, path, body, "Content-Type", "application/json", "Accept", "application/json, text/event-stream",
							"Mcp-Session-Id", session.Session, "Authorization", authorization)
						assert.GreaterOrEqual(t, a.Status, 400, "HTTP/%s %s%s: %s", version, host, path, a)
						assert.NotContains(t, a.Body, `"result"`)
					}
				})
			}
		}
	}
}

// Rights change at once, in lists and calls, and no stream ends because of it.
func (w *guarded) testChange(t *testing.T) {
	ann, bob := w.as(t, "ann", nil), w.as(t, "bob", map[string]any{"groups": []string{"staff"}})
	wait := func(c *testbed.Client) *testbed.Stream {
		body, _ := c.ToolCall("sessions_wait", "{}")
		s := c.Open(t, http.MethodPost, body)
		require.Equal(t, http.StatusOK, s.Status)
		s.Find(t, "on its way")
		return s
	}
	streams := []*testbed.Stream{wait(ann), wait(ann)} // by the broker, as the first call of a session, and by Envoy alone

	manifest, refused := renderPolicies(t, w.values(`[{users: [bob], allow: [plain_hello]}]`))
	require.NoError(t, refused)
	w.kubectl(t, manifest, "apply", "-f", "-")
	began := time.Now()
	testbed.Await(t, "the new rights in lists", func() bool { return len(ann.ToolNames(t)) == 0 && len(bob.ToolNames(t)) == 1 })
	t.Logf("a change is in lists %v after it was applied", time.Since(began).Round(time.Millisecond))
	testbed.Await(t, "the new rights in calls", func() bool { return bob.Call(t, "plain_hello", "{}").Status == http.StatusOK })
	t.Logf("and in calls after %v", time.Since(began).Round(time.Millisecond))
	assert.Equal(t, http.StatusForbidden, ann.Call(t, "plain_hello", "{}").Status)
	assert.Equal(t, http.StatusForbidden, ann.Call(t, "sessions_hello", "{}").Status)
	assert.Equal(t, http.StatusForbidden, bob.Call(t, "secret_hello", "{}").Status)

	close(w.release)
	for _, s := range streams {
		s.Find(t, "waited")
	}
	w.enforce(t, w.values(firstRules))
	w.awaitGeneration(t, 3)
}

// Values that are bad change nothing, and those that would open the gateway are bad (Invariant 8).
func (w *guarded) testBadValues(t *testing.T) {
	ann := w.as(t, "ann", nil)
	for text, want := range map[string]string{
		"policies: {acl: [{everyone: true, alow: [x]}]}\n": "policies.acl[0].alow: unknown key",
		"policies: {}\n": "a running gateway does not open itself",
	} {
		patch, err := json.Marshal(map[string]any{"data": map[string]string{"policies.yaml": text}})
		require.NoError(t, err)
		w.kubectl(t, "", "-n", "mcp-system", "patch", "configmap", "mcp-gateway-policies", "--type", "merge", "-p", string(patch))
		testbed.Await(t, "the broker to refuse "+text, func() bool {
			_, problems := w.generation(t)
			return strings.Contains(strings.Join(problems, "\n"), want)
		})
		assert.Contains(t, testbed.Get(t, w.status+"/metrics").Body, "\nmcp_gateway_policy_valid 0\n")
		assert.Equal(t, []string{"plain_hello", "sessions_hello", "sessions_stream", "sessions_wait"}, ann.ToolNames(t))
	}
	w.kubectl(t, "", "-n", "mcp-system", "delete", "configmap", "mcp-gateway-policies")
	testbed.Await(t, "the broker to miss its policies", func() bool {
		_, problems := w.generation(t)
		return strings.Contains(strings.Join(problems, "\n"), "does not exist")
	})
	assert.NotEmpty(t, ann.ToolNames(t), "what is in force stays")
	w.enforce(t, w.values(firstRules))
	testbed.Await(t, "the broker to be content again", func() bool {
		_, problems := w.generation(t)
		return len(problems) == 0
	})
	w.gateway.Said(t, "policies refused; those before stay in force")
}
