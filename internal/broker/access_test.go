package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/catalog"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/policy"
	"github.com/guicassolato/mcp-gateway/internal/session"
)

// allowed is an access by a test's own rule.
type allowed func(policy.Request) bool

func (a allowed) Allows(r policy.Request) bool { return a(r) }

// only allows items by their public names or the server's own ones.
func only(names ...string) allowed {
	return func(r policy.Request) bool {
		return slices.Contains(names, r.PublicName) || slices.Contains(names, r.Name)
	}
}

// callers are what the callers may have, by the value of their Authorization header. Anybody else is unknown.
type callers map[string]allowed

func (c callers) of(r *http.Request) (broker.Access, error) {
	if a, ok := c[r.Header.Get("Authorization")]; ok {
		return a, nil
	}
	return nil, errors.New("no such caller")
}

func (c callers) options(o *broker.Options) {
	o.Access = c.of
	o.Challenge = func(status int, segment string) string { return fmt.Sprintf(`Bearer for="%d%s"`, status, segment) }
}

// by sends a request as one of the callers.
func (r request) by(caller string) request {
	r.header = r.header.Clone()
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set("Authorization", caller)
	return r
}

func opens(f *fixture, caller string) (token, result string) {
	f.t.Helper()
	a := f.do(request{body: `{"jsonrpc":"2.0","id":0,"method":"initialize","params":` + initParams + `}`}.by(caller))
	require.Equal(f.t, http.StatusOK, a.status, a.body)
	return a.header.Get("Mcp-Session-Id"), a.body
}

func ask(method, params string) request {
	return request{body: `{"jsonrpc":"2.0","id":` + hugeID + `,"method":"` + method + `","params":` + params + `}`}
}

func (r request) in(token string) request {
	r.session = token
	return r
}

func (r request) at(server string) request {
	r.server = server
	return r
}

// offering is a scripted server with items of every kind.
func offering(name string, s *script, instructions string, tools ...string) server {
	out := scripted(name, s)
	for _, tool := range tools {
		out.listing.Items[catalog.Tool] = append(out.listing.Items[catalog.Tool], json.RawMessage(`{"name":"`+tool+`"}`))
	}
	out.listing.Items[catalog.Prompt] = []json.RawMessage{[]byte(`{"name":"` + name + `-ask"}`), []byte(`{"name":"` + name + `-tell"}`)}
	out.listing.Items[catalog.Resource] = []json.RawMessage{[]byte(`{"uri":"file:///` + name + `/a"}`), []byte(`{"uri":"file:///` + name + `/b"}`)}
	out.listing.Items[catalog.Template] = []json.RawMessage{[]byte(`{"uriTemplate":"db://` + name + `/{x}"}`), []byte(`{"uriTemplate":"log://` + name + `/{x}"}`)}
	out.listing.Instructions = instructions
	return out
}

// TestAccessLists: each caller's lists have what that caller may have, of every kind.
func TestAccessLists(t *testing.T) {
	who := callers{
		"ann":    only("x1", "b-ask", "file:///a/b", "log://b/{x}"),
		"admin":  func(policy.Request) bool { return true },
		"nobody": only(),
	}
	f := setup{options: who.options, servers: []server{
		offering("a", newScript(), "Use a with care.", "x1", "x2"), offering("b", newScript(), "Use b often.", "y1"),
	}}.start(t)
	lists := map[string]struct{ ann, nobody, admin string }{
		"tools/list": {
			`{"tools":[{"name":"x1"}]}`, `{"tools":[]}`, `{"tools":[{"name":"x1"},{"name":"x2"},{"name":"y1"}]}`,
		},
		"prompts/list": {
			`{"prompts":[{"name":"b-ask"}]}`, `{"prompts":[]}`,
			`{"prompts":[{"name":"a-ask"},{"name":"a-tell"},{"name":"b-ask"},{"name":"b-tell"}]}`,
		},
		"resources/list": {
			`{"resources":[{"uri":"file:///a/b"}]}`, `{"resources":[]}`,
			`{"resources":[{"uri":"file:///a/a"},{"uri":"file:///a/b"},{"uri":"file:///b/a"},{"uri":"file:///b/b"}]}`,
		},
		"resources/templates/list": {
			`{"resourceTemplates":[{"uriTemplate":"log://b/{x}"}]}`, `{"resourceTemplates":[]}`,
			`{"resourceTemplates":[{"uriTemplate":"db://a/{x}"},{"uriTemplate":"db://b/{x}"},{"uriTemplate":"log://a/{x}"},{"uriTemplate":"log://b/{x}"}]}`,
		},
	}
	for caller := range who {
		token, _ := opens(f, caller)
		for method, want := range lists {
			result := map[string]string{"ann": want.ann, "nobody": want.nobody, "admin": want.admin}[caller]
			a := f.do(ask(method, "{}").in(token).by(caller))
			assert.Equal(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":`+result+`}`, a.body, "%s by %s", method, caller)
		}
	}
}

// TestAccessInstructions: what servers tell of their use is for those who may use anything of them.
func TestAccessInstructions(t *testing.T) {
	who := callers{"a": only("x"), "b": only("log://b/{x}"), "both": only("x", "y"), "nobody": only()}
	f := setup{options: who.options, servers: []server{
		offering("a", newScript(), "Use a with care.", "x"), offering("b", newScript(), "Use b often.", "y"),
	}}.start(t)
	for caller, want := range map[string]string{
		"a": "# a\n\nUse a with care.", "b": "# b\n\nUse b often.", "both": "# a\n\nUse a with care.\n\n# b\n\nUse b often.", "nobody": "",
	} {
		_, body := opens(f, caller)
		var got struct {
			Result struct{ Instructions string }
		}
		require.NoError(t, json.Unmarshal([]byte(body), &got))
		assert.Equal(t, want, got.Result.Instructions, caller)
	}
}

// TestAccessLeavesNoTrace: whatever a caller may have, page for page the lists are byte by byte those of a gateway that has nothing else.
func TestAccessLeavesNoTrace(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		var all, some []string
		for i := range random.IntN(30) {
			name := fmt.Sprintf("tool-%02d", i)
			all = append(all, name)
			if random.IntN(3) > 0 {
				some = append(some, name)
			}
		}
		who := callers{"ann": only(some...)}
		o := setup{options: func(o *broker.Options) {
			who.options(o)
			o.PageSize = 1 + round%7
		}}
		filtered, bare := o, o
		filtered.servers = []server{offering("s", newScript(), "", all...)}
		bare.servers = []server{offering("s", newScript(), "", some...)}
		bare.key = session.GenerateKey()
		filtered.key = bare.key
		assert.Equal(t, everyPage(bare.start(t), "ann"), everyPage(filtered.start(t), "ann"), "round %d: %v of %v", round, some, all)
	}
}

// everyPage follows a list to its end and returns the answers.
func everyPage(f *fixture, caller string) []string {
	f.t.Helper()
	token, _ := opens(f, caller)
	var pages []string
	for params := "{}"; ; {
		a := f.do(ask("tools/list", params).in(token).by(caller))
		require.Equal(f.t, http.StatusOK, a.status)
		pages = append(pages, a.body)
		var got struct {
			Result struct{ NextCursor string }
		}
		require.NoError(f.t, json.Unmarshal([]byte(a.body), &got))
		if got.Result.NextCursor == "" {
			return pages
		}
		params = `{"cursor":"` + got.Result.NextCursor + `"}`
		require.Less(f.t, len(pages), 100)
	}
}

// TestAccessCursorOfAnother: a cursor is a place in the list, not a right.
func TestAccessCursorOfAnother(t *testing.T) {
	who := callers{"admin": func(policy.Request) bool { return true }, "ann": only("x3")}
	f := setup{
		options: func(o *broker.Options) {
			who.options(o)
			o.PageSize = 1
		},
		servers: []server{offering("s", newScript(), "", "x1", "x2", "x3", "x4")},
	}.start(t)
	admin, _ := opens(f, "admin")
	first := f.do(ask("tools/list", "{}").in(admin).by("admin")).body
	_, cursor, _ := strings.Cut(first, `"nextCursor":"`)
	cursor, _, _ = strings.Cut(cursor, `"`)
	require.NotEmpty(t, cursor)
	ann, _ := opens(f, "ann")
	got := f.do(ask("tools/list", `{"cursor":"`+cursor+`"}`).in(ann).by("ann")).body
	wantBytes(t, `{"jsonrpc":"2.0","id":`+hugeID+`,"result":{"tools":[{"name":"x3"}]}}`, got)
}

// TestAccessCarries: the broker carries what the caller may have and refuses everything else, without a word to the server. It judges the
// message, which is what the server acts on, and takes the hints from the catalog.
func TestAccessCarries(t *testing.T) {
	readOnly := func(r policy.Request) bool { return strings.HasPrefix(r.Hints, "readOnly=true,") }
	tests := map[string]struct {
		message request
		right   allowed
		want    policy.Request
	}{
		"a tool": {
			ask("tools/call", `{"name":"look"}`), only("look"),
			policy.Request{
				Kind: policy.Tool, Server: "s", Name: "look", PublicName: "s_look",
				Hints: "readOnly=true,destructive=false,idempotent=false,openWorld=true",
			},
		},
		"a tool by its public name": {ask("tools/call", `{"name":"look"}`), only("s_look"), policy.Request{}},
		"a tool by its hints":       {ask("tools/call", `{"name":"look"}`), readOnly, policy.Request{}},
		"an escaped name":           {ask("tools/call", `{"name":"loo\u006b"}`), only("look"), policy.Request{}},
		"a prompt": {
			ask("prompts/get", `{"name":"ask"}`), only("ask"), policy.Request{Kind: policy.Prompt, Server: "s", Name: "ask", PublicName: "s_ask"},
		},
		"a resource":         {ask("resources/read", `{"uri":"file:///a"}`), only("file:///a"), policy.Request{Kind: policy.Resource, Server: "s", Name: "file:///a"}},
		"a subscription":     {ask("resources/subscribe", `{"uri":"file:///a"}`), only("file:///a"), policy.Request{Kind: policy.Resource, Server: "s", Name: "file:///a"}},
		"its end":            {ask("resources/unsubscribe", `{"uri":"file:///a"}`), only("file:///a"), policy.Request{Kind: policy.Resource, Server: "s", Name: "file:///a"}},
		"a prompt completed": {ask("completion/complete", `{"ref":{"type":"ref/prompt","name":"ask"}}`), only("ask"), policy.Request{Kind: policy.Prompt, Server: "s", Name: "ask", PublicName: "s_ask"}},
		"a template completed": {
			ask("completion/complete", `{"ref":{"type":"ref/resource","uri":"db://{x}"}}`), only("db://{x}"),
			policy.Request{Kind: policy.Resource, Server: "s", Name: "db://{x}"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var asked []policy.Request
			who := callers{
				"ann": func(r policy.Request) bool {
					asked = append(asked, r)
					return tt.right(r)
				},
				"bob": func(r policy.Request) bool { return !tt.right(r) },
			}
			s := newScript()
			srv := scripted("s", s)
			srv.listing.Items[catalog.Tool] = []json.RawMessage{[]byte(`{"name":"look","annotations":{"readOnlyHint":true}}`)}
			f := setup{options: who.options, servers: []server{srv}}.start(t)
			f.config[0].ToolPrefix = "s_"
			f.rebuild()
			bob, _ := opens(f, "bob")
			refusal := f.do(tt.message.in(bob).at("s").by("bob"))
			wantError(t, refusal, http.StatusForbidden, hugeID, http.StatusForbidden, "not allowed")
			assert.Equal(t, `Bearer for="403"`, refusal.header.Get("WWW-Authenticate"))
			assert.Empty(t, s.requests("initialize"), "no session is opened for it")
			ann, _ := opens(f, "ann")
			asked = nil
			assert.Equal(t, http.StatusOK, f.do(tt.message.in(ann).at("s").by("ann")).status)
			if tt.want != (policy.Request{}) {
				assert.Equal(t, []policy.Request{tt.want}, asked)
			}
		})
	}
}

// TestAccessIsOfTheRequest: a session gives no right. What its caller may have now counts, for calls and for lists.
func TestAccessIsOfTheRequest(t *testing.T) {
	who := callers{"before": only("look"), "after": only("other")}
	f := setup{options: who.options, servers: []server{offering("s", newScript(), "", "look", "other")}}.start(t)
	token, _ := opens(f, "before")
	look := ask("tools/call", `{"name":"look"}`).in(token).at("s")
	list := ask("tools/list", `{}`).in(token)
	assert.Equal(t, http.StatusOK, f.do(look.by("before")).status)
	assert.Contains(t, f.do(list.by("before")).body, `[{"name":"look"}]`)
	wantError(t, f.do(look.by("after")), http.StatusForbidden, hugeID, http.StatusForbidden, "not allowed")
	assert.Contains(t, f.do(list.by("after")).body, `[{"name":"other"}]`)
	assert.Equal(t, http.StatusOK, f.do(look.by("before")).status)
}

// TestAccessUnknown: who is not known gets nothing at all (Invariant 5), and is told where tokens come from.
func TestAccessUnknown(t *testing.T) {
	f := setup{options: callers{"ann": only("look")}.options, servers: []server{offering("s", newScript(), "", "look")}}.start(t)
	token, _ := opens(f, "ann")
	for name, tt := range map[string]struct {
		request request
		id      string
	}{
		"initialize":     {ask("initialize", initParams), hugeID},
		"a list":         {ask("tools/list", "{}").in(token), hugeID},
		"a call":         {ask("tools/call", `{"name":"look"}`).in(token).at("s"), hugeID},
		"a notification": {request{session: token, body: `{"jsonrpc":"2.0","method":"notifications/initialized"}`}, ""},
		"a response":     {request{session: token, body: `{"jsonrpc":"2.0","id":7,"result":{}}`}, ""},
		"a stream":       {request{method: http.MethodGet, session: token}, ""},
		"an end":         {request{method: http.MethodDelete, session: token}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, caller := range []string{"", "mallory"} {
				a := f.do(tt.request.by(caller))
				wantError(t, a, http.StatusUnauthorized, tt.id, http.StatusUnauthorized, "token")
				assert.Equal(t, `Bearer for="401"`, a.header.Get("WWW-Authenticate"))
				assert.NotContains(t, a.body, "no such caller")
			}
		})
	}
	assert.Equal(t, http.StatusOK, f.do(ask("ping", "{}").in(token).by("ann")).status, "the session is still there")
}

// TestAccessReplays: a call that is made again is judged again.
func TestAccessReplays(t *testing.T) {
	s := newScript()
	f := setup{servers: []server{offering("s", s, "", "look")}}.start(t)
	token := f.initialize()
	sess, err := f.sessions.Lookup(token)
	require.NoError(t, err)
	body := []byte(ask("tools/call", `{"name":"look"}`).body)
	_, err = f.broker.Replay(t.Context(), sess, f.snapshot.Load().Server("s"), only("other"), "", body) //nolint:bodyclose // there is none
	var refusal *jsonrpc.Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, http.StatusForbidden, refusal.Status)
	assert.Equal(t, hugeID, string(refusal.ID))
	assert.Empty(t, s.requests("tools/call"))
	resp, err := f.broker.Replay(t.Context(), sess, f.snapshot.Load().Server("s"), only("look"), "", body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Len(t, s.requests("tools/call"), 1)
}

// BenchmarkFilteredList is one page of a large catalog for a caller who may have every tenth tool.
func BenchmarkFilteredList(b *testing.B) {
	tools := make([]string, 10_000)
	for i := range tools {
		tools[i] = fmt.Sprintf("tool-%05d", i)
	}
	set, err := policy.Parse("policies.yaml", []byte(manyRules))
	require.NoError(b, err)
	id := set.Identify(map[string]any{"iss": "https://issuer.example.com", "sub": "ann", "groups": []any{"g7"}})
	f := setup{servers: []server{offering("s", newScript(), "", tools...)}, options: func(o *broker.Options) {
		o.Access = func(*http.Request) (broker.Access, error) {
			decide := set.Decider(id)
			return allowed(func(r policy.Request) bool { return decide(r).Allowed }), nil
		}
	}}.start(b)
	token := f.initialize()
	b.ResetTimer()
	for b.Loop() {
		a := f.do(ask("tools/list", "{}").in(token))
		require.Equal(b, http.StatusOK, a.status)
	}
}

const manyRules = `policies:
  authentication: {issuer: https://issuer.example.com, audiences: [gateway]}
  acl:
    - {groups: [g1], allow: ["tool-1*"]}
    - {groups: [g2], allow: ["tool-2*"]}
    - {when: "claims.sub == 'bob'", allow: ["tool-3*"]}
    - {when: "'g7' in claims.groups", allow: ["*7"]}
    - {groups: [g7], allow: [{server: s, tool: tool-0001*}, {hints: {readOnly: true}}]}
`
