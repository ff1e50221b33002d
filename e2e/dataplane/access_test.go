package dataplane_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/e2e/testbed"
)

// accessBed is a gateway with policies in front of a server that keeps sessions and one that does not.
type accessBed struct {
	*testbed.Gateway

	issuer      *testbed.Issuer
	file        string
	docs, notes *testbed.Upstream
}

// rules are the policy values of most tests here, behind an authentication.
const rules = `
  acl:
    - name: readers
      groups: [readers]
      allow:
        - {hints: {readOnly: true}}
        - {server: docs, prompt: ask}
        - {server: docs, resource: "file:///open/*"}
    - {name: writers, roles: [writers], allow: ["notes_*"]}
    - {name: root, users: [root], allow: [{server: docs}, {server: notes}]}
  rateLimits:
    - {name: slow, tools: ["notes_slow"], per: user, limit: 2, window: 1h}
`

func (b *accessBed) values(rest string) string {
	return fmt.Sprintf("policies:\n  authentication: {issuer: %q, jwksURI: %q, audiences: [mcp-gateway]}\n%s", b.issuer.URL, b.issuer.URL+"/keys", rest)
}

func (b *accessBed) write(t *testing.T, values string) {
	t.Helper()
	require.NoError(t, os.WriteFile(b.file, []byte(values), 0o600))
}

// documents are prompts and resources for a scripted server.
func documents() map[string]func(w http.ResponseWriter, c *testbed.Call) {
	say := func(result string) func(http.ResponseWriter, *testbed.Call) {
		return func(w http.ResponseWriter, c *testbed.Call) { c.Reply(w, result) }
	}
	return map[string]func(w http.ResponseWriter, c *testbed.Call){
		"prompts/list":             say(`{"prompts":[{"name":"ask"},{"name":"order"}]}`),
		"prompts/get":              say(`{"messages":[]}`),
		"resources/list":           say(`{"resources":[{"uri":"file:///open/a","name":"a"},{"uri":"file:///closed/b","name":"b"}]}`),
		"resources/templates/list": say(`{"resourceTemplates":[{"uriTemplate":"file:///closed/{x}","name":"t"}]}`),
		"resources/read":           say(`{"contents":[]}`),
		"resources/subscribe":      say(`{}`),
		"completion/complete":      say(`{"completion":{"values":["x"]}}`),
	}
}

func newAccessBed(t *testing.T, mode testbed.Mode, flags ...string) *accessBed {
	b := &accessBed{
		issuer: testbed.NewIssuer(t), file: filepath.Join(t.TempDir(), "policies.yaml"),
		docs: testbed.NewUpstream(t, testbed.Script{
			Capabilities: `{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}}`, Methods: documents(),
			Tools: []testbed.Tool{{Name: "look", Annotations: `{"readOnlyHint":true}`}, {Name: "change"}},
		}),
		notes: testbed.NewUpstream(t, testbed.Script{Sessionless: true, Tools: []testbed.Tool{
			{Name: "read", Annotations: `{"readOnlyHint":true}`}, {Name: "add"}, {Name: "slow"},
		}}),
	}
	b.write(t, b.values(rules))
	b.Gateway = testbed.StartGateway(t, testbed.Options{
		Mode: mode, Servers: specs(map[string]*testbed.Upstream{"docs": b.docs, "notes": b.notes}),
		Flags: append([]string{"--log-level", "debug", "--page-size", "2"}, flags...), Policies: b.file,
	})
	b.AwaitTools(t, "docs_look", "docs_change", "notes_read", "notes_add", "notes_slow")
	return b
}

// as connects a user.
func (b *accessBed) as(t *testing.T, user string, claims map[string]any) *testbed.Client {
	t.Helper()
	return testbed.ConnectAs(t, b.Endpoint, strings.ReplaceAll(t.Name(), "/", ".")+"."+user, b.issuer.Token(t, user, claims))
}

func reader() map[string]any { return map[string]any{"groups": []string{"readers", "others"}} }

func writer() map[string]any {
	return map[string]any{"realm_access": map[string]any{"roles": []string{"writers"}}}
}

const challenge = `resource_metadata="%s/.well-known/oauth-protected-resource/mcp"`

// refused checks an answer to a message with the id.
func (b *accessBed) refused(t *testing.T, a *testbed.Answer, status int, id any, words ...string) {
	t.Helper()
	require.Equal(t, status, a.Status, "%s", a)
	e := a.Error(t)
	assert.Equal(t, status, e.Code)
	assert.Equal(t, fmt.Sprint(id), e.ID, "an error of a policy has the request's own id (Invariant 7)")
	for _, w := range words {
		assert.Contains(t, a.Header.Get("Www-Authenticate"), w)
	}
}

func (b *accessBed) forbidden(t *testing.T, c *testbed.Client, method, params string, headers ...string) {
	t.Helper()
	id := c.NextID()
	a := c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params), headers...)
	b.refused(t, a, http.StatusForbidden, id, "Bearer ", `error="insufficient_scope"`, fmt.Sprintf(challenge, b.Base))
}

func result(t *testing.T, c *testbed.Client, method, params string, headers ...string) string {
	t.Helper()
	return c.Post(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, c.NextID(), method, params), headers...).Result(t)
}

// TestAccess: whoever calls sees and gets what the policies allow, and nothing else, whether Envoy carries a call alone or with the broker.
func TestAccess(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode testbed.Mode) {
		b := newAccessBed(t, mode)
		t.Run("lists", b.lists)
		t.Run("calls", b.judgesCalls)
		t.Run("documents", b.judgesDocuments)
		t.Run("tokens", b.refusesTokens)
		t.Run("sessions", b.keepsSessionsApart)
		t.Run("forgery", b.cannotBeForged)
		t.Run("rates", b.limitsRates)
		t.Run("metadata", b.namesTheIssuer)
		t.Run("at once", b.tellsUsersApart)
		for _, u := range []*testbed.Upstream{b.docs, b.notes} {
			for _, call := range u.AllCalls() {
				assert.Empty(t, call.Header.Values("Authorization"), "a client's token is for the gateway (Invariant 6)")
			}
		}
	})
}

func (b *accessBed) lists(t *testing.T) {
	ann, will, root, nobody := b.as(t, "ann", reader()), b.as(t, "will", writer()), b.as(t, "root", nil), b.as(t, "nobody", nil)
	for range 2 { // before and after calls
		assert.Equal(t, []string{"docs_look", "notes_read"}, ann.ToolNames(t))
		assert.Equal(t, []string{"notes_add", "notes_read", "notes_slow"}, will.ToolNames(t))
		assert.Equal(t, []string{"docs_change", "docs_look", "notes_add", "notes_read", "notes_slow"}, root.ToolNames(t))
		assert.Empty(t, nobody.ToolNames(t))
		assert.JSONEq(t, `{"prompts":[{"name":"docs_ask"}]}`, result(t, ann, "prompts/list", "{}"))
		assert.JSONEq(t, `{"prompts":[]}`, result(t, will, "prompts/list", "{}"))
		assert.JSONEq(t, `{"resources":[{"uri":"file:///open/a","name":"a"}]}`, result(t, ann, "resources/list", "{}"))
		assert.JSONEq(t, `{"resources":[]}`, result(t, nobody, "resources/list", "{}"))
		assert.JSONEq(t, `{"resourceTemplates":[]}`, result(t, ann, "resources/templates/list", "{}"))
		assert.JSONEq(t, `{"resourceTemplates":[{"uriTemplate":"file:///closed/{x}","name":"t"}]}`, result(t, root, "resources/templates/list", "{}"))
		ann.Call(t, "docs_look", "{}").Result(t)
		root.Call(t, "docs_look", "{}").Result(t)
	}
}

func (b *accessBed) judgesCalls(t *testing.T) {
	ann := b.as(t, "ann", reader())
	// By the broker first, which opens a session with the server, and straight after that.
	b.forbidden(t, ann, "tools/call", `{"name":"docs_change"}`)
	assert.Empty(t, b.docs.Sessions(ann.Name), "a call that a policy refuses opens no session")
	for range 2 {
		ann.Call(t, "docs_look", "{}").Result(t)
		ann.Call(t, "notes_read", "{}").Result(t)
		b.forbidden(t, ann, "tools/call", `{"name":"docs_change"}`)
		b.forbidden(t, ann, "tools/call", `{"name":"docs_chang\u0065"}`)
		b.forbidden(t, ann, "tools/call", `{"name":"notes_add"}`)
	}
	for _, call := range b.docs.Calls(ann.Name, testbed.RPC("tools/call")) {
		assert.Equal(t, "look", call.Tool)
	}
	a := ann.Call(t, "docs_unknown", "{}")
	assert.Equal(t, -32602, a.Error(t).Code)
}

func (b *accessBed) judgesDocuments(t *testing.T) {
	ann := b.as(t, "ann", reader())
	allowed := [][2]string{
		{"prompts/get", `{"name":"docs_ask"}`},
		{"resources/read", `{"uri":"file:///open/a"}`},
		{"resources/subscribe", `{"uri":"file:///open/a"}`},
		{"completion/complete", `{"ref":{"type":"ref/prompt","name":"docs_ask"},"argument":{"name":"x","value":""}}`},
	}
	refused := [][2]string{
		{"prompts/get", `{"name":"docs_order"}`},
		{"resources/read", `{"uri":"file:///closed/b"}`},
		{"resources/read", `{"uri":"file:///closed/c"}`},
		{"resources/subscribe", `{"uri":"file:///closed/b"}`},
		{"resources/unsubscribe", `{"uri":"file:///closed/b"}`},
		{"completion/complete", `{"ref":{"type":"ref/prompt","name":"docs_order"},"argument":{"name":"x","value":""}}`},
		{"completion/complete", `{"ref":{"type":"ref/resource","uri":"file:///closed/{x}"},"argument":{"name":"x","value":""}}`},
	}
	for range 2 {
		for _, m := range refused {
			b.forbidden(t, ann, m[0], m[1])
		}
		for _, m := range allowed {
			result(t, ann, m[0], m[1])
		}
	}
}

// refusesTokens: what is not a good token of the issuer for this gateway is none at all, on whatever request.
func (b *accessBed) refusesTokens(t *testing.T) {
	ann := b.as(t, "ann", reader())
	stranger := testbed.NewSigningKey(t, b.issuer.Key().ID)
	good := b.issuer.Claims("ann", reader())
	payload := testbed.Segment(t, good)
	signed := b.issuer.Key().Sign(t, nil, good)
	tokens := map[string]string{
		"none":                 "",
		"empty":                "Bearer ",
		"not a JWT":            "Bearer opaque",
		"another scheme":       "Basic " + signed,
		"expired":              b.issuer.Token(t, "ann", map[string]any{"exp": 1}),
		"without an expiry":    b.issuer.Token(t, "ann", map[string]any{"exp": nil}),
		"not valid yet":        b.issuer.Token(t, "ann", map[string]any{"nbf": 1 << 40, "exp": 1 << 41}),
		"for another":          b.issuer.Token(t, "ann", map[string]any{"aud": "someone-else"}),
		"for nobody":           b.issuer.Token(t, "ann", map[string]any{"aud": nil}),
		"of another issuer":    b.issuer.Token(t, "ann", map[string]any{"iss": b.issuer.URL + "/"}),
		"without a subject":    b.issuer.Token(t, "ann", map[string]any{"sub": nil}),
		"of a foreign key":     "Bearer " + stranger.Sign(t, nil, good),
		"unsigned":             "Bearer " + testbed.Segment(t, map[string]any{"alg": "none"}) + "." + payload + ".",
		"unsigned, with a kid": "Bearer " + testbed.Segment(t, map[string]any{"alg": "none", "kid": b.issuer.Key().ID}) + "." + payload + ".eA",
		"altered":              "Bearer " + alter(t, signed, b.issuer.Claims("root", nil)),
		"behind another word":  "Bearer x Bearer " + signed,
		"with two spaces":      "Bearer  " + signed,
	}
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			c := testbed.NewClient(t, b.Endpoint)
			c.Authorization = token
			a := c.Post(t, `{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`)
			b.refused(t, a, http.StatusUnauthorized, `"i"`, "Bearer ", fmt.Sprintf(challenge, b.Base), `scope="basic"`)
			assert.Empty(t, a.Header.Get("Mcp-Session-Id"))
			// With a session that is open, the token may be refused or make the session another's, but nothing is done.
			c.Session = ann.Session
			body, _ := c.ToolCall("docs_look", `{"by":"nobody"}`)
			for _, a := range []*testbed.Answer{c.Post(t, body), c.Do(t, http.MethodGet, nil), c.Do(t, http.MethodDelete, nil)} {
				assert.Contains(t, []int{http.StatusUnauthorized, http.StatusNotFound}, a.Status, "%s", a)
				a.Error(t)
			}
		})
	}
	for _, call := range b.docs.AllCalls() {
		assert.NotContains(t, string(call.Body), "nobody")
	}
	ann.Call(t, "docs_look", "{}").Result(t)
	ann.Authorization = strings.Replace(ann.Authorization, "Bearer", "bearer", 1)
	ann.Call(t, "docs_look", "{}").Result(t)
	assert.Equal(t, []string{"docs_look", "notes_read"}, ann.ToolNames(t), "the scheme is of either case")
}

// alter puts other claims into a signed token.
func alter(t *testing.T, token string, claims map[string]any) string {
	t.Helper()
	parts := strings.Split(token, ".")
	return parts[0] + "." + testbed.Segment(t, claims) + "." + parts[2]
}

// keepsSessionsApart: a session is its caller's, whatever others know of it and however much they may do otherwise.
func (b *accessBed) keepsSessionsApart(t *testing.T) {
	ann, root := b.as(t, "ann", reader()), b.as(t, "root", nil)
	ann.Call(t, "docs_look", "{}").Result(t)
	thief := testbed.NewClient(t, b.Endpoint)
	thief.Session = ann.Session
	for _, token := range []string{root.Authorization, b.issuer.Token(t, "ann", map[string]any{"sub": "another"})} {
		thief.Authorization = token
		body, id := thief.ToolCall("docs_look", `{"by":"a thief"}`)
		a := thief.Post(t, body)
		assert.Equal(t, http.StatusNotFound, a.Status)
		assert.Equal(t, fmt.Sprint(id), a.Error(t).ID)
		assert.Equal(t, http.StatusNotFound, thief.Do(t, http.MethodGet, nil).Status)
		assert.Equal(t, http.StatusNotFound, thief.Do(t, http.MethodDelete, nil).Status)
		assert.Equal(t, http.StatusNotFound, thief.Post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`).Status)
	}
	for _, call := range b.docs.AllCalls() {
		assert.NotContains(t, string(call.Body), "thief")
	}
	// A new token of the same caller goes on with the session, with what it allows.
	ann.Authorization = b.issuer.Token(t, "ann", nil)
	b.forbidden(t, ann, "tools/call", `{"name":"docs_look"}`)
	assert.Empty(t, ann.ToolNames(t))
	ann.Authorization = b.issuer.Token(t, "ann", reader())
	ann.Call(t, "docs_look", "{}").Result(t)
	assert.Equal(t, []string{"docs_look", "notes_read"}, ann.ToolNames(t))
}

// cannotBeForged: nothing that a client sends passes for what the router, Envoy or a policy engine says (Invariant 3).
func (b *accessBed) cannotBeForged(t *testing.T) {
	ann := b.as(t, "ann", reader())
	forgeries := [][]string{
		lies(),
		{"X-Mcp-Toolname", "look", "X-Mcp-Servername", "docs", "X-Mcp-Publicname", "docs_look"},
		{"X-Mcp-Authorized", "eyJhbGciOiJub25lIn0.eyJhbGxvd2VkLWNhcGFiaWxpdGllcyI6IntcInRvb2xzXCI6e1wiKlwiOltcIipcIl19fSJ9."},
		{"Envoy.filters.http.mcp_gateway", "tool=look", "X-Envoy-Metadata", "tool=look", "X-Jwt-Payload", testbed.Segment(t, b.issuer.Claims("root", nil))},
		{"X-Envoy-Dynamic-Metadata", `{"envoy.filters.http.jwt_authn":{"jwt_payload":{"preferred_username":"root"}}}`},
		{"X-Mcp-Router-Key", "guess", "X-Mcp-Cluster", "mcp_broker"},
		{"X-Forwarded-Authorization", "Bearer root", "X-User", "root", "X-Forwarded-User", "root"},
	}
	for range 2 {
		for _, headers := range forgeries {
			b.forbidden(t, ann, "tools/call", `{"name":"docs_change"}`, headers...)
			b.forbidden(t, ann, "tools/call", `{"name":"notes_add"}`, headers...)
			assert.JSONEq(t, `{"prompts":[{"name":"docs_ask"}]}`, result(t, ann, "prompts/list", "{}", headers...))
		}
		ann.Call(t, "docs_look", "{}", forgeries[0]...).Result(t)
	}
	body, id := ann.ToolCall("docs_change", "{}")
	a := ann.Post(t, body, "X-Mcp-Virtualserver", "admins")
	assert.Equal(t, http.StatusNotFound, a.Status)
	assert.Equal(t, fmt.Sprint(id), a.Error(t).ID)
	a = ann.Post(t, body, "Authorization", ann.Authorization, "Authorization", b.issuer.Token(t, "root", nil))
	assert.Equal(t, http.StatusBadRequest, a.Status)
	endpoint := ann.At(b.Endpoint + "?access_token=" + strings.TrimPrefix(b.issuer.Token(t, "root", nil), "Bearer "))
	b.forbidden(t, endpoint, "tools/call", `{"name":"docs_change"}`)
	endpoint.Authorization = ""
	assert.NotEqual(t, http.StatusOK, endpoint.Post(t, body).Status)
	for _, u := range []*testbed.Upstream{b.docs, b.notes} {
		for _, call := range u.Calls(ann.Name, testbed.RPC("tools/call")) {
			assert.Equal(t, "look", call.Tool)
		}
	}
}

func (b *accessBed) limitsRates(t *testing.T) {
	for _, user := range []string{"will", "wanda"} { // each has a budget
		c := b.as(t, user, writer())
		for range 2 {
			c.Call(t, "notes_slow", "{}").Result(t)
		}
		body, id := c.ToolCall("notes_slow", "{}")
		a := c.Post(t, body)
		b.refused(t, a, http.StatusTooManyRequests, id)
		assert.NotEmpty(t, a.Header.Get("Retry-After"))
		c.Call(t, "notes_add", "{}").Result(t)
	}
}

func (b *accessBed) namesTheIssuer(t *testing.T) {
	a := testbed.Get(t, b.Base+"/.well-known/oauth-protected-resource/mcp")
	assert.Equal(t, http.StatusOK, a.Status, "whoever has no token reads here where to get one")
	assert.Contains(t, a.Body, fmt.Sprintf(`"authorization_servers":[%q]`, b.issuer.URL))
}
