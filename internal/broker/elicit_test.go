package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/guicassolato/mcp-gateway/internal/broker"
	"github.com/guicassolato/mcp-gateway/internal/config"
	"github.com/guicassolato/mcp-gateway/internal/credential"
	"github.com/guicassolato/mcp-gateway/internal/jsonrpc"
	"github.com/guicassolato/mcp-gateway/internal/session"
	"github.com/guicassolato/mcp-gateway/internal/upstream"
)

// keyring is what users have given, by their tokens.
type keyring struct {
	mu      sync.Mutex
	keys    map[string]string
	refused []string
	asked   []string // sessions and servers
	err     error
}

type key struct {
	k     *keyring
	token string
}

func (o key) Token(context.Context) (config.Secret, error) {
	o.k.mu.Lock()
	defer o.k.mu.Unlock()
	if o.k.keys[o.token] == "" {
		return config.Secret{}, credential.ErrNotGiven
	}
	return config.NewSecret(o.k.keys[o.token]), nil
}

func (o key) Rejected(value config.Secret) {
	o.k.mu.Lock()
	defer o.k.mu.Unlock()
	o.k.refused = append(o.k.refused, value.Reveal())
	delete(o.k.keys, o.token)
}

func (o key) Forbidden(value config.Secret) { o.Rejected(value) }

func (k *keyring) Shared(*config.Server) credential.Tokens { return nil }

func (k *keyring) Caller(_ *config.Server, token config.Secret) credential.Tokens {
	return key{k, token.Reveal()}
}

func (k *keyring) elicit(_ context.Context, s *session.Session, authorization config.Secret, server string) (broker.Elicitation, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, server+" "+authorization.Reveal())
	return broker.Elicitation{ID: "e-1", URL: "https://mcp.example.com/credentials/for/e-1", Message: "Give a key."}, k.err
}

func (k *keyring) give(token, value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[token] = value
}

// asking is a broker with one server that wants a key of each user, in a header of its own.
func asking(t *testing.T, s *script) (*fixture, *keyring) {
	t.Helper()
	k := &keyring{keys: map[string]string{}}
	f := setup{servers: []server{scripted("acme", s)}, options: func(o *broker.Options) { o.Elicit = k.elicit }}.start(t)
	f.config[0].Credential = &config.Credential{
		Kind: config.PerUser, Header: "x-api-key", Prefix: "key ",
		Discovery: &config.Credential{Header: "x-api-key", Prefix: "key ", Value: config.NewSecret("reader")},
	}
	ep, err := upstream.NewEndpoint(f.config[0], upstream.EndpointOptions{Credentials: k})
	require.NoError(t, err)
	t.Cleanup(ep.Close)
	f.endpoints["acme"] = ep
	f.rebuild()
	require.True(t, f.snapshot.Load().Server("acme").Carried)
	return f, k
}

const (
	ann = "header.eyJpc3MiOiJpIiwic3ViIjoiYW5uIn0.1"
	bea = "header.eyJpc3MiOiJpIiwic3ViIjoiYmVhIn0.1"
)

// initializeWith opens a session in a revision with capabilities.
func (f *fixture) initializeWith(token, revision, capabilities string) string {
	f.t.Helper()
	a := f.do(request{body: fmt.Sprintf(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":%q,"capabilities":%s,"clientInfo":{"name":"t","version":"1"}}}`,
		revision, capabilities)}.as(token))
	require.Equal(f.t, http.StatusOK, a.status, a.body)
	return a.header.Get("Mcp-Session-Id")
}

const opensURLs = `{"elicitation":{"form":{},"url":{}}}`

// TestElicit: a call that lacks its caller's credential says where to give it, in the way that the client knows, and nothing reaches the server.
func TestElicit(t *testing.T) {
	acme := newScript()
	f, k := asking(t, acme)
	for _, method := range []string{"tools/call", "prompts/get", "resources/read"} {
		a := f.do(request{
			session: f.initializeWith(ann, "2025-11-25", opensURLs), server: "acme",
			body: `{"jsonrpc":"2.0","id":` + hugeID + `,"method":"` + method + `","params":{"name":"t","uri":"u"}}`,
		}.as(ann))
		wantError(t, a, http.StatusOK, hugeID, jsonrpc.CodeElicitationNeeded, "Give a key.")
		var got struct {
			Error struct{ Data json.RawMessage }
		}
		require.NoError(t, json.Unmarshal([]byte(a.body), &got))
		assert.JSONEq(t, `{"elicitations":[{"mode":"url","elicitationId":"e-1","url":"https://mcp.example.com/credentials/for/e-1","message":"Give a key."}]}`,
			string(got.Error.Data))
	}
	for _, client := range [][2]string{
		{"2025-06-18", opensURLs}, {"2025-03-26", opensURLs}, {"2025-11-25", `{}`}, {"2025-11-25", `{"elicitation":{}}`}, {"2025-11-25", `{"elicitation":{"form":{}}}`},
	} {
		a := f.do(callOf(f.initializeWith(ann, client[0], client[1]), "acme", hugeID, "t").as(ann))
		wantError(t, a, http.StatusOK, hugeID, jsonrpc.CodeInternalError, "Give a key. The page is https://mcp.example.com/credentials/for/e-1")
		assert.NotContains(t, a.body, "elicitations")
	}
	assert.Empty(t, acme.requests("initialize"))
	assert.Equal(t, "acme Bearer "+ann, k.asked[0])

	k.err = errors.New("nobody can be asked")
	token := f.initializeWith(ann, "2025-11-25", opensURLs)
	wantError(t, f.do(callOf(token, "acme", "1", "t").as(ann)), http.StatusServiceUnavailable, "1", jsonrpc.CodeInternalError, "the gateway cannot ask now")
	a := f.do(request{session: token, server: "acme", body: `{"jsonrpc":"2.0","method":"notifications/cancelled"}`}.as(ann))
	wantError(t, a, http.StatusBadRequest, "", jsonrpc.CodeInvalidRequest, "has ended")
}

// TestGivenCredential: each caller's calls carry what that caller has given, and nothing else (Invariant 6); what the server refuses is asked for anew.
func TestGivenCredential(t *testing.T) {
	acme := newScript()
	f, k := asking(t, acme)
	k.give(ann, "anns")
	k.give(bea, "beas")
	anns, beas := f.initializeWith(ann, "2025-11-25", opensURLs), f.initializeWith(bea, "2025-11-25", opensURLs)
	f.do(callOf(anns, "acme", "1", "t").as(ann))
	f.do(callOf(beas, "acme", "1", "t").as(bea))
	keys := map[string]string{}
	for _, did := range []string{"initialize", "notifications/initialized", "tools/call"} {
		for i, r := range acme.await(t, did, 2) {
			keys[r.header.Get("X-Api-Key")] += fmt.Sprint(i)
			assert.Empty(t, r.header.Get("Authorization"))
		}
	}
	assert.Equal(t, map[string]string{"key anns": "000", "key beas": "111"}, keys)

	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		acme.does("tools/call", status(code, "application/json", `{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"not with anns"}}`))
		a := f.do(callOf(anns, "acme", "2", "t").as(ann))
		wantError(t, a, http.StatusOK, "2", jsonrpc.CodeElicitationNeeded, "Give a key.")
		assert.NotContains(t, a.body, "anns")
		calls := len(acme.requests("tools/call"))
		wantError(t, f.do(callOf(anns, "acme", "3", "t").as(ann)), http.StatusOK, "3", jsonrpc.CodeElicitationNeeded, "Give a key.")
		assert.Len(t, acme.requests("tools/call"), calls, "what was refused is not sent again")
		k.give(ann, "anns")
	}
	assert.Equal(t, []string{"anns", "anns"}, k.refused)
	acme.does("initialize", status(http.StatusUnauthorized, "", ""))
	k.give("other", "others")
	other := f.initializeWith("other", "2025-11-25", opensURLs)
	wantError(t, f.do(callOf(other, "acme", "1", "t").as("other")), http.StatusOK, "1", jsonrpc.CodeElicitationNeeded, "Give a key.")
}

// TestCredentialChanges: what was opened with one credential is not used with another, nor is its stream read any longer.
func TestCredentialChanges(t *testing.T) {
	acme := newScript()
	left := make(chan string, 10)
	acme.does("GET", func(w http.ResponseWriter, r *http.Request, _ *jsonrpc.Message) {
		event(w, "", `{"jsonrpc":"2.0","method":"notifications/message","params":{"key":"`+r.Header.Get("X-Api-Key")+`"}}`)
		<-r.Context().Done()
		left <- r.Header.Get("X-Api-Key")
	})
	f, k := asking(t, acme)
	k.give(ann, "old")
	k.give(bea, "beas")
	anns, beas := f.initializeWith(ann, "2025-11-25", opensURLs), f.initializeWith(bea, "2025-11-25", opensURLs)
	listen := request{method: http.MethodGet, session: anns}.as(ann)
	stream := f.stream(listen)
	f.do(callOf(anns, "acme", "1", "t").as(ann))
	f.do(callOf(beas, "acme", "1", "t").as(bea))
	assert.Contains(t, string(stream.next().Data), "key old")

	k.give(ann, "new")
	f.broker.CredentialChanged(session.SubjectFrom("i", "ann"), "acme")
	assert.Equal(t, "key old", await(t, left))
	f.do(callOf(anns, "acme", "2", "t").as(ann))
	f.do(callOf(beas, "acme", "2", "t").as(bea))
	assert.Contains(t, string(stream.next().Data), "key new")
	var used []string
	for _, r := range acme.requests("tools/call") {
		used = append(used, r.session+" "+r.header.Get("X-Api-Key"))
	}
	assert.Equal(t, []string{"s-1 key old", "s-2 key beas", "s-3 key new", "s-2 key beas"}, used)
}

// TestCredentialChangesMeanwhile: a session that was being opened with a credential while that changed is opened again.
func TestCredentialChangesMeanwhile(t *testing.T) {
	acme := newScript()
	f, k := asking(t, acme)
	k.give(ann, "old")
	var once sync.Once
	acme.does("notifications/initialized", func(w http.ResponseWriter, _ *http.Request, _ *jsonrpc.Message) {
		once.Do(func() {
			k.give(ann, "new")
			f.broker.CredentialChanged(session.SubjectFrom("i", "ann"), "acme")
		})
		w.WriteHeader(http.StatusAccepted)
	})
	a := f.do(callOf(f.initializeWith(ann, "2025-11-25", opensURLs), "acme", "1", "t").as(ann))
	assert.Equal(t, http.StatusOK, a.status, a.body)
	calls := acme.requests("tools/call")
	require.Len(t, calls, 1)
	assert.Equal(t, "s-2 key new", calls[0].session+" "+calls[0].header.Get("X-Api-Key"))
}

// TestElicited: only the client whose user was asked hears that it is done, and only if it knows what that means.
func TestElicited(t *testing.T) {
	f, _ := asking(t, newScript())
	tokens := []string{
		f.initializeWith(ann, "2025-11-25", opensURLs), f.initializeWith(ann, "2025-11-25", opensURLs), f.initializeWith(ann, "2025-06-18", opensURLs),
	}
	var streams []*events
	for _, token := range tokens {
		streams = append(streams, f.stream(request{method: http.MethodGet, session: token}.as(ann)))
	}
	for i := range tokens {
		if i == 1 {
			continue
		}
		s, err := f.sessions.Lookup(tokens[i])
		require.NoError(t, err)
		f.broker.Elicited(s, `e-"1`)
	}
	wantBytes(t, `{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e-\"1"}}`, string(streams[0].next().Data))
	for i, token := range tokens {
		assert.Equal(t, http.StatusNoContent, f.do(request{method: http.MethodDelete, session: token}.as(ann)).status)
		streams[i].ended()
	}
}
